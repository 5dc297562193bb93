"""What is left at a replay of a wait that was captured: a thread that blocks, and a stream that does not (H30).

What a run of it shows:

    $ cpugpu stress stress/racy/stress_graph.py --stress-seconds=2
    SKIPPED needs CUDA or ROCm: it captures a CUDA graph
"""

from __future__ import annotations

from stress.stress_graph import graph
from stress.subjects import NoGpuWait

graph_with_captured_wait = graph.on(NoGpuWait, racy=True, module=__name__)
