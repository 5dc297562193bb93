"""Threads and streams in one happens-before: a method for each thing that a program does.

Whoever intercepts calls these methods in the order in which things happen. Threads and streams are `Actor`s, tensors'
memory are `Storage`s, device events are `Event`s, and whatever CPU threads synchronise by are `Sync`s; the caller makes
them, keeps each with the object that it stands for, and lets it go with it. So the model holds nothing of an object
that is gone.

Order comes from these calls alone, never from a clock on the wall:

* `launch`, `record`, `wait`: what a stream does is after what the thread that submits it has done;
* a wait of a stream binds the capture that is current at its call; `Event.lock` is for calling the driver and the model
  as one step;
* what blocks is entered in two steps: `bind_...` before the call, which takes what is submitted by then, and `reached`
  after it. `synchronize_...` are both at once; `query_...` are for polls, and their success is an edge;
* `release` and `acquire`: a lock given back and taken, a flag set and seen, an item put and got.

Thread-safe: one lock, which is held neither over a driver's call nor over a function of the program. What a finalizer
or a signal handler enters in the midst of a call of the same thread is put off until that call is made. (A garbage
collection may come while it is held. A `__del__` that then waits for a lock of the program's, whose holder wants this
one, would wait for ever, as with any lock in Python.)

Limits. What threads tell each other without a `Sync`, by a plain attribute under the GIL, is no edge. Of each location
the first race is reported surely, as by FastTrack; later ones may be. A synchronize with a blocking stream covers what
was put on it, and not what the legacy default stream has done since.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable

from cpugpu.sanitize.allocator import Pools
from cpugpu.sanitize.clocks import Actor, Clock, hear, join, snapshot, tick
from cpugpu.sanitize.core import answer, entry
from cpugpu.sanitize.event_calls import Capture, EventCalls
from cpugpu.sanitize.events import Call, Event, Kind, Signal
from cpugpu.sanitize.feed_calls import FeedCalls
from cpugpu.sanitize.feeds import Ask
from cpugpu.sanitize.findings import Finding
from cpugpu.sanitize.memory import Storage, Ticket
from cpugpu.sanitize.places import Place, RawPlace
from cpugpu.sanitize.registry import Launch, Unplaced
from cpugpu.sanitize.strides import Region

_Where = RawPlace | Place | None
#: What an operation does to memory: the storage, the bytes, and whether it writes.
Access = tuple[Storage, Region, bool]


class Sync:
    """What CPU threads synchronise by: a lock, a flag, an item of a queue, a round of a barrier.

    One for each thing that is handed over: a barrier has a new one each round, a queue one an item, or those who get
    the first are taken to be after those who put the second.
    """

    __slots__ = ("clock", "known_to", "name")

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.clock: Clock = {}
        self.known_to: Actor | None = None  # one that knows all of `clock`


class Model(EventCalls, FeedCalls):
    """The whole state. `findings` are what was found, `blind_spots` what was met that cannot be seen."""

    def __init__(self, is_suppressed: Callable[[Finding], bool] | None = None) -> None:
        super().__init__(is_suppressed)
        self.blind_spots: Counter[str] = Counter()
        self.captures: list[Capture] = []
        self.unanswered: list[tuple[Actor, Ask]] = []
        self._pools = Pools()
        self._local = threading.local()
        self._forked: Capture | None = None

    # Threads and streams

    def me(self) -> Actor:
        """The calling thread. One that nobody has announced by `adopt` is after nothing."""
        try:
            found: Actor = self._local.actor
        except AttributeError:
            # Known before it has a name: `current_thread()` makes a lock for a thread that `threading` has not started,
            # and locks ask who takes them.
            found = self._local.actor = self.thread("")
            found.name = threading.current_thread().name
        return found

    def adopt(self, thread: Actor) -> None:
        """The calling thread is this one, made by whoever has started it."""
        self._local.actor = thread

    @answer
    def thread(self, name: str, parent: Actor | None = None, place: _Where = None) -> Actor:
        """A new thread. It is after what `parent` has done until now, at its `Thread.start()`."""
        actor = self.actors.thread(name, parent)
        if parent is not None:
            parent.signal = Signal(parent.count, f"the start of thread {name}", place)
        return actor

    @entry
    def thread_ended(self, thread: Actor) -> None:
        """It will do nothing more. After its `work_ended`."""
        self.actors.ended(thread)

    @entry
    def joined(self, thread: Actor, ended: Actor) -> None:
        """`thread` has joined `ended`, or has seen that `is_alive()` is False."""
        hear(thread, ended)
        thread.asks = None

    @answer
    def stream(self, device: str, handle: int, *, blocking: bool = False) -> Actor:
        """The stream of that handle on that device; 0 is the device's legacy default stream.

        `blocking`: it and the legacy default stream wait for each other. torch's own streams are not.
        """
        stream = self.actors.stream(device, handle, blocking=blocking)
        if self._forked is not None and stream.capture is None:
            stream.capture = self._forked
        return stream

    @entry
    def stream_destroyed(self, device: str, handle: int) -> None:
        """The next stream of that handle is another one."""
        self.actors.streams.pop((device, handle), None)

    # What is done to memory

    def launch(
        self, thread: Actor, stream: Actor, accesses: Iterable[Access], what: str = "", place: _Where = None
    ) -> Ticket | None:
        """`thread` puts an operation on `stream` that does that to memory. Its ticket; None if it was put off.

        `accesses` is a list or a tuple, for the lock is held while it is looked through.
        """
        with self.lock:
            if self.inside:
                self.deferred.append(lambda: self.launch(thread, stream, accesses, what, place))
                return None
            self.inside = True
            try:
                thread.released = True
                thread.signal = None
                if stream.heard.get(thread.number) != thread.version:
                    hear(stream, thread)
                if stream.peers:
                    for peer in stream.peers:
                        hear(stream, peer)
                if stream.released:
                    tick(stream)
                clock = stream.clock
                ticket = (stream, clock[stream.number], thread, what, place)
                if stream.capture is not None:
                    self._captured(ticket)
                    return ticket
                for storage, region, writes in accesses:
                    if storage.suspects:
                        self.found_reuse(storage, ticket)
                    races = storage.touch(region, ticket, clock, writes)
                    if races is not None:
                        self.found_races(races)
                return ticket
            finally:
                self.inside = False
                if self.deferred:
                    self.catch_up()

    @entry
    def host_access(self, thread: Actor, accesses: Iterable[Access], what: str = "", place: _Where = None) -> None:
        """`thread` itself reads or writes the host's bytes."""
        tick(thread)
        ticket = (thread, thread.count, thread, what, place)
        for storage, region, writes in accesses:
            races = storage.touch(region, ticket, thread.clock, writes)
            if races is not None:
                self.found_races(races)

    @entry
    def alloc(self, storage: Storage, stream: Actor) -> None:
        """A block was made for it, from the pool of `stream`, the current one."""
        self._pools.made(storage, stream)

    @entry
    def free(self, thread: Actor, storage: Storage, place: _Where = None) -> None:
        """Its last tensor is gone. What the host has is kept by its allocator until copies are done."""
        self._pools.freed(storage, thread, place)
        storage.clear()

    @entry
    def record_stream(self, storage: Storage, stream: Actor) -> None:
        """`Tensor.record_stream`: its block is kept until `stream` has done what it holds when it is freed."""
        storage.recorded.add(stream)

    # Waits of threads for streams

    @answer
    def bind_stream(self, thread: Actor, stream: Actor, place: _Where = None) -> Clock:
        """`thread` is about to block until `stream` has done what it holds now. For `reached`."""
        self._check_capture(thread, stream.name, place)
        return snapshot(stream)

    @answer
    def bind_device(self, thread: Actor, device: str, place: _Where = None) -> Clock:
        """The same for all streams of a device."""
        self._check_capture(thread, device, place)
        bound: Clock = {}
        for stream in self.actors.of_device(device):
            for number, count in snapshot(stream).items():
                if bound.get(number, 0) < count:
                    bound[number] = count
        return bound

    def synchronize_stream(self, thread: Actor, stream: Actor, place: _Where = None) -> None:
        """Both steps at once: also after a blocking copy or an `.item()`, which end with it."""
        self.reached(thread, self.bind_stream(thread, stream, place))

    def synchronize_device(self, thread: Actor, device: str, place: _Where = None) -> None:
        """Both steps at once."""
        self.reached(thread, self.bind_device(thread, device, place))

    @entry
    def query_stream(self, thread: Actor, stream: Actor, done: bool, place: _Where = None) -> None:
        """A query has said so. If it was True, `thread` is after what the stream holds."""
        self._check_capture(thread, stream.name, place)
        if done:
            join(thread, snapshot(stream))

    # Waits of threads for threads

    @entry
    def release(self, thread: Actor, sync: Sync, what: str = "", place: _Where = None) -> None:
        """`thread` gives back the lock, sets the flag, puts the item. Before it does."""
        if sync.known_to is thread or not sync.clock:
            sync.clock = snapshot(thread)
            sync.known_to = thread
        else:
            merged = dict(sync.clock)
            for number, count in snapshot(thread).items():
                if merged.get(number, 0) < count:
                    merged[number] = count
            sync.clock = merged
            sync.known_to = None
        thread.signal = Signal(thread.count, what or f"release of {sync.name}", place)

    @entry
    def acquire(self, thread: Actor, sync: Sync) -> None:
        """`thread` has taken the lock, seen that the flag is set, got the item. After it has."""
        if sync.known_to is not thread:
            join(thread, sync.clock)
            sync.known_to = thread
            if sync.clock:
                thread.asks = None  # somebody has told it something

    # The rest

    @entry
    def unplaced(self, thread: Actor, device: str, what: str = "", place: _Where = None) -> None:
        """`thread` makes something on `device`, the one that it is on, and names none. `what`: by what call."""
        if thread.starter is not None:
            self.found_placing(Unplaced(thread, device, thread.starter), what, place)

    @entry
    def blind_spot(self, what: str) -> None:
        """The program has met something whose effects cannot be seen: a graph's replay, a raw kernel, NCCL."""
        self.blind_spots[what] += 1

    def forked(self) -> None:
        """Called in a forked child: only the calling thread is left, and no device that was in use can be used.

        What was found so far is its parent's.
        """
        self.lock = threading.RLock()
        self.inside = False
        self.deferred.clear()
        self.captures.clear()
        self.findings.clear()
        self.blind_spots.clear()
        self.unanswered.clear()
        for thread in self.actors.threads:
            thread.asks = None
        if self.actors.streams:
            self._forked = Capture(None, forked=True)
            for stream in self.actors.streams.values():
                stream.capture = self._forked

    def _captured(self, ticket: Ticket) -> None:
        stream, _, thread, what, place = ticket
        if isinstance(stream.capture, Capture):
            stream.capture.worked[stream] = ticket[1]
            if stream.capture.forked:
                self.found_launch(Launch(thread, stream, what, place))

    def _check_capture(self, thread: Actor, name: str, place: _Where) -> None:
        who = self.capturing(thread)
        if who:
            self.found_call(Call(Kind.DRAIN, thread, None, Event(name), None, place, capturing=who))
