"""Damage: whatever happens to a trace, its reader says where, or reads the beginning of what was written."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from cpugpu.trace import Entry, TraceError, TraceWriter, read
from tests.e2e.sample import entry

#: So many damaged traces in all; the long test has the other ones, too.
TIMES, LONG_TIMES = 1_500, 10_000


def small_trace(path: Path, first: int) -> tuple[bytes, list[Entry]]:
    entries = [
        entry(begin_ns=number, place=f"app.py:{number}", violations=(("late", "by far"),) if number % 5 == 0 else ())
        for number in range(first, first + 12)
    ]
    trace_writer = TraceWriter(path, limit=1 << 20, meta={"pid": first})
    for number in range(0, len(entries), 3):
        trace_writer.write(entries[number : number + 3])
    trace_writer.close()
    return path.read_bytes(), entries


def flip_bits(data: bytearray, _: bytes, draw: random.Random) -> None:
    for _ in range(draw.choice((1, 1, 2, 8))):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)


def cut_the_end(data: bytearray, _: bytes, draw: random.Random) -> None:
    del data[draw.randrange(len(data)) :]


def cut_out(data: bytearray, _: bytes, draw: random.Random) -> None:
    begin = draw.randrange(len(data))
    del data[begin : begin + draw.randrange(1, 200)]


def insert(data: bytearray, _: bytes, draw: random.Random) -> None:
    place = draw.randrange(len(data) + 1)
    data[place:place] = draw.choice((draw.randbytes(draw.randrange(1, 60)), bytes(4), data[place : place + 20]))


def overwrite(data: bytearray, _: bytes, draw: random.Random) -> None:
    place = draw.randrange(len(data))
    piece = draw.choice((b"\xff" * 8, bytes(8), draw.randbytes(30)))
    data[place : place + len(piece)] = piece


def splice(data: bytearray, other: bytes, draw: random.Random) -> None:
    """Also at the borders of blocks: there every block by itself is whole."""
    if draw.random() < 0.5:
        mine, theirs = draw.randrange(len(data)), draw.randrange(len(other))
    else:
        mine, theirs = draw.choice(borders(bytes(data))), draw.choice(borders(other))
    data[mine:] = other[theirs:]


def swap_blocks(data: bytearray, _: bytes, draw: random.Random) -> None:
    a, b, c = sorted(draw.sample(borders(bytes(data)), 3))
    data[a:c] = data[b:c] + data[a:b]


def borders(data: bytes) -> list[int]:
    return [place for place in range(len(data)) if data.startswith(b"\x89blk", place)] + [len(data)]


DAMAGES: list[Callable[[bytearray, bytes, random.Random], None]] = [
    flip_bits,
    cut_the_end,
    cut_out,
    insert,
    overwrite,
    splice,
    swap_blocks,
]


def attempt(path: Path) -> tuple[list[Entry], TraceError | None, int | None]:
    """What can be read, what the reader refuses, and where the trace is cut."""
    try:
        trace = read(path)
    except TraceError as error:
        return list(error.partial or ()), error, None
    return list(trace), None, trace.cut_at


def is_beginning(found: list[Entry], *written: list[Entry]) -> bool:
    return any(found == entries[: len(found)] for entries in written)


@pytest.mark.parametrize("times", [TIMES, pytest.param(LONG_TIMES, marks=pytest.mark.slow)])
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_trace_is_refused_with_an_offset_or_cut_at_its_end(
    tmp_path: Path, damage: Callable[[bytearray, bytes, random.Random], None], times: int
) -> None:
    data, entries = small_trace(tmp_path / "a", 1)
    other_data, other_entries = small_trace(tmp_path / "b", 1_001)
    draw, path, seen = random.Random(f"{damage.__name__} 1"), tmp_path / "t", Counter[str]()
    for _ in range(times // len(DAMAGES) + 1):
        damaged = bytearray(data)
        damage(damaged, other_data, draw)
        path.write_bytes(damaged)
        found, error, cut_at = attempt(path)
        if error is not None:
            assert error.offset is not None
            assert 0 <= error.offset <= len(damaged)
            assert str(error).startswith(f"{path}: byte {error.offset}: ")
            assert "\n" not in str(error)
        assert cut_at is None or cut_at < len(damaged)
        seen["refused" if error else "whole" if cut_at is None else "cut"] += 1
        assert is_beginning(found, entries, other_entries)
    print(damage.__name__, dict(seen))
    if damage is cut_the_end:
        assert seen["cut"] > seen["refused"]  # which a cut in the header of the file is
    else:
        assert seen["refused"] > times // len(DAMAGES) / 2


def test_every_cut_of_a_trace_is_read_up_to_the_last_whole_write(tmp_path: Path) -> None:
    data, entries = small_trace(tmp_path / "a", 1)
    first = borders(data)[0]
    ends = {len(data): len(entries)}
    for length in range(first, len(data)):
        (tmp_path / "t").write_bytes(data[:length])
        trace = read(tmp_path / "t")
        found = list(trace)
        assert is_beginning(found, entries)
        assert trace.cut_at is None or length - trace.cut_at < len(data)
        ends[length] = len(found)
    assert sorted(set(ends.values())) == [0, 3, 6, 9, 12]
    assert all(ends[length] <= ends[length + 1] for length in range(first, len(data)))


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    """Each single one in the file: only in the last block's length or in a cut could one hide, and none does."""
    data, _ = small_trace(tmp_path / "a", 1)
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 1 << place % 8
        (tmp_path / "t").write_bytes(damaged)
        with pytest.raises(TraceError, match=r": byte \d+: "):
            read(tmp_path / "t")
