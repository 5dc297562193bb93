"""A record that is made too early: what is queued after it is not handed over (H7, Nerogar/OneTrainer#1306).

What a run of it shows:

    $ cpugpu stress stress/racy/stress_full_queue.py --stress-seconds=2
    recorded_too_early: racy, as it should be (11 executions in 2.0 s)
        outcome    times   share  grade      meaning
        overtaken     11  100.0%  forbidden  the hand-off did not wait for the end of the queue
"""

from __future__ import annotations

from cpugpu import CpuGpuEvent, scenario
from cpugpu.rig import Rig
from stress.stress_full_queue import ORDERED, OVERTAKEN, hand_off_behind


@scenario(accept=ORDERED, forbid=OVERTAKEN, racy=True)
def recorded_too_early(rig: Rig) -> str:
    """The last hundred additions come after the record."""
    return hand_off_behind(rig, CpuGpuEvent, after_record=100)
