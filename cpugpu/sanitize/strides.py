"""Which bytes of its storage a tensor has, and whether two tensors have one in common.

A *region* is `(start, stop)` where a tensor's bytes are without holes, a `Strided` where they are not, and None where
it has none. Two contiguous regions are compared at once. For others the question is whether a linear equation has a
solution in bounds: `start + Σ stride·i + byte` is to be the same for both. Dimensions of one stride are added up first,
then the largest stride is tried first; what is left bounds it to a few values, and the greatest common divisor of the
strides that are left rules out most. Views of one tensor are settled in a few steps. (In general the problem is
NP-complete, as NumPy's `shares_memory` says, which solves the same equation.)

Approximated: after `LIMIT` steps the answer is None, "not known". Who asks takes it for no, which may miss a race and
raises no false alarm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

#: So many values are tried before an answer is given up.
LIMIT = 20_000


class Strided:
    """Bytes with holes: `dims` are (stride in bytes, length), the largest stride first; `width` bytes at each place."""

    __slots__ = ("_hash", "dims", "start", "stop", "width")

    def __init__(self, start: int, dims: tuple[tuple[int, int], ...], width: int) -> None:
        self.start = start
        self.dims = dims
        self.width = width
        self.stop = start + sum(stride * (length - 1) for stride, length in dims) + width
        self._hash = hash((start, dims, width))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Strided)
            and (self.start, self.dims, self.width) == (other.start, other.dims, other.width)
        )  # fmt: skip

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"bytes {self.start} to {self.stop} with holes"


Region = tuple[int, int] | Strided


def region(offset: int, sizes: Sequence[int], strides: Sequence[int], itemsize: int) -> Region | None:
    """Of a tensor: `offset` and `strides` count elements, as torch's do. None: it has no elements."""
    start, dims = offset * itemsize, []
    for size, stride in zip(sizes, strides, strict=True):
        if size == 0:
            return None
        if size > 1 and stride:  # a stride of 0: the same bytes again
            if stride < 0:
                start += stride * (size - 1) * itemsize
            dims.append((abs(stride) * itemsize, size))
    dims.sort()
    width = itemsize
    kept: list[tuple[int, int]] = []
    for stride, size in dims:  # the smallest first
        if not kept and stride <= width:
            width = stride * (size - 1) + width
        elif kept and stride == kept[-1][0] * kept[-1][1]:
            kept[-1] = (kept[-1][0], kept[-1][1] * size)
        else:
            kept.append((stride, size))
    if not kept:
        return (start, start + width)
    return Strided(start, tuple(reversed(kept)), width)


class _Shape(NamedTuple):
    start: int
    stop: int
    dims: tuple[tuple[int, int], ...]
    width: int


def overlap(one: Region, other: Region) -> bool | None:
    """Have they a byte in common? None: not known."""
    if type(one) is tuple and type(other) is tuple:
        return one[0] < other[1] and other[0] < one[1]
    return _overlap(one, other)


def covers(one: Region, other: Region) -> bool:
    """Has `one` all bytes of `other`? Only what is plain to see: False may be wrong, True never is."""
    if type(one) is tuple:
        start, stop = bounds(other)
        return one[0] <= start and stop <= one[1]
    return one == other


def bounds(one: Region) -> tuple[int, int]:
    """The first byte, and the one after the last."""
    return one if type(one) is tuple else (one.start, one.stop)  # type: ignore[union-attr]


@lru_cache(maxsize=4096)
def _overlap(one: Region, other: Region) -> bool | None:
    first, second = _shape(one), _shape(other)
    if first.stop <= second.start or second.stop <= first.start:
        return False
    # start + Σ a·x + u  =  start' + Σ b·y + v.  With y' = length - 1 - y all terms are on one side, and positive.
    target = second.stop - 1 - first.start
    terms: dict[int, int] = {}
    for stride, length in (*first.dims, *second.dims, (1, first.width), (1, second.width)):
        terms[stride] = terms.get(stride, 0) + length - 1
    ordered = sorted(terms.items(), reverse=True)
    return _solve(ordered, target)


def _shape(one: Region) -> _Shape:
    if type(one) is tuple:
        return _Shape(one[0], one[1], (), one[1] - one[0])
    assert isinstance(one, Strided)
    return _Shape(one.start, one.stop, one.dims, one.width)


def _solve(terms: Sequence[tuple[int, int]], target: int) -> bool | None:
    """Is there an x with `Σ factor·x = target`, each x from 0 to its bound? Terms are `(factor, bound)`."""
    size = len(terms)
    most, divisor = [0] * (size + 1), [0] * (size + 1)
    for index in reversed(range(size)):
        factor, bound = terms[index]
        most[index] = most[index + 1] + factor * bound
        divisor[index] = math.gcd(divisor[index + 1], factor) if bound else divisor[index + 1]
    tried, failed = 0, set()
    stack = [(0, target)]
    while stack:
        index, rest = stack.pop()
        if rest == 0:
            return True
        if rest < 0 or rest > most[index] or not divisor[index] or rest % divisor[index] or (index, rest) in failed:
            continue
        failed.add((index, rest))
        factor, bound = terms[index]
        low = max(0, -(-(rest - most[index + 1]) // factor))
        high = min(bound, rest // factor)
        tried += max(1, high - low + 1)
        if tried > LIMIT:
            return None
        stack.extend((index + 1, rest - factor * times) for times in range(low, high + 1))
    return False
