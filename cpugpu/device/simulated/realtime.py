"""The real-time driver: a worker thread a stream, each operation late by a random amount.

Nothing here orders anything: an operation runs when the machine says that it is ready. What the driver adds is time,
and that CPU threads can block.
"""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable, Iterable

from cpugpu.device.simulated.latency import HeavyTail
from cpugpu.device.simulated.model import Machine, Operation, StreamState

#: A worker that has had nothing to do for so long ends; the next operation of its stream starts another.
_IDLE_SECONDS = 5.0

Latency = Callable[[random.Random], Callable[[], float]]


def heavy_tail(rng: random.Random) -> Callable[[], float]:
    """The default latency: see `HeavyTail`. The longest is 10 ms, for a stream has many operations."""
    return HeavyTail(rng, longest=1e-2).draw


def no_latency(rng: random.Random) -> Callable[[], float]:  # noqa: ARG001
    """Every operation runs as soon as its worker gets to it."""
    return lambda: 0.0


class RealTime:
    """Runs a machine in real time. Use it as a context manager for exclusive access to the machine."""

    scheduled = False
    uninterrupted = 0

    def __init__(self, machine: Machine, *, seed: int = 0, latency: Latency = heavy_tail) -> None:
        self.machine = machine
        self._seed = seed
        self._latency = latency
        self._lock = threading.Lock()
        self._workers: dict[StreamState, _Worker] = {}

    def __enter__(self) -> Machine:
        self._lock.acquire()
        return self.machine

    def __exit__(self, *exc_info: object) -> None:
        self._lock.release()

    def made(self, thing: object) -> None:
        """Nothing to note."""

    def step(self, label: str, reads: object = (), writes: object = ()) -> None:
        """It is always everybody's turn."""

    def keep(self, state: object) -> None:
        """Threads have state of their own here."""

    def touch(self, reads: object = (), writes: object = ()) -> None:
        """Nothing to note."""

    def asked(self, operations: object) -> None:
        """Nothing to note."""

    def turn(self, call: str, stream: object = None, event: object = None) -> RealTime:  # noqa: ARG002
        """It is always everybody's turn."""
        return self

    def started(self, operation: Operation | None) -> None:
        """Take note of an operation that was just enqueued. To be called with exclusive access."""
        if operation is not None and not operation.waits_for and operation.capture is None:
            self._start([operation])

    def looked_at_captures(self, *, changed: bool) -> None:
        """Nothing to note."""

    def block(self, operations: Iterable[Operation | None], timeout: float | None = None) -> bool:
        """Block the calling thread until all `operations` are done. False if `timeout` seconds were not enough."""
        deadline = None if timeout is None else time.monotonic() + timeout
        for operation in operations:
            gate = threading.Lock()
            gate.acquire()
            with self._lock:
                if operation is None or operation.done:
                    continue
                operation.waiters.append(gate.release)
            remaining = -1.0 if deadline is None else min(max(0.0, deadline - time.monotonic()), threading.TIMEOUT_MAX)
            if not gate.acquire(timeout=remaining):
                with self._lock:
                    if not operation.done:
                        operation.waiters.remove(gate.release)
                return False
        return True

    def _start(self, ready: Iterable[Operation]) -> None:
        for operation in ready:
            worker = self._workers.get(operation.stream)
            if worker is None:
                rng = random.Random(f"{self._seed}/{operation.stream.name}")
                worker = self._workers[operation.stream] = _Worker(operation.stream, self._latency(rng))
            worker.inbox.put(operation)
            if not worker.alive:
                threading.Thread(target=self._work, args=(worker,), name=f"sim {operation.stream}", daemon=True).start()
                worker.alive = True

    def _work(self, worker: _Worker) -> None:
        while True:
            try:
                operation: Operation | None = worker.inbox.get(timeout=_IDLE_SECONDS)
            except queue.Empty:
                with self._lock:
                    if worker.inbox.empty():
                        del self._workers[worker.stream]
                        return
                continue
            while operation is not None:
                operation = self._run(operation, worker.latency)

    def _run(self, operation: Operation, latency: Callable[[], float]) -> Operation | None:
        """Run one operation. Returns the next one of the same stream if that is ready now."""
        device = operation.stream.device
        operation.started_at = time.perf_counter()
        if device.error is None:
            try:
                delay = latency()
                if delay:
                    time.sleep(delay)
                for number, part in enumerate(operation.parts):
                    if number:
                        time.sleep(0)  # another stream may come between two parts of a kernel
                    part()
            except BaseException as error:
                device.error = error
        with self._lock:
            ready = self.machine.finish(operation, time.perf_counter())
            mine = next((other for other in ready if other.stream is operation.stream), None)
            self._start(other for other in ready if other is not mine)
            waiters, operation.waiters = operation.waiters, []
        for wake in waiters:
            wake()
        return mine


class _Worker:
    """The thread of one stream. A stream has at most one ready operation at a time."""

    def __init__(self, stream: StreamState, latency: Callable[[], float]) -> None:
        self.stream = stream
        self.latency = latency
        self.inbox: queue.SimpleQueue[Operation] = queue.SimpleQueue()
        self.alive = False
