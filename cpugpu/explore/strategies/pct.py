"""Random priorities, and a few points at which they change.

Burckhardt, Kothari, Musuvathi, Nagarakatte: A Randomized Scheduler with Probabilistic Guarantees of Finding Bugs
(ASPLOS 2010). The *depth* of a bug is the number of orders between steps that have to hold for it to show. An
execution finds a bug of depth d among n actors and k steps with a probability of at least 1 / (n k^(d-1)).
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from cpugpu.explore.execution import Actor, Key
from cpugpu.explore.run import Run
from cpugpu.explore.strategies.random_walk import pick

#: A thread that spins until a flag is set can keep out for ever whoever sets it, if its priority is the higher one. So
#: an execution that is longer than this goes on as a random walk, as Coyote's fair variant of the algorithm does.
UNFAIR = 1000


class Pct:
    """The enabled actor with the highest priority goes on. `depth` - 1 times, whoever has just gone on becomes lowest.

    The number of steps over which these change points are drawn is the greatest that was seen so far. The first
    execution is a random walk, to see one. (To count the steps with a choice only is tempting, and a trap: where early
    changes leave no choices for later, it would never see that there are more.) An actor that has rested becomes the
    lowest too, or two that poll would keep out a third.
    """

    exhaustive = False
    to_the_end = False

    def __init__(self, seed: int, depth: int = 3) -> None:
        if depth < 1:
            raise ValueError(f"depth={depth!r} is not a number of orders from 1")
        self.depth = depth
        self._draw = random.Random(seed)
        self._begun = False
        self._walking = False
        self.length = 1  # the k of the guarantee: the greatest number of steps
        self._taken = 0
        self._points: dict[int, int] = {}  # after so many steps, the priority of whoever took the last one
        self._priorities: dict[Key, float] = {}
        self._lowest = 0

    def begin(self) -> bool:
        """Draw the change points. Priorities are drawn when an actor is seen."""
        self._walking, self._begun = not self._begun, True
        self._taken = self._lowest = 0
        self._priorities.clear()
        self._points.clear()
        for priority in range(1, self.depth):
            self._points[1 + int(self._draw.random() * self.length)] = priority
        return True

    def choose(self, enabled: Sequence[Actor], current: Actor | None) -> Actor | None:
        """The one with the highest priority."""
        taken = self._taken
        self._taken = taken + 1
        if self._walking or taken >= UNFAIR:
            return pick(self._draw, enabled)
        priorities = self._priorities
        if current is not None and taken in self._points:
            priorities[current.key] = min(priorities[current.key], self._points[taken])
        for actor in enabled:
            if actor.key not in priorities:
                priorities[actor.key] = self.depth + self._draw.random()
        actor = max(enabled, key=lambda each: priorities[each.key])
        if actor.next is not None and actor.next.rests:
            self._lowest -= 1
            priorities[actor.key] = self._lowest
        return actor

    def end(self, run: Run) -> None:
        """Was it longer than all before?"""
        self.length = max(self.length, min(len(run.steps), UNFAIR))
