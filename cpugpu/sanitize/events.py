"""Device events: what each record has captured, who knows of it, and what a wait binds.

`cudaEventRecord` captures what the stream holds at its call and overwrites what was captured before;
`cudaStreamWaitEvent` binds the latest capture at *its* call (cuda_runtime_api.h). So a wait that nothing orders after
its record may bind an older capture, or none. Which one it gets is decided by the order of the two *calls*, which are
operations of threads: a record has the epoch of the thread that makes it.
"""

from __future__ import annotations

import enum
import itertools
import threading
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from cpugpu.sanitize.clocks import Actor, Clock
from cpugpu.sanitize.findings import Side
from cpugpu.sanitize.places import Place, RawPlace, place_of

#: So many captures of an event are remembered: a wait may have been told of any that was not overwritten by less.
VERSIONS = 8
_numbers = itertools.count(1)


class Kind(str, enum.Enum):
    """What an operation does."""

    RECORD = "record"
    WAIT = "wait"
    SYNCHRONIZE = "synchronize"
    QUERY = "query"
    DRAIN = "synchronize or query"  # of a stream or of a device
    DESTROY = "destroy"
    END_CAPTURE = "end of a capture"
    LAUNCH = "launch"
    RACE = "race"
    REUSE = "reuse"
    PLACE = "choice of a device"
    TAKE = "get from a queue"


@dataclass(frozen=True)
class Signal:
    """A thread gave something away that another may have seen: a lock, a flag, an item of a queue."""

    count: int
    what: str
    place: RawPlace | Place | None


class Waiter(NamedTuple):
    """A wait that has bound a capture, as the call of a thread, whose count was `epoch` then.

    `stream` is the one that waits, None where the thread does.
    """

    thread: Actor
    epoch: int
    what: str
    stream: Actor | None
    place: RawPlace | Place | None

    @property
    def side(self) -> Side:
        """For a finding."""
        return Side(self.what, place_of(self.place), self.thread.name, self.stream.name if self.stream else "")


@dataclass(eq=False)
class Version:
    """One capture. `thread` and `count`: the epoch of the call; `clock`: what was captured.

    `signal` is what the thread had last given away before the call, if that came after its last launch on the stream.
    `waiters`: the last one of each thread.
    """

    number: int
    thread: Actor
    count: int
    stream: Actor
    clock: Clock
    place: RawPlace | Place | None
    signal: Signal | None
    capture: object
    waiters: dict[int, Waiter]

    def covers(self, other: Version) -> bool:
        """Is whoever waits for this one after all that the other has captured?"""
        return self.clock.get(other.stream.number, 0) >= other.clock[other.stream.number]

    def known_to(self, thread: Actor) -> bool:
        """Is its call before whatever `thread` does next?"""
        return thread.knows(self.thread, self.count)

    def side(self, what: str) -> Side:
        """For a finding."""
        return Side(what, place_of(self.place), self.thread.name, self.stream.name)


class Event:
    """The state of one device event.

    `lock` is for whoever intercepts: it is held over the driver's call *and* the entry in the model, so that calls on
    one event and their entries are in the same order. Never over one that blocks: `synchronize` binds first.
    """

    __slots__ = ("_consumed", "destroyed", "device", "early", "exported", "first", "lock", "name", "number", "versions")

    def __init__(self, name: str = "") -> None:
        self.number = next(_numbers)
        self.name = name or f"event {self.number}"
        self.lock = threading.RLock()
        self.device = ""
        self.versions: deque[Version] = deque(maxlen=VERSIONS)
        self.first: dict[int, int] = {}  # the count of each thread's first record
        self._consumed: dict[int, tuple[Actor, int]] = {}  # by the actor's number, which may come to be another's
        self.early: list[tuple[Waiter, Clock]] = []  # waits before the first record
        self.exported: Side | None = None
        self.destroyed: Side | None = None

    def consumed(self, actor: Actor) -> int:
        """The number of the latest version that `actor` has waited for, 0 for none."""
        who, number = self._consumed.get(actor.number, (actor, 0))
        return number if who is actor else 0

    def consume(self, actor: Actor, version: Version) -> None:
        """`actor` has waited for it."""
        self._consumed[actor.number] = (actor, version.number)

    @property
    def current(self) -> Version | None:
        """The latest capture, which a wait binds now."""
        return self.versions[-1] if self.versions else None


@dataclass
class Call:
    """A call on an event, as the rules see it.

    `stream` is the one that records or waits, None where the thread itself waits. `version` is what the call binds; for
    a record, what it overwrites, and `made` what it makes.
    """

    kind: Kind
    thread: Actor
    stream: Actor | None
    event: Event
    version: Version | None
    place: RawPlace | Place | None
    made: Version | None = None
    done: bool = True
    capturing: str = ""

    @property
    def is_steady(self) -> bool:
        """Is it so ordinary that no rule can be broken? A short cut for the usual case; tests hold it to the rules."""
        version, event, stream = self.version, self.event, self.stream
        if event.destroyed is not None or self.capturing or self.kind is Kind.DESTROY:
            return False
        if self.made is not None:
            if stream is None or (event.device and event.device != stream.device):
                return False
            return version is None or self.made.covers(version)
        if version is None or version.capture is not None or (stream is not None and stream.capture is not None):
            return False
        return version.known_to(self.thread)

    @property
    def what(self) -> str:
        """The call in words."""
        return f"{self.kind.value} of {self.event.name}"

    @property
    def side(self) -> Side:
        """For a finding."""
        return Side(self.what, place_of(self.place), self.thread.name, self.stream.name if self.stream else "")

    @property
    def told_of(self) -> Version | None:
        """The newest capture that the caller knows of and that whoever waits here has not waited for before."""
        consumed = self.event.consumed(self.stream or self.thread)
        for version in reversed(self.event.versions):
            if version.number <= consumed:
                break
            if version.known_to(self.thread):
                return version
        return None

    @property
    def is_sure(self) -> bool:
        """Would one be known that the caller was told of? Not where it may have been one that is forgotten."""
        versions = self.event.versions
        if not versions or versions[0].number == 1:
            return True
        if self.event.consumed(self.stream or self.thread) >= versions[0].number - 1:
            return True
        return not any(self.thread.clock.get(its, 0) >= count for its, count in self.event.first.items())
