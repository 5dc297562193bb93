"""Reading a trace, also one whose program was killed, and refusing one that is damaged."""

from __future__ import annotations

import json
import os
import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, BinaryIO, NamedTuple

from cpugpu.trace.format import (
    BLOCK_HEADER,
    BLOCK_MAGIC,
    CHECK_BYTES,
    FILE_HEADER,
    FILE_MAGIC,
    FILE_PREFIX,
    META,
    NAMES,
    OPERATIONS,
    ROW,
    VERSION,
    Entry,
    TraceError,
    check_head,
    check_rows,
    check_tail,
)

_HEAD_OF_ROW = struct.Struct("<I52x")
_TAIL_OF_ROW = struct.Struct("<4xI48x")
_TRY_AGAIN = "; if its program is still running, try again"
_key = attrgetter("thread", "event_id", "kind", "begin_ns")


class Part(NamedTuple):
    """One file of a trace, of which the bytes up to `end` are read."""

    path: str
    number: int
    run: bytes
    check: int  # what the first block's header check continues
    end: int


@dataclass(frozen=True)
class Trace:
    """A trace that `read()` has checked. Its entries are read from the files anew by each iteration.

    They come in the order in which they were written; those that were still under way at the end come last, with an
    `end_ns` of 0. `meta` is what the writer was given. `rows` is how many entries there are, with those that others
    supersede. `cut_at` is the byte of `path` at which the last write was cut short, None if it was not. `lost_parts`
    is how many files were thrown away because the trace came to its limit.

    An iteration raises `TraceError` if the files have been replaced since.
    """

    path: str
    parts: tuple[Part, ...]
    meta: dict[str, str | int]
    rows: int
    cut_at: int | None
    lost_parts: int

    def __iter__(self) -> Iterator[Entry]:
        under_way: dict[Any, Entry] = {}
        make = tuple.__new__  # what Entry._make does, without its check
        for part in self.parts:
            contents = _Contents(part)
            for rows in contents.read():
                heads, tails = contents.heads, contents.tails
                for row in ROW.iter_unpack(rows):
                    entry = make(Entry, heads[row[0]] + row[2:] + tails[row[1]])
                    if not row[4]:
                        under_way[_key(entry)] = entry
                        continue
                    if under_way:
                        under_way.pop(_key(entry), None)
                    yield entry
        yield from under_way.values()


def read(path: str | os.PathLike[str]) -> Trace:
    """Check the trace at `path`, together with `<path>.1` where that belongs to it.

    Raises `TraceError`, and nothing else, if there is no trace or if it is damaged anywhere but at its very end, where
    a killed program may have left half a write.
    """
    path = os.fspath(path)
    try:
        parts = _find_parts(path)
    except OSError as failure:
        raise TraceError(failure.filename or path, f"cannot be read: {failure.strerror or failure}") from failure
    meta: dict[str, str | int] = {}
    rows, good, cut_at, error = 0, [], None, None
    for part in parts:
        contents = _Contents(part)
        try:
            for block in contents.read():
                rows += len(block) // ROW.size
            if contents.cut and part is not parts[-1]:
                raise TraceError(part.path, "a block is cut short, though a further file follows", contents.offset)
        except TraceError as damage:
            error = damage
        meta = contents.meta or meta
        good.append(part._replace(end=contents.offset))
        if error is not None:
            break
        cut_at = contents.offset if contents.cut else None
    trace = Trace(path, tuple(good), meta, rows, cut_at, parts[0].number - 1)
    if error is None:
        return trace
    error.partial = trace if rows else None
    raise error


def _find_parts(path: str) -> list[Part]:
    """The files of the trace, the older one first."""
    before = f"{path}.1"
    there = os.path.exists(before)
    if there and not (os.path.exists(path) and os.path.getsize(path)):
        return [_read_header(before)]  # killed between two files
    last = _read_header(path)
    if there and last.number > 1:
        first = _read_header(before)
        if first.run == last.run:
            if first.number != last.number - 1:
                raise TraceError(before, f"is part {first.number} and {path} is part {last.number}{_TRY_AGAIN}", 12)
            return [first, last]
    return [last]


def _read_header(path: str) -> Part:
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        raise TraceError(path, "is a directory" if stat.S_ISDIR(mode) else "is not a file")
    with open(path, "rb") as file:
        header = file.read(FILE_HEADER.size)
        size = os.fstat(file.fileno()).st_size
    if not header:
        raise TraceError(path, "is empty", 0)
    if len(header) < FILE_PREFIX.size or not header.startswith(FILE_MAGIC):
        raise TraceError(path, "is not a trace of cpugpu", 0)
    _, version = FILE_PREFIX.unpack_from(header)
    if version > VERSION:
        raise TraceError(
            path, f"the trace is of format version {version}, and this cpugpu reads up to {VERSION}: use a newer one", 8
        )
    if version != VERSION or len(header) < FILE_HEADER.size:
        raise TraceError(path, "the header of the file is damaged", 8)
    _, _, number, run, check = FILE_HEADER.unpack(header)
    if zlib.crc32(header[:-CHECK_BYTES]) != check or number == 0:
        raise TraceError(path, "the header of the file is damaged", 0)
    return Part(path, number, run, check, size)


