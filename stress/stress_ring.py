"""A ring of eight slots, an event in either direction for each, several laps.

What a pipeline looks like when it is deep: the producer may be eight payloads ahead, and then every slot is in use. All
events are recorded again and again, at different times, while others of them are being waited for. A slot that is
handed over without its order, or handed back without it, shows in the payload (vllm#32881 was the latter, on a slot
without a `consumed` event).

    $ cpugpu stress stress/stress_ring.py --stress-seconds=2
    ring[CpuGpuEvent]: passed (48 executions in 2.0 s)
        outcome  times   share  grade     meaning
        whole       48  100.0%  accepted  every payload was read whole, as it was written
"""

from __future__ import annotations

from cpugpu import CpuGpuEvent, scenario
from cpugpu.rig import Rig

SIZE, SLOTS, LAPS = 16, 8, 3
WHOLE = {"whole": "every payload was read whole, as it was written"}
RUINED = {"ruined": "a payload was read too early, or overwritten too early"}


@scenario(accept=WHOLE, forbid=RUINED)
def ring(rig: Rig, make_event: type[CpuGpuEvent] = CpuGpuEvent) -> str:
    """24 hand-offs there and 16 back."""
    filled, emptied = ([make_event() for _ in range(SLOTS)] for _ in range(2))
    slots, seen, wrong = [rig.buffer(0, SIZE) for _ in range(SLOTS)], rig.buffer(0, SIZE), rig.buffer(0)

    def producer() -> None:
        stream = rig.stream()
        for number in range(SLOTS * LAPS):
            slot = number % SLOTS
            if number >= SLOTS:
                emptied[slot].wait(stream)
            rig.fill(slots[slot], number + 1, stream)
            filled[slot].record(stream)

    def consumer() -> None:
        stream = rig.stream()
        for number in range(SLOTS * LAPS):
            slot = number % SLOTS
            filled[slot].wait(stream)
            rig.copy(slots[slot], seen, stream)
            rig.check(seen, number + 1, wrong, stream)
            if number + SLOTS < SLOTS * LAPS:
                emptied[slot].record(stream)

    rig.run(producer, consumer)
    return "whole" if rig.read(wrong) == 0 else "ruined"
