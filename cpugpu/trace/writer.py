"""Writing a trace while the program runs."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import struct
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from cpugpu.trace.format import (
    BLOCK_HEADER,
    BLOCK_MAGIC,
    CHECK_BYTES,
    FILE_HEADER,
    FILE_MAGIC,
    HEAD,
    META,
    NAMES,
    OPERATIONS,
    ROW,
    TAIL,
    VERSION,
    Entry,
    check_head,
    check_rows,
    check_tail,
)

#: The writer remembers so many heads and tails, then begins their tables anew. At half a kilobyte each that is 32 MB.
NAMES_KEPT = 65_536


class TraceWriter:
    """Appends entries to the trace at `path`, and replaces what was at `path` and `<path>.1`.

    When `write()` returns, its entries are with the operating system: nothing that happens to this process, SIGKILL
    included, takes them back. A kill in the middle of `write()` can only cut the end off the file, and the reader
    expects that. A crash of the machine may lose more.

    `limit` bytes is what both files have together: the older half is thrown away when a further one begins. A single
    `write()` of more than half of it goes out whole all the same. `meta` says what process this is, in each file.

    Not for two threads at once, nor for a process that was forked off.
    """

    def __init__(self, path: str | os.PathLike[str], *, limit: int, meta: Mapping[str, str | int]) -> None:
        self._path = os.fspath(path)
        self._half = limit // 2
        self._meta = _json(dict(meta))
        self._run = os.urandom(16)
        self._part = self._size = self._check = 0
        self._has_operations = False
        self._heads = _numbers()
        self._tails = _numbers()
        self._file = -1
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{self._path}.1")
        try:
            self._begin_part()
        except OSError:
            self.close()
            raise

    def write(self, entries: Iterable[Entry]) -> None:
        """Append `entries`, all in one piece.

        Raises OSError where the file cannot take them, and ValueError for an entry whose fields are not what `Entry`
        says, or after `close()`. Whatever it raises, the trace ends there: it is closed.
        """
        if self._file < 0:
            raise ValueError(f"the trace {self._path} is closed")
        batch = list(entries)
        if not batch:
            return
        try:
            buffer = self._encode(batch)
            if self._size + len(buffer) > self._half and self._has_operations:
                self._close_file()
                os.replace(self._path, f"{self._path}.1")
                self._begin_part()
                buffer = self._encode(batch)
            self._send(buffer)
            self._has_operations = True
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the trace. May be called more than once."""
        self._close_file()

    def _begin_part(self) -> None:
        self._part += 1
        self._size = 0
        self._has_operations = False
        self._heads.clear()
        self._tails.clear()
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        header = FILE_HEADER.pack(FILE_MAGIC, VERSION, self._part, self._run, 0)[:-CHECK_BYTES]
        self._check = zlib.crc32(header)
        self._send(header + self._check.to_bytes(CHECK_BYTES, "little") + self._block(META, self._meta))

    def _encode(self, batch: list[Entry]) -> bytes:
        heads, tails, pack = self._heads, self._tails, ROW.pack
        if len(heads) + len(tails) > NAMES_KEPT:
            heads.clear()
            tails.clear()
        firsts = len(heads), len(tails)
        try:
            rows = b"".join([pack(heads[entry[:HEAD]], tails[entry[TAIL:]], *entry[HEAD:TAIL]) for entry in batch])
        except struct.error as error:
            raise ValueError(f"an entry with a number that is none: {error}") from error
        check_rows(rows)
        names = b"" if firsts == (len(heads), len(tails)) else self._block(NAMES, self._names(*firsts))
        return names + self._block(OPERATIONS, rows)

    def _names(self, first_head: int, first_tail: int) -> bytes:
        """What the tables have got since they were so long."""
        heads = [*itertools.islice(self._heads, first_head, None)]
        tails = [
            (place, error, detail, *itertools.chain.from_iterable(violations))
            for place, error, detail, violations in itertools.islice(self._tails, first_tail, None)
        ]
        for head in heads:
            check_head(head)
        for tail in tails:
            check_tail(tail)
        return _json([first_head, first_tail, heads, tails])

    def _block(self, block_type: int, payload: bytes) -> bytes:
        header = BLOCK_HEADER.pack(BLOCK_MAGIC, block_type, len(payload), zlib.crc32(payload), 0)[:-CHECK_BYTES]
        self._check = zlib.crc32(header, self._check)
        return header + self._check.to_bytes(CHECK_BYTES, "little") + payload

    def _send(self, buffer: bytes) -> None:
        self._size += len(buffer)
        rest = memoryview(buffer)
        while rest:  # a disk that fills up takes a part of it, and refuses the rest
            rest = rest[os.write(self._file, rest) :]

    def _close_file(self) -> None:
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)


def _numbers() -> defaultdict[tuple[Any, ...], int]:
    """A table that numbers what it is asked for, from 0."""
    table: defaultdict[tuple[Any, ...], int] = defaultdict()
    table.default_factory = table.__len__
    return table


def _json(value: object) -> bytes:
    """As JSON. A lone surrogate, which file names may hold, becomes a question mark."""
    return json.dumps(value, ensure_ascii=False).encode(errors="replace")
