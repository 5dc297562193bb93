"""What streams and events mean: CUDA's ordering rules as a graph of operations. No threads, no time, no memory.

The one idea: at the moment when an operation is enqueued, everything that it has to wait for is known, because CUDA
binds an event wait to the latest record *at the time of the call*. So a machine is a directed acyclic graph that grows
at one end. `Machine.enqueue` adds a node and its edges; `Machine.finish` removes one and tells which nodes became
ready. A driver decides when, and in which order, ready operations run: in real time (`realtime.py`), or one at a time
under an explorer. The drawing for three streams and two events:

    stream 1   fill ── record e ─────────────── fill
                          └────────────┐
    stream 2            copy ── wait e ┴─ copy ── record f
                                                     └──────┐
    stream 3                                        wait f ─┴─ copy

Facts and their sources: "CUDA Runtime API", the sections Event Management and Stream Management, and "Stream
synchronization behavior" for the legacy default stream.
"""

from __future__ import annotations

import itertools
import weakref
from collections import deque
from collections.abc import Callable, Sequence

from cpugpu.device.simulated.capture import Capture, Captures, HostThread
from cpugpu.device.simulated.graph import Graph
from cpugpu.errors import DeviceError

#: The range of stream priorities, lowest number first, as an H100 reports it. Others are clamped into it.
PRIORITIES = (-5, 0)


class Operation:
    """A node: one thing that a stream does. `parts` run in order; between two parts other streams may run."""

    __slots__ = (
        "after",
        "capture",
        "dependents",
        "finished_at",
        "label",
        "number",
        "parts",
        "reads",
        "started_at",
        "stream",
        "waiters",
        "waits_for",
        "writes",
    )

    def __init__(
        self,
        number: int,
        stream: StreamState,
        label: str,
        parts: Sequence[Callable[[], object]],
        reads: Sequence[object],
        writes: Sequence[object],
    ) -> None:
        self.number = number
        self.stream = stream
        self.label = label
        self.parts = parts
        self.reads = reads
        self.writes = writes
        self.capture: Capture | None = None  # in which it is: it never runs itself
        self.after: Sequence[Operation] = ()  # the operations that have to come first
        self.waits_for: set[Operation] = set()  # the unfinished ones of these
        self.dependents: list[Operation] = []
        self.waiters: list[Callable[[], None]] = []  # called once it is done: a driver's way to block a CPU thread
        self.started_at: float | None = None  # in seconds of the driver's clock
        self.finished_at: float | None = None

    @property
    def done(self) -> bool:
        """Has it run?"""
        return self.finished_at is not None

    def __repr__(self) -> str:
        return f"{self.label} on {self.stream}"


class StreamState:
    """A queue of a device. `blocking` streams synchronise with the device's legacy default stream."""

    __slots__ = ("__weakref__", "blocking", "capture", "device", "last", "name", "priority")

    def __init__(self, device: DeviceState, name: str, *, blocking: bool, priority: int) -> None:
        self.device = device
        self.name = name
        self.blocking = blocking
        self.priority = priority
        self.last: Operation | None = None  # the newest operation, done or not
        self.capture: Capture | None = None  # into which what is enqueued goes

    @property
    def idle(self) -> bool:
        """Is all its work done?"""
        return self.last is None or self.last.done

    def __repr__(self) -> str:
        return self.name


