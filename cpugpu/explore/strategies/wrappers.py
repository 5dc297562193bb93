"""Strategies that wrap another: one counts, one checks that the scenario does the same whenever the schedule is."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeAlias

from cpugpu.explore.execution import Actor, Key
from cpugpu.explore.run import Ending, Run
from cpugpu.explore.strategies.base import Strategy

#: Who could take a step, and its label.
_Offered: TypeAlias = "list[tuple[Key, str]]"


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
        self._last: Run | None = None
        self._last_offered: list[_Offered] = []  # at each step
        self._offered: list[_Offered] = []
        self._same = False  # so far, have the choices been those of the last execution?

    def begin(self) -> bool:
        """What the other says, as long as there was no difference."""
        if self.difference or not self._strategy.begin():
            return False
        self._last_offered, self._offered = self._offered, []
        self._same = self._last is not None
        return True

    def choose(self, enabled: Sequence[Actor], current: Actor | None) -> Actor | None:
        """What the other says, if what is offered is what was offered before."""
        step, last = len(self._offered), self._last if self._same else None
        offered = [(actor.key, actor.next.label if actor.next is not None else "") for actor in enabled]
        self._offered.append(offered)
        if last is not None:
            self._compare(last, step, enabled, offered)
            if self.difference:
                return None
        chosen = self._strategy.choose(enabled, current)
        if last is not None:
            self._same = chosen is not None and step < len(last.steps) and last.steps[step].actor.key == chosen.key
        return chosen

    def end(self, run: Run) -> None:
        """Compare how it has ended."""
        last = self._last if self._same and not self.difference else None
        if last is not None and last.complete and run.complete:
            step = len(run.steps)
            if step < len(last.steps):
                self._differs(step, _shown(last.steps[step].enabled, self._last_offered[step]), "it has ended")
            elif run.grade is not last.grade:
                self._differs(step, f"the outcome was {last.outcome!r}", f"it is {run.outcome!r}")
        self._last = run
        self._strategy.end(run)

    def _compare(self, last: Run, step: int, enabled: Sequence[Actor], offered: _Offered) -> None:
        if step < len(last.steps):
            before, before_offered = last.steps[step].enabled, self._last_offered[step]
            if offered != before_offered:
                self._differs(step, _shown(before, before_offered), _shown(enabled, offered))
        elif last.complete:
            self._differs(step, "the execution had ended", _shown(enabled, offered))

    def _differs(self, step: int, before: str, now: str) -> None:
        self.difference = f"after the same {step} steps, {before}; now {now}"


def _shown(enabled: Sequence[Actor], offered: _Offered) -> str:
    could = (f"{actor.name} ({label})" for actor, (_, label) in zip(enabled, offered, strict=True))
    return f"what could be next was {', '.join(could)}"
