"""The journal: what happened to instrumented events, when, and in which thread.

Each thread appends to a bounded ring of its own, so writing takes no lock; `entries()` merges the rings by time.
"""

from __future__ import annotations

import enum
import threading
from collections import deque
from dataclasses import dataclass, field

#: Entries a thread. At about 400 bytes each that is under 2 MB.
RING = 4096
#: Of threads that have ended, so many rings are kept, the newest ones.
DEAD_RINGS = 64


class Kind(str, enum.Enum):
    """What an operation does to the event."""

    RECORD = "record"
    WAIT = "wait"
    SYNCHRONIZE = "synchronize"
    FAIL = "fail"
    CLOSE = "close"

    @property
    def role(self) -> str:
        """The part that a thread plays by doing it."""
        return {"record": "producer", "fail": "producer", "close": "closer"}.get(self.value, "consumer")


@dataclass(slots=True)
class Operation:
    """One call of a method of an instrumented event.

    `generation` is the hand-off that it made or consumed, 0 if it did neither. `begin_ns` and `end_ns` are of
    `time.perf_counter_ns()`; `end_ns` is 0 while the call is under way. `stream` and `device` are names. `error` is
    what it raised, empty if nothing. `violations` are the rules that it broke, with the messages.
    """

    kind: Kind
    event: str
    thread: threading.Thread
    thread_id: int
    stream: str
    device: str
    begin_ns: int
    end_ns: int = 0
    generation: int = 0
    error: str = ""
    violations: list[tuple[str, str]] = field(default_factory=list)

    @property
    def role(self) -> str:
        """The part that the thread plays: producer, consumer or closer."""
        return self.kind.role

    def __str__(self) -> str:
        took = f"{(self.end_ns - self.begin_ns) / 1e3:.1f} µs" if self.end_ns else "not back yet"
        generation = f" generation {self.generation}" if self.generation else ""
        broken = "".join(f" !{rule}" for rule, _ in self.violations)
        return (
            f"{self.begin_ns / 1e9:.6f} {self.thread.name} {self.kind.value}s {self.event}{generation}"
            f" on {self.stream} ({took}){f' raised {self.error}' if self.error else ''}{broken}"
        )


class Journal:
    """Rings of operations, one a thread."""

    def __init__(self, ring: int = RING) -> None:
        self._ring = ring
        self._local = threading.local()
        self._rings: list[tuple[threading.Thread, deque[Operation]]] = []
        self._lock = threading.Lock()  # for what is rare: a new thread, a violation
        self.violations = 0

    def add(self, operation: Operation) -> None:
        """Write an operation that has begun. It may still change until its `end_ns` is set."""
        ring: deque[Operation] | None = getattr(self._local, "ring", None)
        if ring is None:
            ring = self._local.ring = deque(maxlen=self._ring)
            self._add_ring(ring)
        ring.append(operation)

    def violation(self, operation: Operation, rule: str, message: str) -> None:
        """Write down that `operation` broke a rule, and count it."""
        operation.violations.append((rule, message))
        with self._lock:
            self.violations += 1

    def entries(self, event: str | None = None) -> list[Operation]:
        """The operations that are remembered, by the time when they began; of one event if it is named."""
        found = [
            operation
            for _, ring in tuple(self._rings)
            for operation in ring.copy()
            if event is None or operation.event == event
        ]
        return sorted(found, key=lambda operation: operation.begin_ns)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            for _, ring in self._rings:
                ring.clear()
            self.violations = 0

    def _add_ring(self, ring: deque[Operation]) -> None:
        with self._lock:
            dead = [entry for entry in self._rings if not entry[0].is_alive()]
            for entry in dead[: max(0, len(dead) - DEAD_RINGS)]:
                self._rings.remove(entry)
            self._rings.append((threading.current_thread(), ring))


#: The journal of this process.
journal = Journal()
