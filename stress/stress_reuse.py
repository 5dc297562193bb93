"""One event, used again and again.

`reuse` is the plain case: the consumer tells the producer that its wait has returned, and the producer records the next
generation. `next_record` is the sharp one: the producer looks at the *consumer's stream*. Once that holds the wait, the
hand-off is consumed, although `wait()` may not have returned yet, and the next record is legal. A class that clears its
flag after the device wait refuses it now and then (P1).

    $ cpugpu stress stress/stress_reuse.py --stress-subject=stress.subjects:SeedEvent
    next_record[SeedEvent]: FAILED (665 executions in 5.0 s)
        outcome  times  share  grade      meaning
        fresh      539  81.1%  accepted   every generation was ordered
        refused    126  18.9%  forbidden  P1: record() was refused although the wait before it was in its stream
"""

from __future__ import annotations

from cpugpu import CpuGpuEvent, scenario
from cpugpu.rig import Rig

SIZE, GENERATIONS, SLOW = 8, 8, 8


@scenario(accept={"fresh": "every generation was ordered"}, forbid={"stale": "a copy did not wait for its record"})
def reuse(rig: Rig, make_event: type[CpuGpuEvent] = CpuGpuEvent) -> str:
    """Many generations in step, each with a value of its own in one buffer."""
    ready, cell, wrong = make_event(), rig.buffer(0, SIZE), rig.buffer(0)
    copies = [rig.buffer(0, SIZE) for _ in range(GENERATIONS)]
    copied = rig.cell(0)

    def producer() -> None:
        stream = rig.stream()
        for generation in range(1, GENERATIONS + 1):
            rig.fill(cell, generation, stream)
            ready.record(stream)
            rig.until(lambda: copied.get() == generation, copied)

    def consumer() -> None:
        stream = rig.stream()
        for generation, copy in enumerate(copies, start=1):
            ready.wait(stream)
            rig.copy(cell, copy, stream)
            rig.check(copy, generation, wrong, stream)
            stream.synchronize()  # the buffer is handed back through the CPU
            copied.set(generation)

    rig.run(producer, consumer)
    return "fresh" if rig.read(wrong) == 0 else "stale"


@scenario(
    accept={"fresh": "every generation was ordered"},
    forbid={
        "stale": "a copy did not wait for its record",
        "refused": "P1: record() was refused although the wait before it was in its stream",
    },
)
def next_record(rig: Rig, make_event: type[CpuGpuEvent] = CpuGpuEvent) -> str:
    """The second record comes as soon as the first wait is in the consumer's stream."""
    ready, wrong = make_event(), rig.buffer(0)
    cells = [rig.buffer(0, SIZE), rig.buffer(0, SIZE)]
    stream_of_consumer = rig.stream()
    returned, refused = rig.cell(0), rig.cell(False)

    def producer() -> None:
        stream = rig.stream()
        for value in range(SLOW, 0, -1):  # long enough for the wait to be seen in the consumer's stream
            rig.fill(cells[0], value, stream)
        ready.record(stream)
        rig.until(lambda: returned.get() > 0 or rig.busy(stream_of_consumer), returned)
        rig.fill(cells[1], 1, stream)
        try:
            ready.record(stream)
        except RuntimeError:
            refused.set(True)
            rig.until(lambda: returned.get() > 0, returned)
            ready.record(stream)

    def consumer() -> None:
        for cell in cells:
            ready.wait(stream_of_consumer)
            returned.update(lambda times: times + 1)
            rig.check(cell, 1, wrong, stream_of_consumer)

    rig.run(producer, consumer)
    if rig.read(wrong) != 0:
        return "stale"
    return "refused" if refused.get() else "fresh"
