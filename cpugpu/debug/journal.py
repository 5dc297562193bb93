"""The journal: what happened to instrumented events, when, and in which thread.

Each thread appends to a bounded ring of its own, so writing takes no lock; `entries()` merges the rings by time. An
`Operation` holds what was cheap to get when it happened; names and places are made from it when somebody reads.
"""

from __future__ import annotations

import enum
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType
from typing import TYPE_CHECKING, Any

from cpugpu.deaths import describe, when_it_dies
from cpugpu.stacks import current_frames

if TYPE_CHECKING:
    from cpugpu.debug.effort import Effort
    from cpugpu.debug.state import EventState
    from cpugpu.device import Sight

#: Entries a thread. At about 500 bytes each that is half a megabyte, which stays in a core's cache.
RING = 1024
#: Of threads that have ended, so many rings are kept, the newest ones.
DEAD_RINGS = 64


class Kind(str, enum.Enum):
    """What an operation does. The first five are methods of the event, the others are what the instruments see."""

    RECORD = "record"
    WAIT = "wait"
    SYNCHRONIZE = "synchronize"
    FAIL = "fail"
    CLOSE = "close"
    MADE = "made"
    USE = "use"  # annotate.use(): the consumer looks at a payload
    TEARDOWN = "teardown"  # annotate.teardown(): what the event hands over is about to be destroyed
    COLLECTED = "collected"  # the event was garbage
    EXIT = "exit"  # the interpreter ends, and the event is still there
    ENDED = "ended"  # a thread has ended
    FOUND = "found"  # the watcher has found a rule broken by an operation that is over
    BEAT = "beat"  # nothing happened for a second
    STOPPED = "stopped"  # for the length of the operation no Python thread could run

    @property
    def role(self) -> str:
        """The part that a thread plays by doing it."""
        return _ROLES.get(self, "")


_ROLES = {
    Kind.RECORD: "producer",
    Kind.FAIL: "producer",
    Kind.WAIT: "consumer",
    Kind.SYNCHRONIZE: "consumer",
    Kind.USE: "consumer",
    Kind.CLOSE: "closer",
}


class Operation:
    """One call of a method of an instrumented event, or one thing that the instruments saw.

    `state` is what is known of the event (its name, for one), `sight` what the device told of the stream (None where no
    stream is concerned or the device knew none), `implicit` whether the thread's current stream was used because none
    was given. `generation` is the hand-off that it made or consumed, 0 if it did neither. Times are of
    `time.perf_counter_ns()`: `begin_ns`; `ready_ns` when a wait had its record and went to the driver (which is
    `begin_ns` if it had not `blocked`); `end_ns`, 0 while the call is under way. `effort` is what a synchronisation
    cost the thread (while it lasts, what the thread had spent before). `device_ns` is when the device got there, on the
    host's clock and right within `device_error_ns`; 0 unless CPUGPU_DEVICE_TIME is on. `error` is the type of what it
    raised and `raised` its repr: the exception itself would keep its frames alive. `violations` are the rules that it
    broke, with the messages.
    """

    kind: Kind
    state: EventState
    thread: threading.Thread
    thread_name: str
    begin_ns: int
    sight: Sight | None = None
    capture = 0  # the graph capture that the stream was in, 0 for none
    implicit = True
    code: CodeType | None = None
    instruction = 0
    timeout: float | None = None
    blocked = False
    ready_ns = 0
    end_ns = 0
    effort: Effort | None = None
    device_ns = 0
    device_error_ns = 0
    generation = 0
    error = ""
    raised = ""
    detail: Any = ""
    violations: tuple[tuple[str, str], ...] = ()
    outer: Operation | None = None  # the operation of this thread that it interrupts
    handed: Operation | None = None  # the record that a wait has got, while the wait is under way
    cycle: tuple[Operation, ...] = ()  # the watcher's finding: these wait for each other
    sentence: BaseException | None = None  # what a blocked wait shall raise
    end_range: Any = None  # ends its NVTX range
    timing: Any = None  # a timing event on its stream, until it is measured
    lead_ns: int | None = None  # from the record that a wait got to the wait, in the device's time
    lead_error_ns = 0
    refusal = ""  # why the device does not take the stream, as "TypeError: …"
    capture_elsewhere = False  # another stream is being captured
    overdue = False  # it has lasted longer than CPUGPU_STALL_SECONDS
    exiting = False  # the main thread has ended
    stall_reported = False
    traced = False  # is in the trace file already, as not ended

    @property
    def event(self) -> str:
        """The event's name."""
        return self.state.name

    @property
    def thread_id(self) -> int:
        """The thread's ident."""
        return self.thread.ident or 0

    @property
    def role(self) -> str:
        """The part that the thread plays: producer, consumer, closer, or none."""
        return self.kind.role

    @property
    def stream(self) -> Any:
        """The stream that the call is about; None if unknown."""
        return None if self.sight is None else self.sight.stream

    @property
    def place(self) -> str:
        """The caller's file and line, empty if unknown."""
        if self.code is None:
            return ""
        return f"{_short(self.code.co_filename)}:{_line(self.code, self.instruction)}"

    def failed(self, exception: BaseException) -> None:
        """Write down what it raised."""
        self.error = type(exception).__name__
        self.raised = describe(exception)

    def __str__(self) -> str:
        took = f"{(self.end_ns - self.begin_ns) / 1e3:.1f} µs" if self.end_ns else "not back yet"
        parts = [f"{self.begin_ns / 1e9:.6f} {self.thread_name} {self.kind.value} {self.event!r}"]
        if self.generation:
            parts.append(f"generation {self.generation}")
        if self.sight is not None:
            parts.append(f"on {self.stream!r}")
        if self.code is not None:
            parts.append(f"at {self.place}")
        parts.append(f"({took})")
        if self.error:
            parts.append(f"raised {self.raised or self.error}")
        return " ".join([*parts, *(f"!{rule}" for rule, _ in self.violations)])


