"""What came out of a run, in a few words and numbers: the verdicts, and the totals."""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import dataclass

from cpugpu.campaign import Item, Run
from cpugpu.hammer import Failure
from cpugpu.report.text import NO_RESULT, one_failure_text, too_few


class Verdict(str, enum.Enum):
    """How a scenario came out."""

    FAILED = "failed"  # a forbidden outcome; or it is racy and showed none
    FAULT = "fault"  # a shard gave no whole result: the scenario may be right
    NOT_RUN = "not run"  # it was planned, and there is no result of it
    PASSED = "passed"


@dataclass(frozen=True)
class Described:
    """A failure with the line that replays it, and both as plain text."""

    failure: Failure
    replay: str
    text: str


@dataclass(frozen=True)
class Totals:
    """Of a run. `seconds` are those of its shards added up, which ran side by side."""

    verdicts: dict[Verdict, int]
    skipped: int
    executions: int
    hand_offs: int
    seconds: float

    @property
    def items(self) -> int:
        """Scenarios that were planned."""
        return sum(self.verdicts.values())


def verdict(item: Item) -> Verdict:
    """A failure that came with a fault of its shard (memory, the device) is put down to that fault."""
    if item.passed:
        return Verdict.PASSED
    if not item.faults:
        return Verdict.FAILED if item.result is not None else Verdict.NOT_RUN
    faulty = [failure for entry in item.faults if entry.result is not None for failure in entry.result.failures]
    for failure in item.result.failures if item.result is not None else ():
        wanted = item.target.racy and failure.listed
        if not wanted and (failure.listed or failure not in faulty):
            return Verdict.FAILED
    return Verdict.FAULT


def described(item: Item) -> list[Described]:
    """The failures of a scenario that should not have failed, each with its replay line."""
    result = item.result
    if result is None or result.passed:
        return []
    return [
        Described(failure, line, one_failure_text(result.title, failure, line))
        for failure, line in zip(result.failures, item.replays, strict=False)  # those of faults come after them
    ]


def headline(item: Item) -> str:
    """The verdict's reason, in a line."""
    result, racy = item.result, item.target.racy
    if item.passed:
        return "racy, as it should be" if racy else ""
    failures = [f for f in (result.failures if result is not None else ()) if not (racy and f.listed)]
    if verdict(item) is Verdict.FAILED and failures:
        more = f", and {len(failures) - 1} more" if len(failures) > 1 else ""
        return f"outcome {failures[0].outcome!r} is forbidden{more}"
    if item.faults:
        fault = item.faults[0].fault
        assert fault is not None
        more = f", and {len(item.faults) - 1} more" if len(item.faults) > 1 else ""
        return f"{fault.kind}: {fault.text}{more}"
    if result is None:
        return NO_RESULT
    shown = "it is racy and showed no forbidden outcome"
    return f"not enough time: {shown}" if too_few(result) else shown


def skipped(run: Run) -> dict[str, str]:
    """Why scenarios were left out, by nodeid. One that ran in another part of the run is not among them."""
    ran = {item.target.nodeid for item in run.items}
    return {nodeid: reason for header in run.headers for nodeid, reason in header.skipped if nodeid not in ran}


def totals(run: Run) -> Totals:
    """Count."""
    items = run.items
    counts = Counter(verdict(item) for item in items)
    results = [item.result for item in items if item.result is not None]
    return Totals(
        verdicts={each: counts[each] for each in Verdict},
        skipped=len(skipped(run)),
        executions=sum(result.executions for result in results),
        hand_offs=sum(result.hand_offs for result in results),
        seconds=sum(result.seconds for result in results),
    )
