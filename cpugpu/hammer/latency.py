"""A histogram of times, small enough to travel with a result."""

from __future__ import annotations

import math
from collections.abc import Iterator

#: Four buckets an octave: a percentile read from them is at most 19 % too high.
_PER_OCTAVE = 4
_SMALLEST_SECONDS = 1e-7


class Latencies:
    """How often a time was seen, in buckets that grow by 2^(1/4) from 0.1 µs. Percentiles are upper bounds."""

    def __init__(self, counts: dict[int, int] | None = None) -> None:
        self.counts: dict[int, int] = dict(counts or {})

    def add(self, seconds: float) -> None:
        """Count one time."""
        bucket = 0 if seconds <= _SMALLEST_SECONDS else math.ceil(math.log2(seconds / _SMALLEST_SECONDS) * _PER_OCTAVE)
        self.counts[bucket] = self.counts.get(bucket, 0) + 1

    def merge(self, other: Latencies) -> None:
        """Count everything that `other` has counted as well."""
        for bucket, times in other.counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + times

    @property
    def total(self) -> int:
        """How many times were counted."""
        return sum(self.counts.values())

    def buckets(self) -> Iterator[tuple[float, int]]:
        """The upper end of each bucket that is not empty, in seconds, and its count; the shortest first."""
        for bucket in sorted(self.counts):
            yield _upper(bucket), self.counts[bucket]

    def percentile(self, percent: float) -> float:
        """A time in seconds that so many percent of the times do not exceed; NaN where nothing was counted."""
        wanted, seen = self.total * percent / 100, 0
        for upper, times in self.buckets():
            seen += times
            if seen >= wanted:
                return upper
        return math.nan

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Latencies) and self.counts == other.counts

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Latencies({self.counts})"


def _upper(bucket: int) -> float:
    return float(_SMALLEST_SECONDS * 2 ** (bucket / _PER_OCTAVE))
