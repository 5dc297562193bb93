"""The uniform random walk: interleavings are equally likely, not the choices at each step.

Zhao, Wolff, Mathur, Roychoudhury: Selectively Uniform Concurrency Testing (ASPLOS 2025). Where an actor is chosen with
a probability proportional to the number of steps that it has left, all interleavings of independent actors are equally
likely. An actor that has others still to make counts for theirs too: the walk is then uniform over the orders in which
a forest can be built from its roots, by the hook formula (Knuth, The Art of Computer Programming 3, 5.1.4, exercise
20).

How many steps an actor has is not known, but estimated. A single trial will not do: in it, an actor may have left
early, and counts too little in all later executions.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from cpugpu.explore.execution import Actor, Key
from cpugpu.explore.run import Ending, Run
from cpugpu.explore.strategies.random_walk import pick


class Urw:
    """An actor is as likely as it has steps left, by the most that it was ever seen to take.

    The first executions are trials, by a plain random walk. Whoever has no steps left by the estimate, or was never
    seen, counts for one step.

    Later executions adapt the estimates upwards, to at most `growth` times what the trials have seen: a thread that
    spins takes the more steps the more it is expected to, and would be expected to take ever more.
    """

    exhaustive = False
    to_the_end = False
    trials = 8
    floor = 1
    growth = 4

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)
        self._executions = 0
        self._counts: dict[Key, int] = {}  # the most steps seen of each
        self._tried: dict[Key, int] = {}  # the same, in the trials
        self._whole: dict[Key, int] = {}  # with those of all that it makes, and that these make
        self._left: dict[Key, int] = {}  # in this execution, with those of whom it has still to make

    def begin(self) -> bool:
        """There is always another schedule."""
        self._executions += 1
        self._left = {}
        return True

    def choose(self, enabled: Sequence[Actor], current: Actor | None) -> Actor | None:  # noqa: ARG002
        """One of them, by what they have left."""
        if self._executions <= self.trials:
            return pick(self._draw, enabled)
        left = self._left
        for actor in enabled:
            if actor.key not in left:
                self._seen(actor.key)
        chosen = self._weighted(enabled) if len(enabled) > 1 else enabled[0]
        left[chosen.key] -= 1
        return chosen

    def end(self, run: Run) -> None:
        """Adapt the estimates, upwards. Who turns in circles has no number of steps."""
        if not run.complete or run.ending is Ending.LIVELOCK:
            return
        counts, grown = self._counts, False
        for key, count in Counter(step.actor.key for step in run.steps).items():
            most = min(count, self.growth * self._tried[key]) if key in self._tried else count
            if most > counts.get(key, 0):
                counts[key], grown = most, True
        if self._executions == self.trials:
            self._tried = dict(counts)
        if grown:
            self._add_up()

    def _weighted(self, enabled: Sequence[Actor]) -> Actor:
        weights = [max(self._left[actor.key], self.floor) for actor in enabled]
        point = self._draw.random() * sum(weights)
        for actor, weight in zip(enabled, weights, strict=True):
            point -= weight
            if point < 0:
                return actor
        return enabled[-1]

    def _seen(self, key: Key) -> None:
        """It is there: it counts for itself, and no more for who has made it."""
        self._left[key] = whole = self._whole.get(key, 1)
        maker = _maker(key, self._left)
        if maker is not None and key in self._whole:
            self._left[maker] -= whole

    def _add_up(self) -> None:
        whole = dict(self._counts)
        for key in sorted(whole, key=len, reverse=True):
            maker = _maker(key, whole)
            if maker is not None:
                whole[maker] += whole[key]
        self._whole = whole


def _maker(key: Key, known: dict[Key, int]) -> Key | None:
    """Who has made it: the key of what an actor makes begins with its own."""
    return next((key[:length] for length in range(len(key) - 1, 0, -1) if key[:length] in known), None)
