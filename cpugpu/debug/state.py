"""What the rules may know of an event."""

from __future__ import annotations

import functools
import itertools
import weakref
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from cpugpu.deaths import alive
from cpugpu.debug.operation import Kind, Operation

if TYPE_CHECKING:
    from collections.abc import Callable

    from cpugpu.device import Sight

_ids = itertools.count(1)
#: What `record()` and `wait()` of a closed event raise, in `check` and in `raise` mode.
_RECORD, _WAITS = Kind.RECORD, (Kind.WAIT, Kind.SYNCHRONIZE)
_PAYLOADS = 256
_TOLD = ("HandoffClosed", "HandoffClosedViolation")


def _itself(payload: Any) -> Any:
    return payload


class ThreadLike(Protocol):
    """What a rule may ask of a thread: a live one, or one that a trace tells of."""

    @property
    def name(self) -> str:
        """Its name."""

    def is_alive(self) -> bool:
        """May it still do something?"""


@dataclass(eq=False)
class EventState:
    """An event as the rules see it: whose parts it has, what lies in it, what was declared of it.

    A part belongs to the first thread that plays it and passes on when that thread has ended. `pending`, `held`,
    `closed` and `generation` are as they were when the operation under test began: `pending` is a record that may not
    be replaced, `held` one that nobody has consumed, replaceable or not.
    """

    name: str
    number: int = field(default_factory=lambda: next(_ids))
    judged: bool = True  # do the rules apply? Not in `log` mode
    device: str = ""
    index: int | None = None  # the number of the device that it is bound to
    only_sight: Sight | None = (
        None  # what the device looks like to every thread that gives no stream, if it is one thing
    )
    stall_ns: int | None = None  # CPUGPU_STALL_SECONDS
    process: int = 0  # counts the forks before the event was made
    creator: ThreadLike | None = None
    creator_stream: Any = None  # the creator's current stream then
    creator_default: bool = True  # ... which was the default stream
    producer: ThreadLike | None = None
    consumer: ThreadLike | None = None
    pending: bool = False
    held: bool = False
    closed: bool = False
    generation: int = 0
    last_record: Operation | None = None
    consumed: int = 0  # the latest generation that a wait has consumed
    consumer_told: ThreadLike | None = None  # its wait has raised HandoffClosed
    producer_told: ThreadLike | None = None  # its record has
    failed_generation: int = 0  # a wait for this generation has raised, so often in a row:
    failed_waits: int = 0
    declared_streams: dict[str, Any] = field(default_factory=dict)  # by role
    declared_producer: ThreadLike | None = None
    expected: dict[ThreadLike, int] = field(default_factory=dict)  # the generation that a thread's next wait is for
    usual: deque[tuple[Any, ...]] = field(default_factory=lambda: deque(maxlen=8))  # has passed the rules of streams
    standing: int = 0  # the latest generation that was reported for standing unconsumed
    unbound: list[Any] = field(default_factory=list)  # payloads for the record that comes next
    payloads: dict[int, tuple[Any, int]] = field(default_factory=dict)  # id: (reference, generation)
    lookup: Callable[[], Any] = field(default=lambda: None)  # the event itself, while it lives
    died: Callable[[Any], str] = field(default=lambda thread: "")  # noqa: ARG005  what killed a thread

    @property
    def who_records(self) -> ThreadLike | None:
        """The thread that is to record: who did last, if it lives; else who was declared; else who did last."""
        last = self.producer or (None if self.last_record is None else self.last_record.thread)
        if last is not None and alive(last):
            return last
        return self.declared_producer or last

    def bind(self, operation: Operation) -> None:
        """`operation` is allowed: its thread plays the part. Anybody may fail or close."""
        if operation.kind is _RECORD:
            self.producer = operation.thread
        elif operation.kind in _WAITS:
            self.consumer = operation.thread

    def ended(self, operation: Operation) -> None:
        """`operation` is over: what was consumed, what was told."""
        kind, error = operation.kind, operation.error
        if kind in _WAITS:
            if not error:
                self.failed_waits = 0
                self.consumed = max(self.consumed, operation.generation)
                if self.expected:
                    self.expected.pop(operation.thread, None)
            elif error in _TOLD:
                self.consumer_told = operation.thread
            elif operation.generation and error != "HandoffTimeout":
                again = operation.generation == self.failed_generation
                self.failed_generation = operation.generation
                self.failed_waits = self.failed_waits + 1 if again else 1
        elif kind is _RECORD and error in _TOLD:
            self.producer_told = operation.thread

    def stamp(self, generation: int) -> None:
        """The payloads that were stamped since the last record belong to that generation."""
        while self.unbound:
            self._stamp(self.unbound.pop(), generation)

    def _stamp(self, payload: Any, generation: int) -> None:
        try:
            reference: Any = weakref.ref(payload)
        except TypeError:  # it has no room for a weak reference: keep it, so that its id stays its own
            reference = functools.partial(_itself, payload)
        for key, (held, _) in tuple(self.payloads.items()):
            if held() is None:
                del self.payloads[key]
        self.payloads[id(payload)] = reference, generation
        while len(self.payloads) > _PAYLOADS:
            del self.payloads[next(iter(self.payloads))]

    def generation_of(self, payload: Any) -> int:
        """The generation that `payload` was stamped with, 0 for none."""
        reference, generation = self.payloads.get(id(payload), (None, 0))
        return generation if reference is not None and reference() is payload else 0

    def end(self, thread: ThreadLike | None) -> str:
        """How `thread` has ended, for a message."""
        reason = self.died(thread)
        return f"has ended ({reason})" if reason else "has ended"
