"""The part of the model that is about device events and the captures of graphs."""

from __future__ import annotations

from dataclasses import dataclass, field

from cpugpu.sanitize.clocks import Actor, Clock, hear, join, snapshot, tick
from cpugpu.sanitize.core import Core, answer, entry
from cpugpu.sanitize.events import Call, Event, Kind, Version, Waiter
from cpugpu.sanitize.findings import Side
from cpugpu.sanitize.places import Place, RawPlace, place_of
from cpugpu.sanitize.registry import Launch

_Where = RawPlace | Place | None


@dataclass(eq=False)
class Capture:
    """A graph that is being captured. `forked`: none at all, but the mark of a stream of the parent's."""

    thread: Actor | None
    mode: str = "global"
    open: bool = True
    streams: list[Actor] = field(default_factory=list)
    worked: dict[Actor, int] = field(default_factory=dict)  # those on which something was launched, and its count
    forked: bool = False


class EventCalls(Core):
    """Records, waits, synchronisation and the end of events; captures."""

    captures: list[Capture]

    @entry
    def record(self, thread: Actor, event: Event, stream: Actor, place: _Where = None) -> None:
        """`event` captures what `stream` holds now. Under `event.lock`, with the driver's call."""
        if self.submit(thread, stream, f"record of {event.name}", place):
            return
        old = event.current
        made = Version(
            number=old.number + 1 if old else 1,
            thread=thread,
            count=thread.count,
            stream=stream,
            clock=snapshot(stream),
            place=place,
            signal=thread.signal,
            capture=stream.capture,
            waiters={},
        )
        self.found_call(Call(Kind.RECORD, thread, stream, event, old, place, made))
        event.versions.append(made)
        event.first.setdefault(thread.number, thread.count)
        event.device = event.device or stream.device
        for waiter, clock in event.early:
            self._explain(made, waiter, clock)
        event.early.clear()

    @entry
    def recorded_before(self, event: Event) -> None:
        """It was recorded before anybody looked: all know of that, and it orders nothing that was seen."""
        nobody = Actor(0, "a thread")
        event.versions.append(Version(1, nobody, 0, nobody, {0: 0}, None, None, None, {}))

    @entry
    def wait(self, thread: Actor, event: Event, stream: Actor, place: _Where = None) -> None:
        """What comes on `stream` from now on waits for the current capture. Under `event.lock`, as `record`."""
        if self.submit(thread, stream, f"wait of {event.name}", place):
            return
        version = self._bind(Call(Kind.WAIT, thread, stream, event, event.current, place))
        if version is None:
            return
        capture = version.capture
        if capture is None or capture is stream.capture:
            join(stream, version.clock)
        elif isinstance(capture, Capture) and capture.open and stream.capture is None:
            stream.capture = capture
            capture.streams.append(stream)

    @entry
    def query_event(self, thread: Actor, event: Event, done: bool, place: _Where = None) -> None:
        """A query has said so. If it was True, `thread` is after the capture. Under `event.lock`, as `record`."""
        tick(thread)
        call = Call(Kind.QUERY, thread, None, event, event.current, place, done=done, capturing=self.capturing(thread))
        version = self._bind(call)
        if done and version is not None and version.capture is None:
            join(thread, version.clock)

    @answer
    def bind_event(self, thread: Actor, event: Event, place: _Where = None) -> Clock:
        """`thread` is about to block until the current capture is done. For `reached`, when it no longer does."""
        tick(thread)
        call = Call(Kind.SYNCHRONIZE, thread, None, event, event.current, place, capturing=self.capturing(thread))
        version = self._bind(call)
        return version.clock if version is not None and version.capture is None else {}

    @entry
    def reached(self, thread: Actor, bound: Clock) -> None:
        """What was bound is done, and `thread` knows."""
        join(thread, bound)

    def synchronize_event(self, thread: Actor, event: Event, place: _Where = None) -> None:
        """Both at once."""
        self.reached(thread, self.bind_event(thread, event, place))

    @entry
    def event_exported(self, thread: Actor, event: Event, place: _Where = None) -> None:
        """Its handle was made for another process."""
        event.exported = Side(f"ipc_handle of {event.name}", place_of(place), thread.name)

    @entry
    def event_opened(self, event: Event) -> None:
        """The other process has said that it has opened the handle."""
        event.exported = None

    @entry
    def event_destroyed(self, thread: Actor, event: Event, place: _Where = None) -> None:
        """The driver's event is destroyed."""
        self.found_call(Call(Kind.DESTROY, thread, None, event, event.current, place))
        event.destroyed = Side(f"end of {event.name}", place_of(place), thread.name)

    @entry
    def capture_begin(self, thread: Actor, stream: Actor, mode: str = "global") -> None:
        """What is put on `stream` from now on goes into a graph and is not done."""
        capture = Capture(thread, mode, streams=[stream])
        stream.capture = capture
        self.captures.append(capture)

    @entry
    def capture_end(self, thread: Actor, stream: Actor, place: _Where = None) -> None:
        """It is done again, also on the streams that have joined."""
        capture = stream.capture
        if isinstance(capture, Capture) and not capture.forked:
            for other in capture.streams:
                if other is not stream and not stream.knows(other, capture.worked.get(other, 0)):
                    self.found_call(Call(Kind.END_CAPTURE, thread, stream, Event(other.name), None, place))
            capture.open = False
            self.captures.remove(capture)
            for each in capture.streams:
                each.capture = None

    def capturing(self, thread: Actor) -> str:
        """Who captures in a mode that forbids `thread` to query and to synchronize; empty for nobody."""
        for capture in self.captures:
            if capture.mode == "relaxed" or (capture.mode == "thread_local" and capture.thread is not thread):
                continue
            return f"thread {capture.thread.name if capture.thread else '?'} captures a graph"
        return ""

    def submit(self, thread: Actor, stream: Actor, what: str, place: _Where) -> bool:
        """A call puts something on a stream: the edge from the thread. True: it cannot be done here."""
        tick(thread)
        hear(stream, thread)
        for peer in stream.peers:
            hear(stream, peer)
        tick(stream)
        capture = stream.capture
        if isinstance(capture, Capture) and capture.forked:
            self.found_launch(Launch(thread, stream, what, place))
            return True
        return False

    def _bind(self, call: Call) -> Version | None:
        self.found_call(call)
        event, version, thread = call.event, call.version, call.thread
        waiter = Waiter(thread, thread.count, call.what, call.stream, call.place)
        if version is None:
            if len(event.early) < 8:
                event.early.append((waiter, dict(thread.clock)))
            return None
        version.waiters[thread.number] = waiter
        if call.kind is not Kind.QUERY or call.done:
            event.consume(call.stream or thread, version)
        return version

    def _explain(self, made: Version, waiter: Waiter, clock: Clock) -> None:
        """The first record of an event comes after a wait: say where, and what let the waiting thread go on."""
        for finding in self.findings:
            if finding.first == waiter.side and finding.rule.startswith("unrecorded-"):
                note = f"recorded later by thread {made.thread.name} at {place_of(made.place)}"
                signal = made.signal
                if signal is not None and clock.get(made.thread.number, 0) >= signal.count:
                    note += f", after {signal.what} at {place_of(signal.place)}: the flag comes before the record"
                if note not in finding.notes and len(finding.notes) < 4:
                    finding.notes.append(note)
