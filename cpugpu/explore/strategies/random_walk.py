"""The plain random walk: whoever can take a step is equally likely to."""

from __future__ import annotations

import random
from collections.abc import Sequence

from cpugpu.explore.execution import Actor
from cpugpu.explore.run import Run


def pick(draw: random.Random, enabled: Sequence[Actor]) -> Actor:
    """One of them, each equally likely.

    Of `random.Random`, `random()` alone gives the same numbers in every version of Python, hence not `choice()`.
    """
    return enabled[int(draw.random() * len(enabled))] if len(enabled) > 1 else enabled[0]


class RandomWalk:
    """Each enabled actor is equally likely at each step.

    The likeliest interleavings are those in which the actors keep pace. That one actor does all of its steps before
    another has done its only one has a probability that halves with each of them.
    """

    exhaustive = False
    to_the_end = False

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)

    def begin(self) -> bool:
        """There is always another schedule."""
        return True

    def choose(self, enabled: Sequence[Actor], current: Actor | None) -> Actor | None:  # noqa: ARG002
        """Any."""
        return pick(self._draw, enabled)

    def end(self, run: Run) -> None:
        """Nothing to learn."""
