"""The trace file: what an entry says, and how it lies on disk.

A trace is one file, or two when it has grown to half its limit: the older half is then called `<path>.1`. Numbers are
little-endian. A file is a header and then blocks; blocks are only ever appended.

    file header     36 bytes
      magic          8         89 63 70 75 67 70 75 0a (0x89, cpugpu, line feed)
      version        4         VERSION; a reader looks at nothing else before it knows this
      part           4         1 for the first file of a run, 2 for the one that was begun when that was half full, ...
      run           16         random; the files of one run share it
      check          4         CRC32 of the 32 bytes before
    block           20 bytes and the payload
      magic          4         89 62 6c 6b (0x89, blk)
      type           4         1 META, 2 NAMES, 3 OPERATIONS
      length         4         of the payload
      payload check  4         CRC32 of the payload
      header check   4         CRC32 of the 16 bytes before, continued from the header check of the block before (of the
                               file, for the first block): a block is at home behind one other block only
    META            JSON, UTF-8: an object of strings and integers; the first block, and only that
    NAMES           JSON, UTF-8: [first head, first tail, heads, tails], before they are used. They continue the two
                    tables, or begin them anew when both firsts are 0
      head                     the fields of an `Entry` from `kind` to `flags`, a list
      tail                     [place, error, detail, rule, message, rule, message, ...]
    OPERATIONS      56 bytes an entry
      head           4         number of its head
      tail           4         number of its tail
      six numbers    8 each    the fields from `begin_ns` to `device_error_ns`, never negative

What operations have in common, and that is nearly everything but the times, is thus written once, and an entry is
`head + numbers + tail` for the writer and for the reader.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from cpugpu.trace.reader import Trace

VERSION = 1

FILE_MAGIC = b"\x89cpugpu\n"
FILE_PREFIX = struct.Struct("<8sI")  # magic, version: this much every version has
FILE_HEADER = struct.Struct("<8sII16sI")
BLOCK_MAGIC = b"\x89blk"
BLOCK_HEADER = struct.Struct("<4sIIII")
CHECK_BYTES = 4  # the check at the end of both headers
META, NAMES, OPERATIONS = 1, 2, 3
ROW = struct.Struct("<II6q")

WAITS = ("wait", "synchronize")  #: the kinds of entry that consume a record

FLAG_IMPLICIT = 1  #: no stream was given
FLAG_MAIN = 2  #: by the main thread
FLAG_TIMEOUT = 4  #: a wait with a timeout
FLAG_DEFAULT = 8  #: the current stream is the device's default stream


class Entry(NamedTuple):
    """One operation. Times are of `time.perf_counter_ns()`."""

    kind: str  #: "record", "wait", "synchronize", "fail", "close", "made", "ended", ...: any short word
    event: str  #: the event's name, "" if it is about no event
    event_id: int  #: tells events apart that share a name; 0 if it is about no event
    thread: int  #: a number of the thread's own; its ident would be given to another one after its end
    thread_name: str
    stream: str  #: the stream's name, "" if there is none
    current: str  #: the thread's current stream at that time, "" if unknown
    device: str  #: the event's device, "cuda:0"
    device_index: int  #: of the stream, -1 if unknown
    current_index: int  #: of the thread's current device, -1 if unknown
    capture: int  #: the id of the graph capture under way on the stream, 0 if none
    flags: int  #: FLAG_... added up
    begin_ns: int
    ready_ns: int  #: when a wait had its record and went to the driver, 0 if it did not
    end_ns: int  #: 0 if it was still under way; the entry of its end comes later and supersedes this one
    generation: int  #: the hand-off, 0 if none
    device_ns: int  #: when the device reached it, on the host's clock, 0 if unknown
    device_error_ns: int  #: how far off `device_ns` may be
    place: str  #: the caller, "file.py:12", "" if unknown
    error: str  #: what it raised, "" if nothing
    detail: str  #: anything further
    violations: tuple[tuple[str, str], ...]  #: (rule, message)


HEAD = 12  # fields of an Entry that are its head: up to `flags`
TAIL = 18  # where its tail begins: at `place`

_HEAD_TYPES = (str, str, int, int, str, str, str, str, int, int, int, int)


class TraceError(ValueError):
    """The file is not a trace, or is damaged; one line says where.

    `offset` is the byte of `path` where the damaged block begins, None if no byte is to blame. `partial` is the trace
    up to there, None if that is nothing.
    """

    def __init__(self, path: str, problem: str, offset: int | None = None) -> None:
        super().__init__(f"{path}: {problem}" if offset is None else f"{path}: byte {offset}: {problem}")
        self.path = path
        self.offset = offset
        self.partial: Trace | None = None


def check_head(head: tuple[Any, ...]) -> None:
    """Raise ValueError unless these may be the fields of an entry from `kind` to `flags`."""
    if tuple(map(type, head)) != _HEAD_TYPES:
        raise ValueError("a head whose fields have the wrong types")
    naturals, indexes = (*head[2:4], *head[10:12]), head[8:10]
    if min(naturals) < 0 or min(indexes) < -1 or max(naturals + indexes) >= 1 << 63:
        raise ValueError("a head with a number that is out of range")


def check_tail(tail: tuple[Any, ...]) -> None:
    """Raise ValueError unless this may be a tail, flat as in the file."""
    if len(tail) < 3 or len(tail) % 2 == 0 or not all(type(value) is str for value in tail):
        raise ValueError("a tail that is not place, error, detail and pairs of rule and message")


def check_rows(rows: bytes) -> None:
    """Raise ValueError if a number in these rows is negative: if the highest byte of one is above 127."""
    if not all(rows[highest :: ROW.size].isascii() for highest in range(15, ROW.size, 8)):
        raise ValueError("an entry with a negative number")
