"""Two runs side by side: what has changed, and by more than chance.

A share is said to have changed where the two-proportion z statistic is at least `Z`. Executions of a hammer are not
independent draws, and a busy machine shifts shares as well: read it as where to look, not as a proof.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

from cpugpu.campaign import Item, Run
from cpugpu.hammer import Result
from cpugpu.report.summary import skipped, verdict
from cpugpu.rig import Grade

#: By chance alone one comparison in 16,000 gets there.
Z = 4.0
ABSENT = "absent"


@dataclass(frozen=True)
class ShareChange:
    """An outcome whose share has changed."""

    outcome: str
    grade: Grade
    before: tuple[int, int]  # times, executions
    now: tuple[int, int]
    z: float


@dataclass(frozen=True)
class Change:
    """What has changed about a scenario."""

    nodeid: str
    title: str
    before: str
    now: str
    executions: tuple[int, int]
    appeared: list[str] = field(default_factory=list)  # forbidden outcomes
    gone: list[str] = field(default_factory=list)
    shares: list[ShareChange] = field(default_factory=list)

    @property
    def any(self) -> bool:
        """Is there anything to tell? A different number of executions alone is not."""
        return bool(self.before != self.now or self.appeared or self.gone or self.shares)


@dataclass(frozen=True)
class Comparison:
    """Of two runs: the scenarios that changed, and the number of those that did not."""

    changes: list[Change]
    unchanged: int


def compare(before: Run, now: Run) -> Comparison:
    """What is otherwise in `now` than it was in `before`."""
    old, new = _by_nodeid(before), _by_nodeid(now)
    every = [_change(nodeid, old.get(nodeid), new.get(nodeid)) for nodeid in {**new, **old}]
    changes = [change for change in every if change.any]
    return Comparison(changes, len(every) - len(changes))


def z_statistic(before: tuple[int, int], now: tuple[int, int]) -> float:
    """How many standard deviations two shares, each `(times, executions)`, are apart; positive where it has grown."""
    (times_before, n_before), (times_now, n_now) = before, now
    if not n_before or not n_now:
        return 0.0
    pooled = (times_before + times_now) / (n_before + n_now)
    deviation = math.sqrt(pooled * (1 - pooled) * (1 / n_before + 1 / n_now))
    return (times_now / n_now - times_before / n_before) / deviation if deviation else 0.0


def _by_nodeid(run: Run) -> dict[str, Item | str]:
    """The items; of those that were skipped the nodeid. Where a merged run has an item a device, the title as well."""
    items = run.items
    times = Counter(item.target.nodeid for item in items)
    found: dict[str, Item | str] = {nodeid: nodeid for nodeid in skipped(run)}
    for item in items:
        nodeid = item.target.nodeid
        found[nodeid if times[nodeid] == 1 else f"{nodeid}: {item.target.title}"] = item
    return found


def _change(nodeid: str, before: Item | str | None, now: Item | str | None) -> Change:
    titles = [each.target.title for each in (now, before) if isinstance(each, Item)]
    old, new = _result(before), _result(now)
    executions = (old.executions if old else 0, new.executions if new else 0)
    seen_before, seen_now = _seen(old), _seen(new)
    forbidden_before, forbidden_now = _forbidden(old), _forbidden(new)
    grades = {row.outcome: row.grade for result in (old, new) if result for row in result.rows}
    shares = []
    for outcome in {**seen_now, **seen_before}:
        pair = (seen_before.get(outcome, 0), executions[0]), (seen_now.get(outcome, 0), executions[1])
        z = z_statistic(*pair)
        if abs(z) >= Z:
            shares.append(ShareChange(outcome, grades[outcome], *pair, z))
    return Change(
        nodeid=nodeid,
        title=(titles or [nodeid.partition("::")[2] or nodeid])[0],
        before=_verdict(before),
        now=_verdict(now),
        executions=executions,
        appeared=[outcome for outcome in forbidden_now if outcome not in forbidden_before],
        # What was never executed has not got rid of anything.
        gone=[outcome for outcome in forbidden_before if outcome not in forbidden_now] if executions[1] else [],
        shares=shares,
    )


def _verdict(item: Item | str | None) -> str:
    if item is None:
        return ABSENT
    return "skipped" if isinstance(item, str) else verdict(item).value


def _result(item: Item | str | None) -> Result | None:
    return item.result if isinstance(item, Item) else None


def _seen(result: Result | None) -> dict[str, int]:
    seen: Counter[str] = Counter()
    for row in result.rows if result is not None else ():
        seen[row.outcome] += row.times
    return seen


def _forbidden(result: Result | None) -> list[str]:
    return [row.outcome for row in result.rows if row.grade is Grade.FORBIDDEN] if result is not None else []
