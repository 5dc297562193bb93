"""How much of a scenario has random sampling seen? Traces are counted, and what was not seen is estimated.

The estimates are of the traces that *this* strategy leads to, weighted by how often it does. They hold for strategies
whose executions are independent and alike (a random walk, partial order sampling), and roughly for those that adapt.
"""

from __future__ import annotations

import hashlib
import math
import struct
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from cpugpu.explore.execution import Key, Step
from cpugpu.explore.operation import ORDERED, READ, WRITE, Access
from cpugpu.explore.run import Run

_BITS = (1 << 64) - 1


class MissingMass(NamedTuple):
    """The probability that the next execution has a trace that none had before."""

    estimate: float
    low: float
    high: float


def trace_of(steps: Sequence[Step]) -> int:
    """A number of 64 bits for the trace of an execution: equal where all races went the same way.

    Each step has a hash, of whose and which it is and of the hashes of the steps that it came right after: the last
    write of what it reads, and for what it writes the reads since too. The sum of them does not depend on the order of
    steps that do not conflict. Orders of which one is a `CAUSE` are left out, as they are the same in all executions.
    """
    total = 0
    counts: Counter[Key] = Counter()
    writes: dict[object, int] = {}
    reads: dict[object, int] = {}  # since the last write: the sum of their hashes
    for step in steps:
        key = step.actor.key
        counts[key] += 1
        parts = [zlib.crc32(repr(key).encode()), counts[key], zlib.crc32(step.label.encode())]
        touched: dict[object, Access] = {}
        for resource, access in step.footprint:
            if access not in ORDERED and touched.get(resource.key) is not WRITE:
                touched[resource.key] = access
        for its, access in touched.items():
            parts += (writes.get(its, 0), reads.get(its, 0) if access is WRITE else 0)
        mixed = hashlib.blake2b(struct.pack(f"<{len(parts)}Q", *parts), digest_size=8)
        (number,) = struct.unpack("<Q", mixed.digest())
        for its, access in touched.items():
            if access is READ:
                reads[its] = (reads.get(its, 0) + number) & _BITS
            else:
                writes[its] = number
                reads.pop(its, None)
        total += number
    return total & _BITS


class Coverage:
    """Counts the traces of executions, complete ones only. `confidence`: of the interval for what is missing."""

    def __init__(self, confidence: float = 0.95) -> None:
        if not 0 < confidence < 1:
            raise ValueError(f"confidence={confidence!r} is not a probability between 0 and 1")
        self.confidence = confidence
        self.executions = 0
        self._times: dict[int, int] = {}
        self._first: dict[int, int] = {}  # the number of the execution in which a trace was seen first
        self._often: Counter[int] = Counter()  # how many traces were seen so many times; up to twice
        # The executions from number `_split` on, and how many of them had a trace that was not seen before that number;
        # and the same for the next split, twice as far.
        self._split = 1
        self._new = 0
        self._next_new = 0

    @property
    def seen(self) -> int:
        """Different traces so far."""
        return len(self._times)

    @property
    def traces(self) -> float:
        """How many there are, by Chao's estimator (Chao1): at least about so many, in expectation.

        Chao: Nonparametric Estimation of the Number of Classes in a Population (Scandinavian Journal of Statistics
        11, 1984). With f1 and f2 traces seen once and twice: seen + (1 - 1/n) f1^2 / (2 f2), and for f2 = 0
        seen + (1 - 1/n) f1 (f1 - 1) / 2.
        """
        once, twice = self._often[1], self._often[2]
        unseen = once * once / (2 * twice) if twice else once * (once - 1) / 2
        return self.seen + (unseen * (1 - 1 / self.executions) if self.executions else 0.0)

    @property
    def missing_mass(self) -> MissingMass:
        """The probability of a new trace: an estimate, and an interval that holds it with the confidence 1 - d.

        The estimate is Good and Turing's, f1 / n (Good: The Population Frequencies of Species, Biometrika 40, 1953).
        The distance between the two was first bounded by McAllester and Schapire (On the Convergence Rate of
        Good-Turing Estimators, COLT 2000). Here, of d,

        * one half is for the lower end, f1/n - 1/n - sqrt(2 ln(4/d) / n) - sqrt(2 ln(4/d) / (e n)): the expectation of
          f1/n is at most 1/n above that of the missing mass; if one execution had been another, f1/n would differ by at
          most 2/n (McDiarmid's inequality); and the missing mass falls short of its expectation by x with a probability
          of at most exp(-e n x^2 / 2) (McAllester and Ortiz: Concentration Inequalities for the Missing Mass and for
          Histogram Rule Error, JMLR 4, 2003);
        * a quarter is for the same upwards, f1/n + sqrt(2 ln(8/d) / n) + sqrt(ln(8/d) / n), as the missing mass exceeds
          its expectation by x with at most exp(-n x^2);
        * a quarter is for a test that is sharp where all was seen. Of the N executions after the first m, K had a trace
          that the first m had not. What was missing after m was a p with N kl(K/N, p) <= ln(4/d), by Chernoff's bound,
          and no more is missing now. Where K is 0, that is about ln(4/d) / N. The lesser upper end counts.
        """
        count = self.executions
        if not count:
            return MissingMass(1.0, 0.0, 1.0)
        estimate = self._often[1] / count
        risk = 1 - self.confidence
        below, above = math.log(4 / risk) / count, math.log(8 / risk) / count
        low = estimate - 1 / count - math.sqrt(2 * below) - math.sqrt(2 * below / math.e)
        high = estimate + math.sqrt(2 * above) + math.sqrt(above)
        after = count - self._split
        if after > 0:
            high = min(high, _most(self._new, after, math.log(4 / risk)))
        return MissingMass(estimate, max(0.0, low), min(1.0, max(high, estimate)))

    def add(self, run: Run) -> None:
        """Another execution."""
        if not run.complete:
            return
        number = self.executions
        self.executions += 1
        trace = trace_of(run.steps)
        times = self._times[trace] = self._times.get(trace, 0) + 1
        self._often[times] += 1
        self._often[times - 1] -= 1
        first = self._first.setdefault(trace, number)
        if number == 4 * self._split:
            self._split *= 2
            self._new, self._next_new = self._next_new, 0
        if number >= self._split:
            self._new += first >= self._split
        if number >= 2 * self._split:
            self._next_new += first >= 2 * self._split


def _most(hits: int, tries: int, exponent: float) -> float:
    """The greatest probability p that `hits` of `tries` still speak for: tries * kl(hits / tries, p) <= `exponent`."""
    share = hits / tries
    low, high = share, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        if tries * _divergence(share, middle) <= exponent:
            low = middle
        else:
            high = middle
    return high


def _divergence(share: float, other: float) -> float:
    """Kullback and Leibler's, of two coins. `other` is not less than `share`."""
    if other >= 1:
        return 0.0 if share >= 1 else math.inf
    first = share * math.log(share / other) if share > 0 else 0.0
    return first + ((1 - share) * math.log((1 - share) / (1 - other)) if share < 1 else 0.0)
