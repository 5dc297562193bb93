"""One thread fills a buffer, another one copies it.

The whole point of the event: the consumer's stream waits for the producer's record, although the two threads do not
know of each other. The payload is compared on the device, element by element, so that a torn read shows as well.

    $ cpugpu stress stress/stress_hand_off.py --stress-seconds=5
    hand_off[CpuGpuEvent]: passed (2,281 executions in 5.0 s)
        outcome  times   share  grade     meaning
        fresh    2,281  100.0%  accepted  every element was what the producer had written
"""

from __future__ import annotations

from cpugpu import CpuGpuEvent, scenario
from cpugpu.rig import Rig

SIZE = 64


@scenario(
    accept={"fresh": "every element was what the producer had written"},
    forbid={"stale": "the copy did not wait for the record"},
)
def hand_off(rig: Rig, make_event: type[CpuGpuEvent] = CpuGpuEvent) -> str:
    """A fill, a record; a wait, a copy."""
    ready, cell, seen, wrong = make_event(), rig.buffer(0, SIZE), rig.buffer(0, SIZE), rig.buffer(0)

    def producer() -> None:
        stream = rig.stream()
        rig.fill(cell, 1, stream)
        ready.record(stream)

    def consumer() -> None:
        stream = rig.stream()
        ready.wait(stream)
        rig.copy(cell, seen, stream)
        rig.check(seen, 1, wrong, stream)

    rig.run(producer, consumer)
    return "fresh" if rig.read(wrong) == 0 else "stale"
