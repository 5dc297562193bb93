"""A thousand operations are queued before the record.

A launch queue is bounded: at about a thousand operations on CUDA (pt#133053, kotekan/kotekan#1675), at 1,792 on Ascend;
and on ROCm a wait could block for as long as the stream was busy (ROCm/rocm-systems#11678). When it is full, the next
"asynchronous" call blocks, and that may be the one inside `record()` or `wait()` (hazard H42). The hand-off has to come
to its end all the same, and behind everything that was queued.

The stream is held up first, so that a real queue fills. The simulated device has a queue without bounds; there it is
only long.

    $ cpugpu stress stress/stress_full_queue.py --stress-seconds=10
    full_queue[CpuGpuEvent]: passed (11 executions in 2.0 s)
        outcome  times   share  grade     meaning
        ordered     11  100.0%  accepted  the hand-off came after all that was queued
"""

from __future__ import annotations

import time

from cpugpu import CpuGpuEvent, scenario
from cpugpu.device import resolve
from cpugpu.rig import Rig

QUEUED, HELD_UP_SECONDS = 1100, 0.02
ORDERED = {"ordered": "the hand-off came after all that was queued"}
OVERTAKEN = {"overtaken": "the hand-off did not wait for the end of the queue"}


@scenario(accept=ORDERED, forbid=OVERTAKEN)
def full_queue(rig: Rig, make_event: type[CpuGpuEvent] = CpuGpuEvent) -> str:
    """1,100 additions and a record; a wait and a look at the sum."""
    return hand_off_behind(rig, make_event, after_record=0)


def hand_off_behind(rig: Rig, make_event: type[CpuGpuEvent], after_record: int) -> str:
    """So many of the additions come after the record."""
    ready, total, wrong = make_event(), rig.buffer(0), rig.buffer(0)

    def hold_up() -> None:
        time.sleep(HELD_UP_SECONDS)

    def producer() -> None:
        stream = rig.stream()
        rig.launch(stream, hold_up)  # on the simulated device, whose kernels are Python
        resolve().delay(stream, HELD_UP_SECONDS)  # on a real one
        for _ in range(QUEUED - after_record):
            rig.add(total, 1, stream)
        ready.record(stream)
        for _ in range(after_record):
            rig.add(total, 1, stream)

    def consumer() -> None:
        stream = rig.stream()
        ready.wait(stream)
        rig.check(total, QUEUED, wrong, stream)

    rig.run(producer, consumer)
    return "ordered" if rig.read(wrong) == 0 else "overtaken"
