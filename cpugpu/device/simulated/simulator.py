"""A machine with its driver, and the state that CUDA's runtime keeps a thread: current device, current streams."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol, TypeVar

from cpugpu.device.capture import queries_are_allowed
from cpugpu.device.simulated.capture import HostThread
from cpugpu.device.simulated.model import EventState, Machine, Operation, StreamState
from cpugpu.device.simulated.objects import SimStream
from cpugpu.device.simulated.realtime import Latency, RealTime, heavy_tail
from cpugpu.errors import DeviceError

_T = TypeVar("_T")

#: torch hands out the streams of a pool in turn, so the 33rd is the 1st again (c10/cuda/CUDAStream.cpp).
POOL = 32


class Driver(Protocol):
    """Runs a machine: in real time, or step by step. Used as a context manager for exclusive access to the machine."""

    #: Does it decide whose turn it is?
    scheduled: bool
    #: Above 0, where threads take turns: the calling thread keeps its turn.
    uninterrupted: int

    def made(self, thing: Any) -> None:
        """Take note of a new stream, event, or piece of memory."""

    def step(self, label: str, reads: Iterable[object] = (), writes: Iterable[object] = ()) -> None:
        """The calling thread is about to do what other threads and streams can see. Comes back when it is its turn."""

    def keep(self, state: Any) -> None:
        """Where threads take turns: `state.take()` and `state.put()` are called when they do, for each its own."""

    def touch(self, reads: Iterable[object] = (), writes: Iterable[object] = ()) -> None:
        """What the calling thread is doing sees or changes these as well."""

    def asked(self, operations: Iterable[Operation]) -> None:
        """What the calling thread is doing depends on whether these are done."""

    def turn(
        self, call: str, stream: StreamState | None = None, event: EventState | None = None
    ) -> AbstractContextManager[Machine]:
        """Called by a thread that is about to make `call`, without exclusive access; comes back when it is its turn.

        What is returned gives exclusive access. In real time it is always everybody's turn.
        """

    def __enter__(self) -> Machine: ...

    def __exit__(self, *exc_info: object) -> None: ...

    def started(self, operation: Operation | None) -> None:
        """Take note of an operation that was just enqueued (None: of nothing). To be called with exclusive access."""

    def looked_at_captures(self, *, changed: bool) -> None:
        """Take note that the calling thread has looked at the graph captures under way, or has changed them."""

    def block(self, operations: Iterable[Operation | None], timeout: float | None = None) -> bool:
        """Block the caller until all are done; without exclusive access. False if `timeout` seconds were not enough."""


class Simulator:
    """A machine with simulated devices, and the thread-local state that CUDA's runtime keeps about them.

    `devices`: how many. `seed` and `latency`: every operation is late by what `latency(random.Random)` draws. `pool`:
    after so many streams of one priority a device hands out the first one again, as torch does; None for a new stream
    each time. `driver` replaces the real-time driver.
    """

    def __init__(
        self,
        devices: int = 1,
        *,
        seed: int = 0,
        latency: Latency = heavy_tail,
        pool: int | None = POOL,
        driver: Callable[[Machine], Driver] | None = None,
    ) -> None:
        self._options: dict[str, Any] = {"latency": latency, "pool": pool, "driver": driver}
        machine = Machine(devices)
        self.states = machine.devices
        #: After so many streams of one priority a device hands out the first one again.
        self.pool_size = pool
        self._pools: dict[tuple[int, int], tuple[list[SimStream], list[int]]] = {}
        self._local = threading.local()
        #: Has any thread ever had another current stream than the default one?
        self.switched = False
        self.driver: Driver = driver(machine) if driver else RealTime(machine, seed=seed, latency=latency)
        self._defaults = [self._new(state.default) for state in self.states]

    def anew(self, seed: int) -> Simulator:
        """Another simulator like this one, with nothing queued, no error, and latencies from `seed`."""
        return Simulator(self.device_count, seed=seed, **self._options)

    @property
    def device_count(self) -> int:
        """How many devices."""
        return len(self.states)

    def check_index(self, index: int) -> None:
        """`ValueError` for a device that is not there."""
        if not 0 <= index < self.device_count:
            raise ValueError(f"device 'sim:{index}' was asked for and there are {self.device_count}, from 'sim:0'")

    @property
    def current_index(self) -> int:
        """The calling thread's current device. A new thread starts on 0."""
        return getattr(self._local, "index", 0)

    def set_current_index(self, index: int) -> None:
        """Choose the calling thread's current device."""
        self.check_index(index)
        self._local.index = index

    def default_stream(self, index: int) -> SimStream:
        """The legacy default stream of a device."""
        return self._defaults[index]

    def current_stream(self, index: int) -> SimStream:
        """The calling thread's current stream of a device. A new thread starts on the default stream."""
        return self._streams().get(index) or self._defaults[index]

    @contextmanager
    def use(self, stream: SimStream) -> Iterator[None]:
        """Make `stream` and its device the calling thread's current ones; restore both afterwards."""
        streams, index, device = self._streams(), stream.device_index, self.current_index
        before = streams.get(index)
        streams[index], self._local.index = stream, index
        self.switched = True
        try:
            yield
        finally:
            self._local.index = device
            if before is None:
                del streams[index]
            else:
                streams[index] = before

    def set_current(self, stream: SimStream) -> None:
        """Make `stream` and its device the calling thread's current ones, until something else is said."""
        self._streams()[stream.device_index] = stream
        self.switched = True
        self._local.index = stream.device_index

    def stream(self, index: int, *, priority: int = 0, blocking: bool = False) -> SimStream:
        """A stream: from the pool, unless it is to be blocking (torch's own never are)."""
        with self.driver as machine:
            if blocking or self.pool_size is None:
                return self._new(machine.stream(self.states[index], blocking=blocking, priority=priority))
            streams, turn = self._pools.setdefault((index, priority), ([], [0]))
            if len(streams) < self.pool_size:
                streams.append(self._new(machine.stream(self.states[index], priority=priority)))
            turn[0] += 1
            return streams[(turn[0] - 1) % self.pool_size]

    def _new(self, state: StreamState) -> SimStream:
        self.driver.made(state)
        return SimStream(self, state)

    def synchronize(self, index: int, timeout: float | None = None) -> bool:
        """Block until everything that was submitted to a device so far is done. False if `timeout` was not enough."""
        state = self.states[index]
        with self.driver.turn("synchronize with the device") as machine:
            self.ask(lambda _: machine.captures.check_device(state))
            pending = list(state.pending)
        done = self.driver.block(pending, timeout)
        state.raise_error()
        return done

    @property
    def thread(self) -> HostThread:
        """The calling thread, as the rules of graph capture know it."""
        thread: HostThread | None = getattr(self._local, "thread", None)
        if thread is None:
            thread = self._local.thread = HostThread()
        thread.relaxed = queries_are_allowed()
        return thread

    def ask(self, call: Callable[[HostThread], _T], *, changes: bool = False) -> _T:
        """`call` looks at the captures under way, and may find itself refused; `changes`: it begins or ends one.

        To be called with exclusive access.
        """
        try:
            return call(self.thread)
        except DeviceError:
            changes = True
            raise
        finally:
            self.driver.looked_at_captures(changed=changes)

    def watch(self, operations: deque[Operation] | None) -> None:
        """From now on, append every operation that is enqueued to `operations`; None ends it."""
        with self.driver as machine:
            machine.watcher = operations

    def pending(self) -> list[str]:
        """What has not run yet, oldest first, and what each operation waits for. For reports."""
        with self.driver:
            return [
                f"{operation} waits for {', '.join(map(repr, operation.waits_for)) or 'its turn'}"
                for state in self.states
                for operation in state.pending
            ]

    def _streams(self) -> dict[int, SimStream]:
        streams: dict[int, SimStream] | None = getattr(self._local, "streams", None)
        if streams is None:
            streams = self._local.streams = {}
        return streams
