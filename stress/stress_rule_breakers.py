"""Programs that break the rule of one producer and one consumer, on purpose.

The class may refuse a thread (an instrumented one tells it, with `ProtocolViolation`), but it must not let a wait
through without a record of its own, and must not lose a record: those are the silent ones (P4, P5, P6).

    $ cpugpu stress stress/stress_rule_breakers.py --stress-subject=stress.subjects:SeedEvent
    two_consumers[SeedEvent]: FAILED (1,506 executions in 5.0 s)
        outcome  times  share  grade      meaning
        refused    942  62.5%  forbidden  P1, or P4 before it: the last record was consumed, the next one refused
        own        462  30.7%  accepted   each wait had a record of its own
        shared     102   6.8%  forbidden  P4: two waits went through on one record
"""

from __future__ import annotations

from collections.abc import Callable

from cpugpu import CpuGpuEvent, ProtocolViolation, scenario
from cpugpu.rig import HANG, Rig


@scenario(
    accept={
        "own": "each wait had a record of its own",
        "told": "a thread was told that it breaks the rules",
    },
    forbid={
        "shared": "P4: two waits went through on one record",
        "refused": "P1, or P4 before it: the last record was consumed, the next one refused",
        HANG: "P5: a late consumer erased a record, and the next wait never returns",
    },
    breaks=("second-consumer",),
)
def two_consumers(rig: Rig, make_event: type[CpuGpuEvent] = CpuGpuEvent) -> str:
    """Three records, each made when the one before was consumed; one consumer waits twice, the other one once."""
    ready = make_event()
    recorded, through, ended, outcome = rig.cell(0), rig.cell(0), rig.cell(0), rig.cell("own")

    def producer() -> None:
        stream = rig.stream()
        for number in range(3):
            rig.until(lambda: through.get() >= number or ended.get() == 2, through, ended)
            recorded.set(number + 1)
            while ended.get() < 2 and not accepted(stream):
                rig.pause()

    def accepted(stream: object) -> bool:
        try:
            ready.record(stream)
        except RuntimeError:
            outcome.set("refused")
            return False
        return True

    def consumer(waits: int) -> Callable[[], None]:
        def body() -> None:
            stream = rig.stream()
            for _ in range(waits):
                try:
                    ready.wait(stream)
                except ProtocolViolation:
                    outcome.set("told")
                    break
                if through.update(lambda times: times + 1) > recorded.get():
                    outcome.set("shared")
            ended.update(lambda times: times + 1)

        body.__name__ = f"consumer_of_{waits}"
        return body

    rig.run(producer, consumer(2), consumer(1))
    return outcome.get()


@scenario(
    accept={
        "both": "the two records came one after the other, and each was consumed",
        "one": "one record was refused, and the other was consumed",
    },
    forbid={
        "stale": "P6: a record was made, and no wait was ordered after it",
        HANG: "P6: two records, and only one wait returns",
    },
    breaks=("second-producer", "double-record", "record-on-other-stream"),
)
def two_producers(rig: Rig, make_event: type[CpuGpuEvent] = CpuGpuEvent) -> str:
    """Two threads record once each; the consumer waits as often as a record went through."""
    ready, wrong = make_event(), rig.buffer(0)
    cells = [rig.buffer(0), rig.buffer(0)]
    accepted: list[int] = []
    ended = rig.cell(0)

    def producer(number: int) -> Callable[[], None]:
        def body() -> None:
            stream = rig.stream()
            rig.fill(cells[number], 1, stream)
            try:
                ready.record(stream)
                accepted.append(number)
            except RuntimeError:
                pass
            ended.update(lambda times: times + 1)

        body.__name__ = f"producer_{number}"
        return body

    def consumer() -> None:
        stream = rig.stream()
        ready.wait(stream)
        rig.until(lambda: ended.get() == 2, ended)
        for _ in accepted[1:]:
            ready.wait(stream)
        for number in accepted:
            rig.check(cells[number], 1, wrong, stream)

    rig.run(producer(0), producer(1), consumer)
    if rig.read(wrong) != 0:
        return "stale"
    return "both" if len(accepted) == 2 else "one"
