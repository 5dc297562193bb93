"""Which bytes a tensor has, against the bytes spelt out."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from cpugpu.sanitize.strides import LIMIT, Region, Strided, bounds, covers, overlap, region
from tests.sanitize.oracle import bytes_of

dims = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 9)), max_size=3)
tensors = st.tuples(st.integers(0, 12), dims, st.sampled_from([1, 2, 4]))


def elements(offset: int, sizes: list[int], strides: list[int], itemsize: int) -> frozenset[int]:
    places = {offset}
    for size, stride in zip(sizes, strides, strict=True):
        places = {at + stride * i for at in places for i in range(size)}
    return frozenset(at * itemsize + byte for at in places for byte in range(itemsize))


def made(tensor: tuple[int, list[tuple[int, int]], int]) -> tuple[Region, frozenset[int]]:
    offset, both, itemsize = tensor
    sizes, strides = [size for size, _ in both], [stride for _, stride in both]
    found = region(offset, sizes, strides, itemsize)
    assert found is not None
    return found, elements(offset, sizes, strides, itemsize)


@settings(max_examples=200, deadline=None)
@given(tensors)
def test_a_region_is_the_bytes_of_the_tensor(tensor: tuple[int, list[tuple[int, int]], int]) -> None:
    found, expected = made(tensor)
    assert bytes_of(found) == expected
    assert bounds(found) == (min(expected), max(expected) + 1)


@settings(max_examples=400, deadline=None)
@given(tensors, tensors)
def test_two_regions_overlap_iff_they_have_a_byte_in_common(
    one: tuple[int, list[tuple[int, int]], int], other: tuple[int, list[tuple[int, int]], int]
) -> None:
    (first, its), (second, others) = made(one), made(other)
    assert overlap(first, second) is bool(its & others)
    assert not covers(first, second) or others <= its


def test_no_elements_are_no_region() -> None:
    assert region(3, [4, 0], [1, 1], 4) is None


def test_even_and_odd_columns_of_a_large_matrix_have_nothing_in_common() -> None:
    even, odd = region(0, [4096, 2048], [4096, 2], 4), region(1, [4096, 2048], [4096, 2], 4)
    last = region(4095, [4096, 1], [4096, 1], 4)
    assert even is not None
    assert odd is not None
    assert last is not None
    assert isinstance(even, tuple | Strided)
    assert (overlap(even, odd), overlap(even, last), overlap(odd, last)) == (False, False, True)


def test_what_takes_too_long_is_not_known() -> None:
    primes = [10007, 10009, 10037, 10039, 10061, 10067]
    one = Strided(0, tuple((2 * prime, 60) for prime in reversed(primes)), 1)
    other = Strided(1_000_001, ((3_000_017, 2), (50_021, 60), (50_023, 60)), 1)
    assert LIMIT < 60**6
    assert overlap(one, other) in (None, True)
