"""How long things take: a distribution with a heavy tail, drawn from a seed."""

from __future__ import annotations

import random
from collections.abc import Sequence

#: A dozen lengths from 1 µs to 100 ms, in seconds. (rr's chaos mode also draws from a dozen, 1 ms to 2 s.)
LENGTHS = (1e-6, 3e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 3e-3, 1e-2, 1e-1)


class HeavyTail:
    """Draws a delay in seconds: often none, mostly short, rarely very long.

    `idle` is the share of draws that are 0. A length L of `LENGTHS` weighs 1/√L: a delay ten times as long is three
    times as rare. An overtaking that takes a millisecond is then drawn once in a hundred, and one of 100 ms once in two
    thousand.
    """

    def __init__(self, rng: random.Random, *, idle: float = 0.6, longest: float = 0.1) -> None:
        lengths = [length for length in LENGTHS if length <= longest]
        self._rng = rng
        self._idle = idle
        self._lengths: Sequence[float] = lengths
        weights = [length**-0.5 for length in lengths]
        total = sum(weights)
        self._cumulative = [sum(weights[: i + 1]) / total for i in range(len(lengths))]

    def draw(self) -> float:
        """The next delay, in seconds."""
        rng = self._rng
        if rng.random() < self._idle:
            return 0.0
        return rng.choices(self._lengths, cum_weights=self._cumulative)[0]
