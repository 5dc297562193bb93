"""Strategies that wrap another: one counts, one checks that the scenario does the same whenever the schedule is."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from cpugpu.explore.execution import Actor, Key
from cpugpu.explore.run import Ending, Run
from cpugpu.explore.strategies.base import Strategy


class Counting:
    """Counts what another strategy does.

    `distinct`: different schedules among those that were not given up, counted by hash. It stops growing when
    `remembers` of them are known: `full` says so, and `distinct` is then no more than a lower bound.
    """

    def __init__(self, strategy: Strategy, remembers: int = 200_000) -> None:
        self._strategy = strategy
        self.exhaustive = strategy.exhaustive
        self.to_the_end = strategy.to_the_end
        self.executions = 0
        self.steps = 0
        self.deepest = 0
        self.given_up = 0
        self._remembers = remembers
        self._schedules: set[bytes] = set()

    @property
    def distinct(self) -> int:
        """Different schedules."""
        return len(self._schedules)

    @property
    def full(self) -> bool:
        """Are there as many as are remembered?"""
        return len(self._schedules) >= self._remembers

    def begin(self) -> bool:
        """What the other says."""
        return self._strategy.begin()

    def choose(self, enabled: Sequence[Actor], current: Actor | None) -> Actor | None:
        """What the other says."""
        return self._strategy.choose(enabled, current)

    def end(self, run: Run) -> None:
        """Count."""
        self.executions += 1
        self.steps += len(run.steps)
        self.deepest = max(self.deepest, len(run.steps))
        if run.ending is Ending.GIVEN_UP:
            self.given_up += 1
        elif not self.full:
            self._schedules.add(hashlib.blake2b(repr(run.schedule).encode(), digest_size=8).digest())
        self._strategy.end(run)


_Offer: TypeAlias = "tuple[tuple[Key, str], ...]"


class _Point(NamedTuple):
    """Who could take a step, with what label, and who did."""

    offered: _Offer
    chosen: Key | None


class Deterministic:
    """Compares each execution with the one before, as far as the choices are the same.

    There, the same actors have to be offered with the same labels; and where the whole of it is the same, it has to end
    in the same way. If not, `difference` says what has changed, and there are no more schedules: nothing that was
    learnt about the scenario holds. Only one execution is remembered, so searches that change little from one to the
    next are checked best: depth first, to the last step but one.
    """

    def __init__(self, strategy: Strategy) -> None:
        self._strategy = strategy
        self.exhaustive = strategy.exhaustive
        self.to_the_end = strategy.to_the_end
        self.difference = ""
        self._before: list[_Point] = []
        self._now: list[_Point] = []
        self._same = False  # so far, have the choices been those of the execution before?
        self._last: Run | None = None
        self._names: dict[Key, str] = {}

    def begin(self) -> bool:
        """What the other says, as long as there was no difference."""
        if self.difference or not self._strategy.begin():
            return False
        self._before, self._now = self._now, []
        self._same = self._last is not None
        return True

    def choose(self, enabled: Sequence[Actor], current: Actor | None) -> Actor | None:
        """What the other says, if what is offered is what was offered before."""
        offered = tuple((actor.key, actor.next.label if actor.next is not None else "") for actor in enabled)
        for actor in enabled:
            self._names[actor.key] = actor.name
        if self._same:
            self._compare(offered)
            if self.difference:
                return None
        chosen = self._strategy.choose(enabled, current)
        point = _Point(offered, chosen.key if chosen is not None else None)
        self._same = (
            self._same and len(self._now) < len(self._before) and self._before[len(self._now)].chosen == point.chosen
        )
        self._now.append(point)
        return chosen

    def end(self, run: Run) -> None:
        """Compare how it has ended."""
        last = self._last
        if self._same and not self.difference and last is not None and run.complete and last.complete:
            step = len(self._now)
            if step < len(self._before):
                self._differs(step, self._shown(self._before[step].offered), "the execution had ended")
            elif run.grade is not last.grade:
                self._differs(step, f"the outcome was {last.outcome!r}", f"it was {run.outcome!r}")
        self._last = run
        self._strategy.end(run)

    def _compare(self, offered: _Offer) -> None:
        step = len(self._now)
        if step < len(self._before):
            before = self._before[step].offered
            if before != offered:
                self._differs(step, self._shown(before), self._shown(offered))
        elif self._last is not None and self._last.complete:
            self._differs(step, "the execution had ended", self._shown(offered))

    def _differs(self, step: int, before: str, now: str) -> None:
        self.difference = f"after the same {step} steps, {before}; now {now}"

    def _shown(self, offered: _Offer) -> str:
        could = ", ".join(f"{self._names[key]}: {label}" for key, label in offered)
        return f"step {len(self._now) + 1} could be {could}"
