"""An operation: one thing that happened to an instrumented event.

It holds what was cheap to get when it happened; names and places are made from it when somebody reads.
"""

from __future__ import annotations

import enum
import os
import threading
from types import CodeType
from typing import TYPE_CHECKING, Any

from cpugpu.deaths import describe

if TYPE_CHECKING:
    from cpugpu.debug.effort import Effort
    from cpugpu.debug.state import EventState
    from cpugpu.device import Sight


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
