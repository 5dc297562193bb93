"""Who gets how much of the time.

Every scenario gets a first turn. After that the next turn goes to the one that has had least for its weight, which is
higher for what promises news: a scenario that failed in the last run, or that has an outcome which is rare or was never
seen. It is lower for one whose verdict more time will not change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from cpugpu.campaign.results import Entry, Target
from cpugpu.hammer import Result
from cpugpu.rig import HANG, Scenario

#: A scenario's fair share is given in so many turns, if all weigh the same.
_TURNS = 2
SHORTEST_SECONDS = 0.05
_RARE_SHARE = 0.01
_FAILED_LAST_TIME, _PROMISING, _DECIDED = 3.0, 2.0, 0.25
#: An execution that hangs takes so much longer than its turn; such a scenario is not started near the end.
_HANG_SECONDS = 6.0


@dataclass
class _Account:
    target: Target
    listed: frozenset[str]
    failed_last_time: bool
    can_hang: bool
    given: float = 0.0
    running: bool = False
    turns: int = 0
    failed: bool = False
    ended: bool = False
    outcomes: Counter[str] = field(default_factory=Counter)

    @property
    def weight(self) -> float:
        """How much more of the time than others it should have."""
        if self.failed:
            return _DECIDED
        weight = _FAILED_LAST_TIME if self.failed_last_time else 1.0
        executions = self.outcomes.total()
        if executions and any(self.outcomes[outcome] <= _RARE_SHARE * executions for outcome in self._hoped_for):
            weight *= _PROMISING
        return weight

    @property
    def _hoped_for(self) -> set[str]:
        return set(self.listed) | set(self.outcomes)


class Budget:
    """Deals `seconds` of `width` processes out among targets. `now` in its methods: seconds since the start.

    `scenarios`: of each target, by nodeid. `recent`: the nodeids of those that failed in the last run.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        seconds: float,
        width: int,
        scenarios: Mapping[str, Scenario],
        recent: Collection[str] = (),
    ) -> None:
        self.seconds = seconds
        self._width = width
        self._accounts = {
            target.nodeid: _account(target, scenarios[target.nodeid], target.nodeid in recent) for target in targets
        }
        self._turn = max(SHORTEST_SECONDS, seconds * width / max(1, len(targets)) / _TURNS)

    def next(self, now: float) -> tuple[Target, float] | None:
        """Whose turn it is, and for how many seconds; None while there is nobody to give a turn to."""
        left = self.seconds - now
        waiting = [account for account in self._accounts.values() if not account.running and not account.ended]
        fresh = [account for account in waiting if not account.turns]
        if fresh:  # those that may take longer than they are given come first: the others then make up for it
            account = min(fresh, key=lambda account: (not account.can_hang, not account.failed_last_time))
        else:
            waiting = [account for account in waiting if left > _HANG_SECONDS or not account.can_hang]
            if not waiting or left < SHORTEST_SECONDS:
                return None
            account = min(waiting, key=lambda account: account.given / account.weight)
        # If the first turns are late they get shorter, so that everyone still has one in time.
        share = left * self._width / len(fresh) if fresh else left
        turn = max(SHORTEST_SECONDS, min(self._turn, share, left))
        account.running = True
        account.turns += 1
        return account.target, turn

    def done(self, entry: Entry, seconds: float) -> None:
        """A turn is over; it has taken `seconds`."""
        account = self._accounts[entry.shard.target.nodeid]
        account.running = False
        account.given += seconds
        if entry.result is not None:
            _learn(account, entry.result)
        if entry.fault is not None:
            account.failed = account.ended = True


def _account(target: Target, scenario: Scenario, failed_last_time: bool) -> _Account:
    listed = frozenset(str(outcome) for outcome in (*scenario.accept, *scenario.interesting, *scenario.forbid))
    return _Account(target, listed, failed_last_time, can_hang=scenario.racy and HANG in scenario.forbid)


def _learn(account: _Account, result: Result) -> None:
    account.outcomes.update({row.outcome: row.times for row in result.rows})
    account.failed |= bool(result.failures)
    account.ended |= HANG in account.outcomes
