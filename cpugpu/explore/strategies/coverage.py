"""How much of a scenario has random sampling seen? Traces are counted, and what was not seen is estimated.

The estimates are of the traces that *this* strategy leads to, weighted by how often it does. They hold for strategies
whose executions are independent and alike (a random walk, partial order sampling), and roughly for those that adapt.
"""

from __future__ import annotations

import hashlib
import math
from array import array
from collections.abc import Sequence
from typing import NamedTuple
from zlib import crc32

from cpugpu.explore.execution import Actor, Step
from cpugpu.explore.operation import ORDERED, READ, WRITE
from cpugpu.explore.run import Run

#: So many traces are remembered, which takes up to some 10 MiB.
REMEMBERED = 1 << 16


class MissingMass(NamedTuple):
    """The probability that the next execution has a trace that none had before."""

    estimate: float
    low: float
    high: float


def trace_of(steps: Sequence[Step]) -> int:
    """A number of 64 bits for the trace of an execution: equal where all races went the same way.

    Each step has a hash, of what it is and of the hashes of the steps that it came right after: its actor's last one,
    the last write of what it reads, and for what it writes the reads since too. All of them together, whatever their
    order, are the trace. Orders of which one is a `CAUSE` are left out, as they are the same in all executions.

    `hash()` of numbers is the same in every process; of strings it is not.
    """
    hashes = array("q")
    last: dict[Actor, int] = {}
    writes: dict[object, int] = {}
    reads: dict[object, list[int]] = {}  # since the last write
    for actor, label, footprint, _, _ in steps:
        before = last.get(actor)
        parts = [crc32(repr(actor.key).encode()) if before is None else before, crc32(label.encode())]
        for resource, access in footprint:
            if access not in ORDERED:
                parts.append(writes.get(resource.key, 0))
            if access is WRITE and resource.key in reads:
                parts.append(hash(frozenset(reads[resource.key])))
        last[actor] = number = hash(tuple(parts))
        for resource, access in footprint:
            if access is WRITE:
                writes[resource.key] = number
                reads.pop(resource.key, None)
            elif access is READ:
                reads.setdefault(resource.key, []).append(number)
        hashes.append(number)
    mixed = hashlib.blake2b(array("q", sorted(hashes)), digest_size=8)
    return int.from_bytes(mixed.digest(), "little")


class Coverage:
    """Counts the traces of executions, complete ones only. `confidence`: of the interval for what is missing.

    At most `remembers` traces are kept in memory. Where there are more, it goes on with a sample of them: the traces
    whose numbers end in `level` zero bits, one in 2^level, each with all of its executions (Flajolet: On Adaptive
    Sampling, Computing 43, 1990). All counts are then estimates. As at least about half of `remembers` traces are in
    the sample, the standard deviation of `seen` is at most about sqrt(2 / remembers) of it: 0.6% by default.
    """

    def __init__(self, confidence: float = 0.95, remembers: int = REMEMBERED) -> None:
        if not 0 < confidence < 1:
            raise ValueError(f"confidence={confidence!r} is not a probability between 0 and 1")
        self.confidence = confidence
        self.executions = 0
        self.level = 0
        self._remembers = remembers
        self._times: dict[int, int] = {}
        self._once = self._twice = 0  # how many of them were seen so often
        self._first: dict[int, int] = {}  # at level 0, the number of the execution in which a trace was seen first
        # The executions from number `_split` on, and how many of them had a trace that was not seen before that number;
        # and the same for the next split, twice as far.
        self._split = 1
        self._new = 0
        self._next_new = 0

    @property
    def exact(self) -> bool:
        """Are all traces remembered?"""
        return not self.level

    @property
    def seen(self) -> int:
        """Different traces so far."""
        return len(self._times) << self.level

    @property
    def traces(self) -> float:
        """How many there are, by Chao's estimator (Chao1): at least about so many, in expectation.

        Chao: Nonparametric Estimation of the Number of Classes in a Population (Scandinavian Journal of Statistics
        11, 1984). With f1 and f2 traces seen once and twice: seen + (1 - 1/n) f1^2 / (2 f2), and for f2 = 0
        seen + (1 - 1/n) f1 (f1 - 1) / 2.
        """
        once, twice = self._once << self.level, self._twice << self.level
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

        Where the traces are a sample, the last test is not made, as m executions are not remembered whole; and half of
        d is for the sample. Of the f1 traces, S are in it. Their expectation M = f1 / 2^level is, by Chernoff's bound
        for a Poisson distribution, from S - sqrt(2 a S) to S + a + sqrt(a^2 + 2 a S), each end with a = ln(8/d): a
        quarter of d/2 each, and half of that, as the sample could have been of two levels. The ends for f1 take the
        place of f1 above.
        """
        count = self.executions
        if not count:
            return MissingMass(1.0, 0.0, 1.0)
        estimate = (self._once << self.level) / count
        risk = 1 - self.confidence
        least = most = estimate
        if self.level:
            exponent = math.log(8 / risk)
            spread = math.sqrt(2 * exponent * self._once)
            least -= (spread * 2**self.level) / count
            most += (exponent + math.hypot(exponent, spread)) * 2**self.level / count
            risk /= 2
        below, above = math.log(4 / risk) / count, math.log(8 / risk) / count
        low = least - 1 / count - math.sqrt(2 * below) - math.sqrt(2 * below / math.e)
        high = most + math.sqrt(2 * above) + math.sqrt(above)
        after = count - self._split
        if after > 0 and self.exact:
            high = min(high, _most(self._new, after, math.log(4 / risk)))
        return MissingMass(estimate, max(0.0, low), min(1.0, max(high, estimate)))

    def add(self, run: Run) -> None:
        """Another execution."""
        if not run.complete:
            return
        number = self.executions
        self.executions += 1
        trace = trace_of(run.steps)
        if trace & ((1 << self.level) - 1):
            return
        times = self._times[trace] = self._times.get(trace, 0) + 1
        self._once += (times == 1) - (times == 2)
        self._twice += (times == 2) - (times == 3)
        if self.exact:
            self._compare(number, self._first.setdefault(trace, number))
        while len(self._times) > self._remembers:
            self._halve()

    def _compare(self, number: int, first: int) -> None:
        """With the splits: the trace of execution `number` was seen first in `first`."""
        if number == 4 * self._split:
            self._split *= 2
            self._new, self._next_new = self._next_new, 0
        if number >= self._split:
            self._new += first >= self._split
        if number >= 2 * self._split:
            self._next_new += first >= 2 * self._split

    def _halve(self) -> None:
        """Forget about one half of the traces."""
        self.level += 1
        self._first.clear()
        mask = (1 << self.level) - 1
        self._times = {trace: times for trace, times in self._times.items() if not trace & mask}
        often = list(self._times.values())
        self._once, self._twice = often.count(1), often.count(2)


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
