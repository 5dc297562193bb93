"""Partial order sampling: a random priority per step, not per actor.

Yuan, Yang, Gu: Partial Order Aware Concurrency Sampling (CAV 2018). Whether one step comes before another is decided by
two priorities of their own, so steps that are far apart are in either order about as often as neighbours are. After a
step, those that race with it have new priorities: that they have lost against it says nothing about the next.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from cpugpu.explore.execution import Actor, Key
from cpugpu.explore.happens_before import race
from cpugpu.explore.operation import Operation
from cpugpu.explore.run import Run


class Pos:
    """The enabled actor whose next step has the highest priority goes on.

    The priorities are drawn when a step is first seen to be possible. One that meanwhile cannot be taken keeps its own,
    unless what was taken races with it.
    """

    exhaustive = False
    to_the_end = False

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)
        self._pending: dict[Key, tuple[Operation | None, float]] = {}

    def begin(self) -> bool:
        """There is always another schedule."""
        self._pending.clear()
        return True

    def choose(self, enabled: Sequence[Actor], current: Actor | None) -> Actor | None:
        """The one whose next step has the highest priority."""
        pending = self._pending
        if current is not None:
            self._taken(current)
        for actor in enabled:
            known = pending.get(actor.key)
            if known is None or known[0] is not actor.next:
                pending[actor.key] = (actor.next, self._draw.random())
        return max(enabled, key=lambda each: pending[each.key][1])

    def end(self, run: Run) -> None:
        """Nothing to learn."""

    def _taken(self, actor: Actor) -> None:
        """Forget the priority of the step that was taken, and of those that race with it."""
        self._pending.pop(actor.key, None)
        if actor.last is None:
            return
        footprint = actor.last.footprint
        racing = [
            key
            for key, (operation, _) in self._pending.items()
            if operation is not None and race(operation.footprint, footprint)
        ]
        for key in racing:
            del self._pending[key]
