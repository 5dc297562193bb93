"""Of the schedules with one outcome, one with the fewest preemptions, and of these the fewest steps."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic  # the real one, also while the stand-ins are in place

from cpugpu.explore.run import Run
from cpugpu.explore.strategies.dfs import DepthFirst

#: For fewer steps with as few preemptions, so many schedules are looked at.
_FOR_STEPS = 2000


def minimal(run: Run, execute: Callable[[DepthFirst], Run], deadline: float, *, proved_below: int = 0) -> Run:
    """A minimal run with the outcome of `run`, as far as the time (of `time.monotonic()`) reaches.

    `execute` runs one schedule. `proved_below`: with fewer preemptions than that there is none, as is known already.
    """
    best = run
    for bound in range(proved_below, run.preemptions + 1):
        search = DepthFirst(bound)
        tried = 0
        while search.begin() and monotonic() < deadline:
            found = execute(search)
            search.end(found)
            tried += 1
            if _same(found, run) and _measure(found) < _measure(best):
                best = found
            if best.preemptions <= bound and tried >= _FOR_STEPS:
                break
        if best.preemptions <= bound:
            return best
    return best


def _same(one: Run, other: Run) -> bool:
    return one.failed and one.ending is other.ending and one.outcome == other.outcome


def _measure(run: Run) -> tuple[int, int]:
    return run.preemptions, len(run.steps)
