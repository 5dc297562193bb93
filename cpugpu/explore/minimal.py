"""Of the failing schedules, one with the fewest preemptions: if it can be with one outcome, and the fewest steps."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic  # the real one, also while the stand-ins are in place

from cpugpu.explore.run import Run
from cpugpu.explore.strategies.dfs import DepthFirst

#: For fewer steps with as few preemptions, so many schedules are looked at.
_FOR_STEPS = 1000


def minimal(run: Run, execute: Callable[[DepthFirst], Run], deadline: float, *, proved_below: int = 0) -> Run:
    """A minimal failing run, as far as the time (of `time.monotonic()`) reaches.

    Of those with as few preemptions it has the outcome of `run`, if one has: a scenario that fails in several ways is
    shown in the simplest one. `execute` runs one schedule. `proved_below`: with fewer preemptions than that there is
    none, as is known already.
    """
    best = run
    for bound in range(proved_below, run.preemptions + 1):
        search = DepthFirst(bound)
        tried = 0
        while search.begin() and monotonic() < deadline:
            found = execute(search)
            search.end(found)
            tried += 1
            if found.failed and _measure(found, run) < _measure(best, run):
                best = found
            if best.preemptions <= bound and tried >= _FOR_STEPS:
                break
        if best.preemptions <= bound:
            return best
    return best


def _measure(found: Run, run: Run) -> tuple[int, bool, int]:
    other = found.ending is not run.ending or found.outcome != run.outcome
    return found.preemptions, other, len(found.steps)