class DeviceState:
    """A device: its legacy default stream, its other streams, and the error that it is stuck in, if any."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.default = StreamState(self, f"stream {index}.default", blocking=True, priority=0)
        self.blocking: weakref.WeakSet[StreamState] = weakref.WeakSet()  # beside the default one
        self.any_blocking = False  # were there ever any?
        self.pending: dict[Operation, None] = {}  # enqueued and not done, oldest first
        self.error: BaseException | None = None
        self.number_of_streams = itertools.count(1)

    def raise_error(self) -> None:
        """Raise `DeviceError` once a kernel has failed: such an error sticks for as long as the machine lives."""
        if self.error is not None:
            raise DeviceError(
                f"an earlier kernel failed on device {self.index}, and every later call reports it: {self.error!r}"
            ) from self.error


class EventState:
    """What an event has captured: nothing (an empty set of work), or the record that was made last.

    `external`: in a graph capture its records and waits do not make edges; they become nodes, which act at each launch.
    """

    __slots__ = ("captured", "device", "external", "timing")

    def __init__(self, *, timing: bool, external: bool = False) -> None:
        self.timing = timing
        self.external = external
        self.device: DeviceState | None = None  # bound by the first record
        self.captured: Operation | None = None

    @property
    def done(self) -> bool:
        """Is the captured work done? True for the empty set."""
        return self.captured is None or self.captured.done


class Machine:
    """Some devices with their streams. Not thread-safe: its driver sees to that."""

    def __init__(self, devices: int = 1) -> None:
        if devices < 1:
            raise ValueError(f"devices={devices}: a machine has at least 1 device")
        self.devices = [DeviceState(index) for index in range(devices)]
        self.captures = Captures()
        self._numbers = itertools.count(1)
        #: Where each operation is put when it is enqueued, for somebody who watches.
        self.watcher: deque[Operation] | None = None

    def stream(self, device: DeviceState, *, blocking: bool = False, priority: int = 0) -> StreamState:
        """A new stream. `priority` is a hint, clamped into `PRIORITIES`; nothing here depends on it."""
        priority = max(PRIORITIES[0], min(PRIORITIES[1], priority))
        stream = StreamState(
            device, f"stream {device.index}.{next(device.number_of_streams)}", blocking=blocking, priority=priority
        )
        if blocking:
            device.blocking.add(stream)
            device.any_blocking = True
        return stream

    def enqueue(
        self,
        stream: StreamState,
        label: str,
        parts: Sequence[Callable[[], object]] = (),
        *,
        reads: Sequence[object] = (),
        writes: Sequence[object] = (),
        after: Operation | Sequence[Operation] | None = None,
    ) -> Operation:
        """Add an operation to `stream`, behind what the stream holds and behind `after`. It is ready if `waits_for` is
        empty, and will never be if `stream` is capturing. Raises `DeviceError` if the device is stuck in an error.
        """
        device = stream.device
        device.raise_error()
        behind = [after] if isinstance(after, Operation) else after or ()
        capture = self.captures.admit(stream, behind)
        operation = Operation(next(self._numbers), stream, label, parts, reads, writes)
        before = [stream.last, *behind]
        if capture is not None:
            operation.capture = capture
            operation.after = [other for other in before if other is not None]
            stream.last = operation
            capture.operations.append(operation)
            return operation
        if stream is device.default:  # legacy: wait for all blocking streams ...
            if device.any_blocking:
                before += [other.last for other in device.blocking]
        elif stream.blocking:  # ... which in turn wait for it
            before.append(device.default.last)
        operation.after = [other for other in before if other is not None]
        for other in operation.after:
            if not other.done and other not in operation.waits_for:
                operation.waits_for.add(other)
                other.dependents.append(operation)
        stream.last = operation
        device.pending[operation] = None
        if self.watcher is not None:
            self.watcher.append(operation)
        return operation

    def record(self, event: EventState, stream: StreamState) -> Operation:
        """Capture what `stream` holds now. Overwrites an earlier capture; waits that were bound to it stay so."""
        if event.device is not None and event.device is not stream.device:
            raise DeviceError(
                f"event of device {event.device.index} recorded on a stream of device {stream.device.index}:"
                " the first record binds an event to its device"
            )
        if event.external and stream.capture is not None:
            return self.external("record", event, stream)
        operation = self.enqueue(stream, "record")
        event.device, event.captured = stream.device, operation
        return operation

    def wait(self, event: EventState, stream: StreamState) -> Operation | None:
        """Let the future work of `stream` wait for the latest capture. None, a no-op, where there is none."""
        stream.device.raise_error()
        if event.external and stream.capture is not None and event.device is not None:
            return self.external("wait", event, stream)
        if event.captured is None:
            return None
        return self.enqueue(stream, "wait", after=event.captured)

    def external(self, kind: str, event: EventState, stream: StreamState, after: Sequence[Operation] = ()) -> Operation:
        """A record of `event`, or a wait for it, as a node of the graph that is captured on `stream`."""
        operation = self.enqueue(stream, kind, after=after)
        assert operation.capture is not None
        operation.capture.external[operation] = (kind, event)
        event.device = event.device or stream.device
        return operation

    def end_capture(self, stream: StreamState, thread: HostThread) -> Graph:
        """The graph of the capture that began on `stream`."""
        last = stream.last
        return Graph(self.captures.end(stream, thread), last, self)

    def finish(self, operation: Operation, now: float) -> list[Operation]:
        """`operation` has run. Returns the operations that have become ready."""
        operation.finished_at = now
        del operation.stream.device.pending[operation]
        ready = []
        for dependent in operation.dependents:
            dependent.waits_for.discard(operation)
            if not dependent.waits_for:
                ready.append(dependent)
        # What is done is never looked at again: let go of it, so that memory stays bounded.
        operation.dependents.clear()
        operation.parts = operation.reads = operation.writes = operation.after = ()
        return ready

    def elapsed_ms(self, start: EventState, end: EventState, thread: HostThread) -> float:
        """Milliseconds between two records, as `cudaEventElapsedTime` has it, with torch's choice of errors."""
        if not (start.timing and end.timing):
            raise ValueError("both events must be made with timing enabled to compute the elapsed time")
        if start.captured is None or end.captured is None:
            raise ValueError("both events must be recorded before the elapsed time is computed")
        for event in (start, end):
            self.captures.check_event(event, thread)
        if start.captured.finished_at is None or end.captured.finished_at is None:
            raise RuntimeError("both events must be completed before the elapsed time is computed")
        return (end.captured.finished_at - start.captured.finished_at) * 1e3
