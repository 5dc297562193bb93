r"""Scenarios that nobody wrote: each execution draws a program and judges what it has seen.

Threads fill, copy and observe buffers on a few streams, hand work to each other through the class under test, record
and wait for bare device events, and synchronise. An oracle computes happens-before and from it the values that each
observation may see, racing ones included (stress/generated/oracle.py says what it guarantees). Where an observation
sees another one, the class, the device or the oracle is wrong, and Hypothesis shrinks the program.

    $ cpugpu stress stress/stress_generated.py --stress-seconds=20 --stress-seed=1 \
        --stress-subject=stress.subjects:RecordOnCurrentStream
    generated[RecordOnCurrentStream] FAILED: outcome 'unordered' is forbidden (an observation saw a value that ...)
      first seen in execution 5 on sim, seed 1
      | shrunk from 20 operations to 4:
      |
      |       thread 0          thread 1
      |    1                    fill b0 ← 1 on s0
      |    2                    h0.record(s0)
      |    3  h0.wait(s1)
      |    4  observe b0 on s1                     saw -1 and 1; allowed is 1
      |       at first b0 holds -1
      | ...
    generated[RecordOnCurrentStream]: FAILED (1,751 executions in 19.9 s)
        outcome    times  share  grade      meaning
        ordered    1,631  93.1%  accepted   every observation saw a value that happens-before allows
        unordered    120   6.9%  forbidden  an observation saw a value that happens-before rules out

A program that fails too rarely to be shrunk in that time is printed as it was drawn. Save what is printed from
`Program((` on, and give it longer: `python -m stress.generated --program FILE --seconds 600 --subject ...`. The same
command without a program lets Hypothesis draw them.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from cpugpu import CpuGpuEvent, scenario
from cpugpu.hammer.rig import HammerRig, Standstill, ThreadFailed
from cpugpu.rig import Rig, raised
from stress.generated.generator import draw
from stress.generated.listing import listing
from stress.generated.program import Program, play
from stress.generated.verdict import complaint

#: A program may well race: what is asked is whether it saw what it may see.
RACES = ("race", "unrecorded-wait", "wait-not-ordered-after-record", "flag-before-record", "record-over-unconsumed")
#: How long the first failing execution of a kind may be shrunk. Afterwards the campaign goes on.
SHRINK_SECONDS = 5.0


class Failing(str):
    """An outcome that can explain itself: with the smallest program that fails, if it fails again in time."""

    _complaint: str
    _program: Program
    _rig: Rig
    _make_event: Callable[[], Any]

    def __new__(
        cls, outcome: str, complaint: str, program: Program, rig: Rig, make_event: Callable[[], Any]
    ) -> Failing:
        """`complaint`: what is to be said about the program as it is."""
        self = super().__new__(cls, outcome)
        self._complaint, self._program, self._rig, self._make_event = complaint, program, rig, make_event
        return self

    def explain(self) -> str:
        """Called by the hammer for the first outcome of its kind, between two executions."""
        from stress.generated.search import Search  # and Hypothesis

        whole = f"{self._complaint}\n\n{self._program!r}"
        if not isinstance(self._rig, HammerRig):
            return whole
        finding = Search(self._rig, self._make_event, seconds=SHRINK_SECONDS).shrink(self._program)
        if finding is None:
            return f"not shrunk: it did not fail again within {SHRINK_SECONDS / 2:g} s\n\n{whole}"
        return f"shrunk from {len(self._program)} operations to {len(finding.program)}:\n\n{finding}"


@scenario(
    accept={"ordered": "every observation saw a value that happens-before allows"},
    forbid={"unordered": "an observation saw a value that happens-before rules out"},
    breaks=RACES,
)
def generated(rig: Rig, make_event: Callable[[], Any] = CpuGpuEvent) -> str:
    """A new program each time."""
    program = draw(rig.random(), until_consumed=hasattr(make_event, "pending"))
    try:
        found = complaint(program, play(program, rig, make_event))
        return Failing("unordered", found, program, rig, make_event) if found else "ordered"
    except (ThreadFailed, Standstill) as failure:
        if isinstance(failure, ThreadFailed) and not failure.details:  # all threads have ended
            cause = failure.__cause__ or failure
            text = f"{listing(program)}\n\n{''.join(traceback.format_exception(cause))}"
            return Failing(raised(cause), text, program, rig, make_event)
        failure.details += f"\n\n{listing(program)}\n\n{program!r}"
        raise