class _Contents:
    """What is in one file, block by block.

    `offset` is behind the blocks that are read. `cut` turns True when the file ends inside a block.
    """

    def __init__(self, part: Part) -> None:
        self._part = part
        self.offset = FILE_HEADER.size
        self.cut = False
        self.meta: dict[str, str | int] = {}
        self.heads: list[tuple[Any, ...]] = []
        self.tails: list[tuple[Any, ...]] = []

    def read(self) -> Iterator[bytes]:
        """Yield the rows of each block of operations, all of which `heads` and `tails` then know."""
        path = self._part.path
        try:
            with open(path, "rb") as file:
                header = file.read(FILE_HEADER.size)
                if FILE_HEADER.unpack(header)[-1] != self._part.check:
                    raise TraceError(path, f"was replaced while it was read{_TRY_AGAIN}", 0)
                for block_type, payload, end in self._blocks(file):
                    try:
                        rows = self._take(block_type, payload)
                    except (ValueError, TypeError, RecursionError) as error:
                        raise TraceError(path, f"wrong contents: {error}", self.offset) from error
                    self.offset = end
                    if rows:
                        yield rows
        except (OSError, struct.error) as error:
            raise TraceError(path, f"cannot be read: {error}", self.offset) from error

    def _blocks(self, file: BinaryIO) -> Iterator[tuple[int, bytes, int]]:
        """Type, payload and end of each whole block."""
        part, check = self._part, self._part.check
        while self.offset < part.end:
            header = file.read(BLOCK_HEADER.size)
            if not BLOCK_MAGIC.startswith(header[: len(BLOCK_MAGIC)]):
                raise TraceError(part.path, "no block begins here", self.offset)
            if len(header) < BLOCK_HEADER.size:
                self.cut = True
                return
            _, block_type, length, payload_check, header_check = BLOCK_HEADER.unpack(header)
            check = zlib.crc32(header[:-CHECK_BYTES], check)
            if check != header_check:
                raise TraceError(part.path, "a block with a damaged header, or out of its place", self.offset)
            end = self.offset + BLOCK_HEADER.size + length
            if end > part.end:
                self.cut = True
                return
            payload = file.read(length)
            if zlib.crc32(payload) != payload_check:
                raise TraceError(part.path, "a block with a damaged payload", self.offset)
            yield block_type, payload, end

    def _take(self, block_type: int, payload: bytes) -> bytes:
        """Take in one block. Returns its rows if it has operations. Raises ValueError for what no writer writes."""
        if (block_type == META) != (self.offset == FILE_HEADER.size):
            raise ValueError("META where there should be none, or not where it should be")
        if block_type == OPERATIONS:
            if not payload or len(payload) % ROW.size:
                raise ValueError(f"{len(payload)} bytes of operations, which are {ROW.size} each")
            check_rows(payload)
            if max(_HEAD_OF_ROW.iter_unpack(payload))[0] >= len(self.heads):
                raise ValueError("an entry whose head is not in the table")
            if max(_TAIL_OF_ROW.iter_unpack(payload))[0] >= len(self.tails):
                raise ValueError("an entry whose tail is not in the table")
            return payload
        if block_type == NAMES:
            self._take_names(_parse(payload))
        elif block_type == META:
            self.meta = _check_meta(_parse(payload))
        else:
            raise ValueError(f"something of the unknown type {block_type}")
        return b""

    def _take_names(self, names: Any) -> None:
        """Continue the tables or begin them anew."""
        if type(names) is not list or list(map(type, names)) != [int, int, list, list]:
            raise ValueError("names that are not two numbers and two lists")
        first_head, first_tail, heads, tails = names
        if first_head == first_tail == 0:
            self.heads, self.tails = [], []
        if (first_head, first_tail) != (len(self.heads), len(self.tails)):
            raise ValueError("names that do not continue those before")
        for head in heads:
            check_head(tuple(head))
            self.heads.append(tuple(head))
        for tail in tails:
            check_tail(tuple(tail))
            self.tails.append((*tail[:3], tuple(zip(tail[3::2], tail[4::2], strict=True))))


def _parse(payload: bytes) -> Any:
    """Read JSON. ValueError for what is none, and for text that is no Unicode."""
    value = json.loads(payload.decode())
    json.dumps(value, ensure_ascii=False).encode()
    return value


def _check_meta(meta: Any) -> dict[str, str | int]:
    if type(meta) is not dict or not all(type(value) in (str, int) for value in meta.values()):
        raise ValueError("META that is not an object of strings and integers")
    return meta
