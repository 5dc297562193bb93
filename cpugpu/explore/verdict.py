"""What an exploration found out."""

from __future__ import annotations

import enum
from collections.abc import Hashable
from dataclasses import dataclass

from cpugpu.explore.run import Ending, Run
from cpugpu.explore.table import ending_text, schedule_table


class VerdictKind(str, enum.Enum):
    """What may be concluded.

    `PROVED`: every schedule was tried, or one of each trace, at the given granularity and, where there is one, within
    the bound of preemptions. `SAMPLED`: some were. `INCONCLUSIVE`: something was met that takes the conclusion away.
    """

    PROVED = "proved"
    SAMPLED = "sampled"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Failure:
    """A schedule with a forbidden outcome, made minimal.

    `kind`: an outcome, a deadlock or a livelock. `replay`: the text that repeats it. `after`: so many schedules were
    tried until one like it was found, in `seconds`.
    """

    outcome: Hashable
    meaning: str
    kind: Ending
    preemptions: int
    replay: str
    after: int
    seconds: float
    run: Run


def failure_text(title: str, failure: Failure) -> str:
    """The schedule, and what to do next."""
    run, many = failure.run, failure.preemptions
    meaning = f" ({failure.meaning})" if failure.meaning else ""
    size = f"{len(run.steps)} steps, {many} preemption{'s' * (many != 1)}"
    lines = [
        f"{title} FAILED: outcome {str(failure.outcome)!r} is forbidden{meaning}",
        f"  minimal schedule: {size}, found after {failure.after:,} schedules in {failure.seconds:.3f} s",
        "",
        schedule_table(run),
        "",
    ]
    ending = ending_text(run)
    return "\n".join([*lines, *([ending, ""] if ending else []), f"  replay: {failure.replay}"])


@dataclass(frozen=True)
class Verdict:
    """What an exploration found out. Prints as what people want to know.

    `schedules`: executions to the end. `traces`: how many of them were known to differ in more than the order of steps
    that do not conflict, None where nobody has counted. `failing`: of the schedules those with a forbidden outcome; the
    exploration ends at the first unless it was told not to. `bound`: of preemptions, None for none. `reason`: in words,
    for what is not proved and not failed.
    """

    kind: VerdictKind
    title: str
    schedules: int
    traces: int | None
    failing: int
    failure: Failure | None
    granularity: str
    bound: int | None
    strategy: str
    seed: int
    seconds: float
    reason: str = ""

    def __str__(self) -> str:
        if self.failure is not None:
            return failure_text(self.title, self.failure)
        within = f" with at most {self.bound} preemption{'s' * (self.bound != 1)}" if self.bound is not None else ""
        traces = f", {self.traces:,} traces" if self.traces is not None else ""
        reason = f": {self.reason}" if self.reason else ""
        return (
            f"{self.title} {self.kind.value}{within}{reason} (granularity {self.granularity};"
            f" {self.schedules:,} schedules{traces}, {self.seconds:.1f} s)"
        )
