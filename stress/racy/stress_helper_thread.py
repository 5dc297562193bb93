"""A helper thread that records on its own current stream: the default one, where nothing happens (H9).

It is `CpuGpuEvent` that is used here, and it does what it is asked to. With CPUGPU_DEBUG=1 the rule
`implicit-stream-in-helper-thread` tells.

    $ cpugpu stress stress/racy/stress_helper_thread.py --stress-seconds=2
    helper_thread_without_stream: racy, as it should be (261 executions in 2.0 s)
        outcome  times  share  grade      meaning
        stale      211  80.8%  forbidden  the record was made on another stream than the fill
        fresh       50  19.2%  accepted   every copy came after its fill
"""

from __future__ import annotations

from cpugpu import CpuGpuEvent, scenario
from cpugpu.rig import Rig
from stress.stress_helper_thread import FRESH, STALE, hand_off_by_helper


@scenario(accept=FRESH, forbid=STALE, racy=True)
def helper_thread_without_stream(rig: Rig) -> str:
    """`ready.record()`, in a thread that is not the one which has launched the work."""
    return hand_off_by_helper(rig, CpuGpuEvent, knows_stream=False)
