"""A bare device event hands nothing over.

CUDA lets a stream wait on an event that nobody has recorded: the wait is a no-op. Two threads, no other ordering: when
the consumer is early it copies memory that the producer has not filled yet (SGLang met this, sgl#14214).

    $ cpugpu stress stress/racy/stress_bare_event.py --stress-seconds=5
    bare_event: racy, as it should be (3,729 executions in 5.1 s)
        outcome  times  share  grade      meaning
        fresh    2,833  76.0%  accepted   the wait came after the record
        stale      896  24.0%  forbidden  the wait was a no-op
"""

from __future__ import annotations

from cpugpu import scenario
from cpugpu.rig import Rig


@scenario(
    accept={"fresh": "the wait came after the record"},
    forbid={"stale": "the wait was a no-op"},
    racy=True,
)
def bare_event(rig: Rig) -> str:
    """The hand-off without a CPU side."""
    event, cell, seen = rig.event(), rig.buffer(0), rig.buffer(0)

    def producer() -> None:
        stream = rig.stream()
        rig.fill(cell, 1, stream)
        event.record(stream)

    def consumer() -> None:
        stream = rig.stream()
        event.wait(stream)
        rig.copy(cell, seen, stream)

    rig.run(producer, consumer)
    return "fresh" if rig.read(seen) == 1 else "stale"
