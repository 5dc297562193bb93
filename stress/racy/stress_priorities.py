"""A priority taken for an order: the urgent stream's work was launched first, so it must be done first.

It need not be. The CUDA programming guide has it that priorities are hints, and that no order follows from them.

    $ cpugpu stress stress/racy/stress_priorities.py --stress-seconds=2
    priority_for_order: racy, as it should be (1,361 executions in 2.0 s)
        outcome    times  share  grade      meaning
        ordered    1,001  73.5%  accepted   the urgent stream was first
        overtaken    360  26.5%  forbidden  the stream of low priority was first
"""

from __future__ import annotations

from cpugpu import scenario
from cpugpu.rig import Rig
from stress.stress_priorities import HIGH, LOW, SIZE


@scenario(
    accept={"ordered": "the urgent stream was first"},
    forbid={"overtaken": "the stream of low priority was first"},
    racy=True,
)
def priority_for_order(rig: Rig) -> str:
    """The producer fills on the urgent stream and tells the consumer that it was launched; no event."""
    cell, wrong, launched = rig.buffer(0, SIZE), rig.buffer(0), rig.cell(False)

    def producer() -> None:
        rig.fill(cell, 1, rig.stream(priority=HIGH))
        launched.set(True)

    def consumer() -> None:
        stream = rig.stream(priority=LOW)
        rig.until(launched.get, launched)
        rig.check(cell, 1, wrong, stream)

    rig.run(producer, consumer)
    return "ordered" if rig.read(wrong) == 0 else "overtaken"