def alive(thread: Any) -> bool:
    """May `thread` still do something?

    One that was not started yet may. The main thread may until the process is gone: handlers at exit run in it. A
    thread that was not made by `threading` is not told of its end; it lives if it is executing Python.
    """
    if isinstance(thread, threading._DummyThread):  # noqa: SLF001
        return thread.ident in current_frames() and threading._active.get(thread.ident) is thread  # type: ignore[attr-defined]  # noqa: SLF001
    if isinstance(thread, threading.Thread):
        return thread.ident is None or thread is threading.main_thread() or thread.is_alive()
    return bool(thread.is_alive())


def _here() -> str:
    try:
        return os.path.join(os.getcwd(), "")
    except OSError:  # it was removed
        return os.sep


_HERE = _here()


def _short(path: str) -> str:
    return path.removeprefix(_HERE)


def _line(code: CodeType, instruction: int) -> int:
    for start, end, line in code.co_lines():
        if start <= instruction < end and line is not None:
            return line
    return code.co_firstlineno


class Ring:
    """What one thread did: the latest operations, and the one that it is in."""

    __slots__ = ("death", "now", "operations", "thread", "unwritten")

    def __init__(self, thread: threading.Thread, size: int, *, tracing: bool) -> None:
        self.thread = thread
        self.operations: deque[Operation] = deque(maxlen=size)
        self.now: Operation | None = None
        self.unwritten: deque[Operation] | None = deque() if tracing else None  # has ended, is not in the trace yet
        self.death = ""  # the exception that killed the thread, empty if none has


class _Local(threading.local):
    """Made anew, by `__init__`, in each thread that looks at it."""

    def __init__(self, journal: Journal) -> None:
        self.ring = journal.new_ring()


