"""Failing and closing, at any moment.

`producer_raises`: the producer raises between two records, inside `recording()`; the consumer learns of it in order,
after the records that were made. `close_against_wait`: a third thread closes the event while the two others use it;
nobody hangs, and what was handed over is whole.

    $ cpugpu stress stress/stress_end.py --stress-seconds=5
    close_against_wait[CpuGpuEvent]: passed (2,153 executions in 2.6 s)
        outcome  times  share  grade     meaning
        closed   1,629  75.7%  accepted  the event was closed before the hand-off
        handed     524  24.3%  accepted  the hand-off came before the end
"""

from __future__ import annotations

from cpugpu import CpuGpuEvent, HandoffClosed, ProducerFailed, scenario
from cpugpu.rig import Rig

RECORDS = 2


@scenario(
    accept={"in order": "the consumer got every record, then the failure"},
    forbid={"out of order": "a record was lost, or the failure", "stale": "a copy did not wait for its record"},
    needs=("recording",),
)
def producer_raises(rig: Rig, make_event: type[CpuGpuEvent] = CpuGpuEvent) -> str:
    """Two records, then an exception."""
    ready, wrong = make_event(), rig.buffer(0)
    cells = [rig.buffer(0) for _ in range(RECORDS)]
    consumed, told = rig.cell(0), rig.cell(False)

    def producer() -> None:
        stream = rig.stream()
        try:
            for number in range(RECORDS + 1):
                rig.until(lambda: consumed.get() >= number, consumed)
                with ready.recording(stream):
                    if number == RECORDS:
                        raise ValueError("no more")
                    rig.fill(cells[number], 1, stream)
        except ValueError:
            return

    def consumer() -> None:
        stream = rig.stream()
        while True:
            try:
                ready.wait(stream)
            except ProducerFailed:
                told.set(True)
                return
            rig.check(cells[consumed.get()], 1, wrong, stream)
            consumed.update(lambda times: times + 1)

    rig.run(producer, consumer)
    if rig.read(wrong) != 0:
        return "stale"
    return "in order" if told.get() and consumed.get() == RECORDS else "out of order"


@scenario(
    accept={
        "handed": "the hand-off came before the end",
        "closed": "the event was closed before the hand-off",
    },
    forbid={"stale": "the wait returned unordered"},
    needs=("close",),
)
def close_against_wait(rig: Rig, make_event: type[CpuGpuEvent] = CpuGpuEvent) -> str:
    """Record, wait and close, all at once."""
    ready, cell, wrong = make_event(), rig.buffer(0), rig.buffer(0)
    outcome = rig.cell("handed")

    def producer() -> None:
        stream = rig.stream()
        rig.fill(cell, 1, stream)
        try:
            ready.record(stream)
        except HandoffClosed:
            outcome.set("closed")

    def consumer() -> None:
        stream = rig.stream()
        try:
            ready.wait(stream)
        except HandoffClosed:
            outcome.set("closed")
        else:
            rig.check(cell, 1, wrong, stream)

    def closer() -> None:
        rig.pause()
        ready.close()

    rig.run(producer, consumer, closer)
    return outcome.get() if rig.read(wrong) == 0 else "stale"
