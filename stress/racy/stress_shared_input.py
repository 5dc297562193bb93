"""The shared input event that stopped vLLM (vllm#53960), with a bare device event as it was.

The first standstill ends the run, after the five seconds without a move that the hammer takes for one. Its report has
the operations that wait for each other, in a circle.

    $ cpugpu stress stress/racy/stress_shared_input.py --stress-seconds=2 --stress-device=sim
    shared_input[BareEvent]: racy, as it should be (1 executions in 5.1 s)
        outcome  times   share  grade      meaning
        hang         1  100.0%  forbidden  a wait was bound to a record behind the answer that it was to give
"""

from __future__ import annotations

from stress.stress_shared_input import shared_input
from stress.subjects import BareEvent

shared_input_bare = shared_input.on(BareEvent, racy=True, module=__name__)
