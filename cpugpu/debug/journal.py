"""The journal: what happened to instrumented events, when, and in which thread.

Each thread appends to a bounded ring of its own, so writing takes no lock; `entries()` merges the rings by time.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cpugpu.deaths import alive, describe, when_it_dies
from cpugpu.debug.operation import Kind, Operation

if TYPE_CHECKING:
    from cpugpu.debug.state import EventState

#: Entries a thread. At about 500 bytes each that is half a megabyte, which stays in a core's cache.
RING = 1024
#: Of threads that have ended, so many rings are kept, the newest ones.
DEAD_RINGS = 64


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
