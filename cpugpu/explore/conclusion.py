"""From what was tried to a verdict: the first failing schedule is made minimal, and doubts are looked into.

A scenario that does not do the same whenever the schedule is the same proves nothing and finds nothing. So a failing
schedule is tried again before it is shown, and so is one schedule before a proof.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic  # the real one, also while the stand-ins are in place

from cpugpu.explore.executor import Executor
from cpugpu.explore.minimal import minimal
from cpugpu.explore.run import Run
from cpugpu.explore.strategies.coverage import Coverage
from cpugpu.explore.strategies.dfs import DepthFirst
from cpugpu.explore.verdict import Failure, Verdict, VerdictKind

#: To make a failing schedule minimal may take so many seconds.
_MINIMAL_SECONDS = 5.0
#: A failing schedule is tried again so often: one that does not fail every time is no finding.
_REPEATS = 3


@dataclass
class Tally:
    """What has been counted since `began`, of `time.monotonic()`."""

    began: float
    schedules: int = 0
    failing: int = 0
    traces: int | None = None
    first: Run | None = None
    first_after: int = 0
    first_seconds: float = 0.0
    #: No failing schedule has fewer preemptions.
    proved_below: int = 0
    reason: str = ""  # why nothing can be concluded
    coverage: Coverage = field(default_factory=Coverage)

    def add(self, run: Run, *, sampled: bool) -> None:
        """Another execution to the end. `sampled`: its schedule was drawn at random."""
        self.schedules += 1
        if sampled:
            self.coverage.add(run)
        if run.failed:
            self.failing += 1
            if self.first is None:
                self.first = run
                self.first_after = self.schedules
                self.first_seconds = monotonic() - self.began


def conclude(
    tally: Tally, executor: Executor, *, strategy: str, bound: int | None, seed: int, exhausted: bool
) -> Verdict:
    """What may be concluded. `exhausted`: no schedule is left, with at most `bound` preemptions if there is one."""
    failure = _failure(tally.first, tally, executor) if tally.first is not None else None
    reason = tally.reason
    if failure is not None and (difference := _difference(failure, executor)):
        failure, reason = None, difference
    if failure is None and not reason and exhausted:
        reason = _unsteady(executor)
    if failure is not None:
        kind, reason = VerdictKind.FAILED, ""
    elif reason:
        kind = VerdictKind.INCONCLUSIVE
    elif exhausted:
        kind = VerdictKind.PROVED
    elif tally.coverage.executions:
        kind, reason = VerdictKind.SAMPLED, _sampled(tally.coverage)
    else:
        kind, reason = VerdictKind.INCONCLUSIVE, "the time was up before every schedule was tried"
    return Verdict(
        kind=kind,
        title=executor.scenario.title,
        schedules=tally.schedules,
        traces=tally.traces,
        failing=tally.failing,
        failure=failure,
        granularity="lines" if executor.trace else "operations",
        bound=bound,
        strategy=strategy,
        seed=seed,
        seconds=monotonic() - tally.began,
        reason=reason,
    )


def _failure(first: Run, tally: Tally, executor: Executor) -> Failure:
    """The first failing run, made minimal."""
    deadline = monotonic() + _MINIMAL_SECONDS
    shortest = minimal(first, executor.execute, deadline, proved_below=tally.proved_below)
    return Failure(
        outcome=shortest.outcome,
        meaning=shortest.meaning,
        kind=shortest.ending,
        preemptions=shortest.preemptions,
        replay=executor.text(shortest),
        after=tally.first_after,
        seconds=tally.first_seconds,
        run=shortest,
    )


def _difference(failure: Failure, executor: Executor) -> str:
    """Empty if the schedule fails whenever it is tried. If not, nothing that was seen is the schedule's doing."""
    for _ in range(_REPEATS):
        replay = executor.replay(failure.replay)
        replay.begin()
        run = executor.execute(replay)
        if (run.ending, run.outcome, run.schedule) != (failure.kind, failure.outcome, failure.run.schedule):
            return (
                f"{executor.place}: the scenario is not deterministic: under one schedule, the outcome was"
                f" {failure.outcome!r}; now {run.outcome!r}"
            )
    return ""


def _unsteady(executor: Executor) -> str:
    """Empty if the schedule without preemptions has one outcome. It may be the only one, and was tried once then."""
    outcomes = {executor.execute(DepthFirst(0)).outcome for _ in range(_REPEATS)}
    if len(outcomes) == 1:
        return ""
    return (
        f"{executor.place}: the scenario is not deterministic: one schedule has the outcomes"
        f" {', '.join(sorted(map(repr, outcomes)))}"
    )


def _sampled(coverage: Coverage) -> str:
    estimate, low, high = coverage.missing_mass
    about = "" if coverage.exact else "about "
    return (
        f"{about}{coverage.seen:,} traces in {coverage.executions:,} random schedules; the next one is new with a"
        f" probability of {estimate:.2%} ({low:.2%} to {high:.2%})"
    )
