"""The driver that lets the explorer decide which stream of the simulated device does its next operation.

Each stream is a logical thread, so a kernel that waits for the host waits as a thread does. A call of the host is a
step; an operation of a stream is one too, and a kernel over several elements is two, between which others may come.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeAlias

from cpugpu.device.simulated.graph import Graph
from cpugpu.device.simulated.model import EventState, Machine, StreamState
from cpugpu.device.simulated.model import Operation as Work
from cpugpu.device.simulated.objects import SimBuffer
from cpugpu.explore.execution import Actor, Execution, Key, State, Thread
from cpugpu.explore.operation import AFTER, CAUSE, READ, WRITE, Access, Footprint, Operation, Resource

Thing: TypeAlias = "StreamState | EventState | Graph | SimBuffer"
_KINDS = {StreamState: "stream", EventState: "event", Graph: "graph"}

#: Calls that only look.
_LOOKS = ("query", "synchronize")


class StreamActor(Thread):
    """A stream: it does what is enqueued, one after the other. It has no next step while there is nothing."""

    kind = "stream"

    def __init__(self, driver: Scheduled, key: Key, state: StreamState) -> None:
        super().__init__(driver.execution, key, state.name, self._work)
        self.queue: deque[Work] = deque()
        self._driver = driver

    def enqueued(self, work: Work) -> None:
        """There is something more to do."""
        self.queue.append(work)
        if len(self.queue) == 1:
            self.next = self._step(0)

    def _step(self, part: int) -> Operation:
        work, driver = self.queue[0], self._driver
        footprint: list[tuple[Resource, Access]] = [(driver.of(each), READ) for each in work.reads]
        footprint += [(driver.of(each), WRITE) for each in work.writes]
        if part == 0:
            footprint += [(driver.done(work), CAUSE), *((driver.done(each), AFTER) for each in work.after)]
        if part >= len(work.parts) - 1:
            footprint.append((driver.done(work), WRITE))
        label = work.label if part == 0 else f"{work.label}, the rest"
        return Operation(label, tuple(footprint), None if part else lambda: not work.waits_for)

    def _work(self) -> None:
        while True:
            work = self.queue[0]
            for part in range(1, len(work.parts)):
                self._do(work, part - 1)
                self._execution.step(self._step(part))
            if work.parts:
                self._do(work, len(work.parts) - 1)
            self._driver.machine.finish(work, self._execution.now)
            self.queue.popleft()
            if self.queue:
                self._execution.step(self._step(0))
            else:
                self.park()

    def _do(self, work: Work, part: int) -> None:
        device = work.stream.device
        if device.error is not None:
            return
        try:
            work.parts[part]()
        except Exception as error:
            device.error = error
            self._execution.touch((self._driver.errors, WRITE))


class Scheduled:
    """Runs a machine under an execution. Use it as a context manager for access to the machine."""

    scheduled = True

    def __init__(self, machine: Machine, execution: Execution) -> None:
        self.machine = machine
        self.execution = execution
        self.errors = Resource(("device", "errors"), "the device's error")
        self.captures = Resource(("device", "captures"), "the graph captures")
        self._resources: dict[int, Resource] = {}  # by the identity of what they stand for
        self._done: dict[Work, Resource] = {}
        self._actors: dict[StreamState, StreamActor] = {}
        self._kept: list[Thing] = []  # so that identities are not used again
        self._counts: dict[str, int] = {}
        #: Above 0 the thread whose turn it is goes on: its calls are part of the step under way.
        self.uninterrupted = 0

    def __enter__(self) -> Machine:
        return self.machine

    def __exit__(self, *exc_info: object) -> None:
        pass

    def made(self, thing: Thing) -> None:
        """Give it a name."""
        kind = next((kind for of, kind in _KINDS.items() if isinstance(thing, of)), "buffer")
        number = self._counts[kind] = self._counts.get(kind, 0) + 1
        name = str(thing) if kind == "stream" else f"{kind} {number}"
        self._resources[id(thing)] = self.execution.resource(kind, name)
        self._kept.append(thing)

    def of(self, thing: object) -> Resource:
        """The resource that stands for a stream, an event or a buffer."""
        return self._resources[id(thing)]

    def done(self, work: Work) -> Resource:
        """The resource that stands for an operation's being done."""
        return self._done[work]

    def step(self, label: str, reads: Iterable[object] = (), writes: Iterable[object] = ()) -> None:
        """Wait for the calling thread's turn to do what `label` says."""
        self.execution.step(Operation(label, ((self.errors, READ), *self._accesses(reads, writes))))

    def keep(self, state: State) -> None:
        """From now on each logical thread has its own of what `state` takes and puts."""
        self.execution.keep(state)

    def touch(self, reads: Iterable[object] = (), writes: Iterable[object] = ()) -> None:
        """The current step touches these as well."""
        if not self.execution.over:
            self.execution.touch(*self._accesses(reads, writes))

    def asked(self, operations: Iterable[Work]) -> None:
        """The current step has looked whether these are done."""
        if not self.execution.over:
            self.execution.touch(*((self.done(each), READ) for each in operations))

    def _accesses(self, reads: Iterable[object], writes: Iterable[object]) -> Footprint:
        return (*((self.of(each), READ) for each in reads), *((self.of(each), WRITE) for each in writes))

    def turn(self, call: str, stream: StreamState | None = None, event: EventState | None = None) -> Scheduled:
        """Wait for the calling thread's turn to make `call`."""
        looks = call.startswith(_LOOKS)
        footprint: list[tuple[Resource, Access]] = [(self.errors, READ)]
        if call.endswith("capture"):
            footprint.append((self.captures, WRITE))
        label = call
        if event is not None:
            footprint.append((self.of(event), WRITE if call == "record" else READ))
            label = f"{label} {self.of(event)}"
        if stream is not None:
            footprint.append((self.of(stream), READ if looks else WRITE))
            label = f"{label} on {stream}"
            if not looks and stream is stream.device.default:
                footprint += [(self.of(other), READ) for other in stream.device.blocking]
            elif not looks and stream.blocking:
                footprint.append((self.of(stream.device.default), READ))
        if call == "query":
            footprint += self._progress(stream, event)
        if self.uninterrupted:  # in a hook of a backward pass, say: below it is C++ that nobody else may enter
            self.execution.touch(*footprint)
            return self
        self.execution.step(Operation(label, tuple(footprint)))
        if call == "query":  # while it waited for its turn, there may have come more to look at
            self.execution.touch(*self._progress(stream, event))
        return self

    def started(self, work: Work | None) -> None:
        """Hand an operation that was just enqueued to its stream."""
        if work is None:
            return
        if work.capture is not None:  # it goes into a graph, and whether it may is for the captures to say
            self.looked_at_captures(changed=False)
            return
        stream = work.stream
        actor = self._actors.get(stream)
        if actor is None:
            actor = self._actors[stream] = StreamActor(self, (self.of(stream).key, "actor"), stream)
            self.execution.add(actor)
        done = Resource((*actor.key, "done", actor.made()), f"{work.label} on {stream}")
        self._done[work] = done
        self.execution.touch((done, CAUSE))
        actor.enqueued(work)

    def looked_at_captures(self, *, changed: bool) -> None:
        """The calling thread has looked at the graph captures under way, or has changed them."""
        if not self.execution.over:
            self.execution.touch((self.captures, WRITE if changed else READ))

    def block(self, operations: Iterable[Work | None], timeout: float | None = None) -> bool:
        """Block the calling thread until all `operations` are done. False if the clock has ended that."""
        pending = [each for each in operations if each is not None]
        if all(each.done for each in pending):
            self.execution.touch(*((self.done(each), AFTER) for each in pending))
            return True
        access = AFTER if timeout is None else READ
        footprint: Footprint = tuple((self.done(each), access) for each in pending)
        return self.execution.step(Operation("wait for the device", footprint, _all_done(pending), timeout=timeout))

    def _progress(self, stream: StreamState | None, event: EventState | None) -> list[tuple[Resource, Access]]:
        """What a query looks at beside the stream or the event: whether something is done."""
        work = stream.last if stream is not None else event.captured if event is not None else None
        return [(self.done(work), READ)] if work is not None else []


def _all_done(pending: list[Work]) -> Callable[[], bool]:
    return lambda: all(each.done for each in pending)


def unfinished(actors: Iterable[Actor]) -> list[StreamActor]:
    """The streams that have something to do."""
    return [actor for actor in actors if isinstance(actor, StreamActor) and actor.queue]
