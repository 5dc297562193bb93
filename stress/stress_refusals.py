"""A record before the last one was consumed is refused, and a producer may rely on it.

`double_record` records twice with nobody there to consume. `eager_producer` uses the refusal as back-pressure: it tries
until it is let in, on two streams in turn. Whatever it records next must not change what the consumer's last wait was
bound to: a class that lets the producer in before the device wait is made, and re-records the event which that wait is
about to use, loses the fence on the first stream (sgl#30435 is such a bug).

    $ cpugpu stress stress/stress_refusals.py --stress-subject=stress.subjects:OneSharedEvent
    eager_producer[OneSharedEvent]: FAILED (619 executions in 5.0 s)
        outcome  times  share  grade      meaning
        fresh      503  81.3%  accepted   every wait was bound to its own record
        stale      116  18.7%  forbidden  a wait was bound to another record, or to none
"""

from __future__ import annotations

from cpugpu import CpuGpuEvent, scenario
from cpugpu.rig import Rig

SIZE, GENERATIONS, SLOW = 8, 4, 6


@scenario(
    accept={"refused": "the second record raised RuntimeError"},
    forbid={"accepted": "the second record went through: a record was lost, and nobody knows"},
    breaks=("double-record",),
)
def double_record(rig: Rig, make_event: type[CpuGpuEvent] = CpuGpuEvent) -> str:
    """Two records in a row, then the consumer."""
    ready, refused = make_event(), rig.cell(False)

    def producer() -> None:
        stream = rig.stream()
        ready.record(stream)
        try:
            ready.record(stream)
        except RuntimeError:
            refused.set(True)

    def consumer() -> None:
        ready.wait(rig.stream())

    rig.run(producer)
    rig.run(consumer)
    return "refused" if refused.get() else "accepted"


@scenario(
    accept={"fresh": "every wait was bound to its own record"},
    forbid={"stale": "a wait was bound to another record, or to none"},
    breaks=("double-record", "record-on-other-stream"),
)
def eager_producer(rig: Rig, make_event: type[CpuGpuEvent] = CpuGpuEvent) -> str:
    """The producer tries to record until it is let in, on two streams in turn."""
    ready, wrong = make_event(), rig.buffer(0)
    cells = [rig.buffer(0, SIZE) for _ in range(GENERATIONS)]

    def producer() -> None:
        streams = [rig.stream(), rig.stream()]
        for generation, cell in enumerate(cells):
            stream = streams[generation % 2]
            for _ in range(SLOW if generation % 2 == 0 else 0):
                rig.fill(cell, 0, stream)  # the first stream has more to do, so that a lost fence on it shows
            rig.fill(cell, 1, stream)
            while not recorded(stream):
                rig.pause()

    def recorded(stream: object) -> bool:
        try:
            ready.record(stream)
        except RuntimeError:
            return False
        return True

    def consumer() -> None:
        stream = rig.stream()
        for cell in cells:
            ready.wait(stream)
            rig.check(cell, 1, wrong, stream)

    rig.run(producer, consumer)
    return "fresh" if rig.read(wrong) == 0 else "stale"