class Journal:
    """Rings of operations, one a thread: `local.ring` is the calling thread's."""

    def __init__(self, ring: int = RING) -> None:
        self._size = ring
        self._rings: list[Ring] = []
        self._lock = threading.RLock()  # for what is rare: a new thread, a violation. A signal handler may come in
        self.violations = 0
        self._broken: set[str] = set()
        self.tracing = False  # are operations to be kept for a trace file as well?
        self.captured: dict[Any, Any] = {}  # streams that were being captured when last seen, with their devices
        self.local = _Local(self)

    def rings(self) -> tuple[Ring, ...]:
        """The rings of all threads that are remembered."""
        with self._lock:
            return tuple(self._rings)

    def violation(self, operation: Operation, rule: str, message: str) -> None:
        """Write down that `operation` broke a rule, and count it."""
        operation.violations = (*operation.violations, (rule, message))
        with self._lock:
            self.violations += 1
            self._broken.add(rule)

    def broken(self) -> frozenset[str]:
        """The rules that were broken since the last `clear()`, also by operations that no ring remembers any more."""
        with self._lock:
            return frozenset(self._broken)

    def note(self, kind: Kind, state: EventState, **fields: Any) -> Operation:
        """Write down an operation that is none of a caller's and takes no time, in the calling thread's ring."""
        ring = self.local.ring
        operation = Operation()
        operation.kind = kind
        operation.state = state
        operation.thread = ring.thread
        operation.thread_name = ring.thread.name
        operation.begin_ns = operation.end_ns = time.perf_counter_ns()
        for name, value in fields.items():
            setattr(operation, name, value)
        ring.operations.append(operation)
        return operation

    def keep(self, operation: Operation) -> None:
        """`operation` of the calling thread is over, with all its violations: it may go into the trace file."""
        unwritten = self.local.ring.unwritten
        if unwritten is not None:
            unwritten.append(operation)

    def entries(self, event: str | None = None) -> list[Operation]:
        """The operations that are remembered, by the time when they began; of one event if it is named."""
        found = [
            operation
            for ring in self.rings()
            for operation in ring.operations.copy()
            if event is None or operation.event == event
        ]
        return sorted(found, key=lambda operation: operation.begin_ns)

    def under_way(self) -> Iterator[Operation]:
        """The operations that have begun and not ended."""
        for ring in self.rings():
            operation = ring.now
            while operation is not None:
                if not operation.end_ns:
                    yield operation
                operation = operation.outer

    def last(self, state: EventState, kind: Kind) -> Operation | None:
        """The latest operation of that kind on that event which did not raise, as far as is remembered."""
        found = (
            operation
            for ring in self.rings()
            for operation in ring.operations.copy()
            if operation.state is state and operation.kind is kind and operation.end_ns and not operation.error
        )
        return max(found, key=lambda operation: operation.begin_ns, default=None)

    def consumed(self, state: EventState) -> int:
        """The generation that was consumed last, 0 for none."""
        last = [self.last(state, kind) for kind in (Kind.WAIT, Kind.SYNCHRONIZE)]
        return max((operation.generation for operation in last if operation is not None), default=0)

    def death_of(self, thread: Any) -> str:
        """The exception that ended `thread`, if nobody has caught it."""
        return next((ring.death for ring in self.rings() if ring.thread is thread), "")

    def clear(self) -> None:
        """Forget everything but what is under way."""
        with self._lock:
            for ring in self._rings:
                ring.operations.clear()
                if ring.unwritten is not None:
                    ring.unwritten.clear()
            self.captured.clear()
            self.violations = 0
            self._broken.clear()

    @contextmanager
    def set_aside(self) -> Iterator[None]:
        """An empty journal, which no trace is written from, for the length of a `with` block; then it is as before.

        For programs that play with the journal. What other threads do in the meantime is forgotten.
        """
        with self._lock:
            rings = [(ring, ring.operations.copy(), ring.unwritten) for ring in self._rings]
            held = self.violations, self._broken.copy(), self.captured.copy(), self.tracing
            self.stop_tracing()
            self.clear()
        try:
            yield
        finally:
            with self._lock:
                self.clear()
                self.violations, self._broken, captured, self.tracing = held
                self.captured.update(captured)
                before = [ring for ring, _, _ in rings]
                new = [ring for ring in self._rings if ring not in before and alive(ring.thread)]
                for ring in new:
                    ring.unwritten = deque() if self.tracing else None
                for ring, operations, unwritten in rings:
                    ring.operations.extend(operations)
                    ring.unwritten = unwritten
                self._rings[:] = before + new

    def start_tracing(self) -> None:
        """From now on, keep what has ended for the trace file."""
        with self._lock:
            self.tracing = True
            for ring in self._rings:
                ring.unwritten = deque()

    def stop_tracing(self) -> None:
        """Keep nothing for a trace file any more."""
        with self._lock:
            self.tracing = False
            for ring in self._rings:
                ring.unwritten = None

    def forked(self) -> None:
        """In the child of a fork: the other threads are gone, and their locks and rings are of no use."""
        self._lock = threading.RLock()
        self._rings.clear()
        self.violations = 0
        self.tracing = False
        self.local.ring = self.new_ring()  # the calling thread's, and there is no other

    def new_ring(self) -> Ring:
        """A ring for the calling thread, which has none yet."""
        thread = threading.current_thread()
        with self._lock:
            dead = [ring for ring in self._rings if not alive(ring.thread) and not ring.unwritten]
            for ring in dead[: max(0, len(dead) - DEAD_RINGS)]:
                self._rings.remove(ring)
            ring = Ring(thread, self._size, tracing=self.tracing)
            self._rings.append(ring)

        def died(error: BaseException) -> None:
            ring.death = describe(error)

        when_it_dies(thread, died)
        return ring


#: The journal of this process.
journal = Journal()
