"""From the journal into the trace file, four times a second."""

from __future__ import annotations

import fcntl
import functools
import itertools
import logging
import os
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

from cpugpu import settings
from cpugpu.deaths import alive
from cpugpu.debug.defects import say
from cpugpu.debug.journal import Ring, journal
from cpugpu.debug.operation import Kind, Operation
from cpugpu.debug.state import EventState
from cpugpu.trace import Entry, TraceWriter
from cpugpu.trace.format import FLAG_DEFAULT, FLAG_IMPLICIT, FLAG_MAIN, FLAG_TIMEOUT

#: What a killed process loses, at most.
FLUSH_SECONDS = 0.25
#: A program that does nothing shows by a beat a second that it was there, and for how long.
_BEAT_NS = 1_000_000_000


class Tracing:
    """Writes what has ended, and what has been under way since the last flush. A file that fails is given up."""

    def __init__(self) -> None:
        self._writer: TraceWriter | None = None
        self._flushed_ns = 0
        self._beat_ns = 0
        self._lock = -1
        self._path = self._parents = ""  # the file of this process, the one of the process that it was forked off
        self._ended: set[Ring] = set()

    def start(self) -> None:
        """Begin the file that CPUGPU_TRACE names, if it does."""
        path = settings.trace_path()
        if path is None or path == self._parents:
            return
        self._path = path
        limit = settings.tolerate(settings.trace_bytes, 512_000_000)
        try:
            self._lock = _own(path)
            self._writer = TraceWriter(path, limit=limit, meta=_meta())
        except OSError as error:
            say(logging.ERROR, "cpugpu: no trace is written: %s", error)
            return
        journal.start_tracing()

    def beat(self, now_ns: int) -> None:
        """Write, if it is time."""
        if self._writer is not None and now_ns - self._flushed_ns >= FLUSH_SECONDS * 1e9:
            self.flush(now_ns)

    def flush(self, now_ns: int) -> None:
        """Write what there is, in one piece."""
        assert self._writer is not None
        since, self._flushed_ns = self._flushed_ns, now_ns
        self.note_deaths()
        entries = [entry_of(operation) for operation in _taken()]
        for operation in journal.under_way():
            if not operation.traced and operation.begin_ns <= since:
                operation.traced = True
                entries.append(entry_of(operation))
        if not entries and now_ns - self._beat_ns >= _BEAT_NS:
            entries.append(entry_of(journal.note(Kind.BEAT, _NO_EVENT)))
        if entries:
            self._beat_ns = now_ns
        try:
            if entries:
                self._writer.write(entries)
        except (OSError, ValueError) as error:
            self._writer = None
            journal.stop_tracing()
            say(logging.ERROR, "cpugpu: the trace ends here: %s", error)

    def stop(self) -> None:
        """Write the rest and close the file."""
        if self._writer is not None:
            self.flush(time.perf_counter_ns())
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
            os.close(self._lock)
            journal.stop_tracing()

    def forked(self) -> None:
        """In the child of a fork: the file is the parent's. A path with `%p` gives the child one of its own."""
        self._writer = None
        self._ended = set()
        self._parents = self._path

    def note_deaths(self) -> None:
        """Write down which threads have ended since the last time."""
        for ring in journal.rings():
            if ring not in self._ended and not alive(ring.thread):
                self._ended.add(ring)
                operation = journal.note(Kind.ENDED, _NO_EVENT, thread=ring.thread, thread_name=ring.thread.name)
                operation.detail = ring.death
                journal.keep(operation)
        self._ended.intersection_update(journal.rings())


_NO_EVENT = EventState("", number=0)


def entry_of(operation: Operation) -> Entry:
    """What the trace says of an operation."""
    state, sight = operation.state, operation.sight
    flags = (
        (FLAG_IMPLICIT if operation.implicit else 0)
        | (FLAG_MAIN if operation.thread is _MAIN() else 0)
        | (FLAG_TIMEOUT if operation.timeout is not None else 0)
        | (FLAG_DEFAULT if sight is not None and sight.default else 0)
    )
    code = operation.code
    return Entry(
        operation.kind.value,
        state.name,
        state.number,
        _number(operation.thread),
        operation.thread_name,
        "" if sight is None else _name(sight.stream),
        "" if sight is None else _name(sight.current),
        state.device,
        -1 if sight is None else sight.device_index,
        -1 if sight is None else sight.current_index,
        operation.capture,
        flags,
        operation.begin_ns,
        operation.ready_ns,
        operation.end_ns,
        operation.generation,
        operation.device_ns,
        operation.device_error_ns,
        "" if code is None else _place(code, operation.instruction),
        operation.raised or operation.error,
        str(operation.detail) if operation.detail else "",
        operation.violations,
    )


_MAIN = threading.main_thread
_numbers: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
_next_number = itertools.count(1)


def _number(thread: Any) -> int:
    """A number of the thread's own: its ident is given to the next thread when it has ended."""
    number = _numbers.get(thread)
    if number is None:
        number = _numbers[thread] = next(_next_number)
    return number


def _taken() -> Iterator[Operation]:
    for ring in journal.rings():
        unwritten = ring.unwritten
        while unwritten:
            yield unwritten.popleft()


def _name(stream: Any) -> str:
    return "" if stream is None else repr(stream)


@functools.lru_cache(maxsize=4096)
def _place(code: Any, instruction: int) -> str:
    operation = Operation()
    operation.code, operation.instruction = code, instruction
    return operation.place


def _own(path: str) -> int:
    """Lock the file, for as long as the process lives: a spawned child with the same setting shall not overwrite it."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        raise OSError(f"{path} is being written by another process; CPUGPU_TRACE=trace-%p gives each its own") from None
    except OSError:  # there are file systems without locks
        pass
    return file


def _meta() -> dict[str, str | int]:
    return {
        "pid": os.getpid(),
        "python": sys.version.split()[0],
        "argv": " ".join(getattr(sys, "argv", []))[:1000],
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "flush_seconds": str(FLUSH_SECONDS),
    }
