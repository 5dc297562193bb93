"""Vector clocks: what each thread and each stream knows of the others.

An *actor* is a CPU thread or a stream. Its clock says, for each actor by number, how much of it came before. An
*epoch* is an actor and its own count, and stands for everything that it did while its count was that: FastTrack's idea,
by which two accesses are compared in constant time (Flanagan and Freund, PLDI 2009).

A count goes up at the first operation after a *release*, which is whatever lets others know of it: a launch (from
thread to stream), a record, a lock given back. Until then nobody can know of that epoch, so more of the same costs
nothing, and a clock is joined with another only when that one has changed since.

Numbers of threads that have ended are given to new ones where this loses nothing: where who starts the new one knows
all of the old one. Otherwise an ended thread keeps its entry. Streams are few, and keep theirs.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple
from weakref import WeakSet

#: How much an actor knows of each, by number.
Clock = dict[int, int]

#: Of threads that have ended, so many are looked at for a number that can be used again.
_LOOKED_AT = 16
#: One row for all models: a clock that an object has kept from an earlier one knows nothing of this one's actors.
_numbers = itertools.count(1)


class Starter(NamedTuple):
    """Who has started a thread: its name, its device at that time, and where."""

    name: str
    device: str
    place: Any


class Actor:
    """A CPU thread or a stream.

    A stream is known by its device and its handle, never by the handle alone: each device's default stream has 0.
    `peers` are the streams that CUDA orders with this one unasked: the legacy default stream and the blocking ones.
    `released` means that others may know of all up to here. `version` changes when the clock does. `heard` holds the
    versions of others that it has joined.

    Of a thread only: `starter`, if that was on another device and this thread has not chosen one; `work`, what it does
    now, and `asks`, what it waits for or has waited for in vain, are those of `feeds`.
    """

    __slots__ = (
        *("asks", "capture", "clock", "device", "handle", "heard", "name", "number", "peers", "released", "signal"),
        *("snapshot", "snapshot_version", "starter", "version", "work", "__weakref__"),
    )

    def __init__(self, number: int, name: str, device: str = "", handle: int | None = None, base: int = 0) -> None:
        self.number = number
        self.name = name
        self.device = device
        self.handle = handle
        self.clock: Clock = {number: base + 1}
        self.version = base + 1
        self.released = False
        self.heard: dict[int, int] = {}
        self.peers: list[Actor] = []
        self.capture: Any = None
        self.signal: Any = None  # what a thread has given away since its latest launch
        self.snapshot: Clock = {}
        self.snapshot_version = 0
        self.starter: Starter | None = None
        self.work: Any = None
        self.asks: Any = None

    @property
    def is_stream(self) -> bool:
        """Or is it a thread?"""
        return self.handle is not None

    @property
    def count(self) -> int:
        """Of the current epoch."""
        return self.clock[self.number]

    def knows(self, actor: Actor, count: int) -> bool:
        """Is what `actor` did in that epoch before whatever this one does next?"""
        return actor is self or self.clock.get(actor.number, 0) >= count

    def __repr__(self) -> str:
        return self.name


def tick(actor: Actor) -> None:
    """Begin a new epoch if others may know of the current one. For every operation that others may have to know of."""
    if actor.released:
        actor.clock[actor.number] += 1
        actor.version += 1
        actor.released = False


def join(actor: Actor, clock: Clock) -> None:
    """From now on `actor` is after all that `clock` knows."""
    own, changed = actor.clock, False
    for number, count in clock.items():
        if own.get(number, 0) < count:
            own[number] = count
            changed = True
    if changed:
        actor.version += 1


def hear(actor: Actor, other: Actor) -> None:
    """From now on `actor` is after all that `other` has done so far."""
    if other is actor:
        return
    other.released = True
    if actor.heard.get(other.number) != other.version:
        join(actor, other.clock)
        actor.heard[other.number] = other.version


def snapshot(actor: Actor) -> Clock:
    """What `actor` knows now, as a clock that nobody changes."""
    actor.released = True
    if actor.snapshot_version != actor.version:
        actor.snapshot = dict(actor.clock)
        actor.snapshot_version = actor.version
    return actor.snapshot


class Actors:
    """All of them. `streams` are found by device and handle; threads are held by whoever has made them."""

    def __init__(self) -> None:
        self.streams: dict[tuple[str, int], Actor] = {}
        self.threads: WeakSet[Actor] = WeakSet()
        self._ended: list[Actor] = []

    def thread(self, name: str, parent: Actor | None = None) -> Actor:
        """A new thread, after what `parent` has done so far."""
        actor = self._reused(name, parent) or Actor(next(_numbers), name)
        if parent is not None:
            hear(actor, parent)
        self.threads.add(actor)
        return actor

    def ended(self, thread: Actor) -> None:
        """A thread has come to its end. Who joins it still hears it."""
        thread.released = True
        self._ended.append(thread)

    def stream(self, device: str, handle: int, *, blocking: bool = False) -> Actor:
        """The stream of that handle on that device. `blocking`: it and the legacy default stream order each other."""
        found = self.streams.get((device, handle))
        if found is None:
            name = f"{device} default stream" if handle == 0 else f"{device} stream {handle:#x}"
            found = self.streams[device, handle] = Actor(next(_numbers), name, device, handle)
            if blocking and handle:
                default = self.stream(device, 0)
                found.peers.append(default)
                default.peers.append(found)
        return found

    def of_device(self, device: str) -> list[Actor]:
        """Its streams."""
        return [stream for (its, _), stream in self.streams.items() if its == device]

    def _reused(self, name: str, parent: Actor | None) -> Actor | None:
        if parent is None:
            return None
        for position, old in enumerate(self._ended[:_LOOKED_AT]):
            if parent.knows(old, old.count):
                del self._ended[position]
                return Actor(old.number, name, base=max(old.count, old.version))
        return None
