"""A simulation: the simulated machine, its memory, and what a thread does with both."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from cpugpu.device.simulated import Simulator
from cpugpu.device.simulated.model import Operation, StreamState
from cpugpu.errors import SimulationOver
from cpugpu.simulate.memory import Allocator, Block, GraphPool, Layout

#: What a simulated device has, in bytes. Memory that is used is really used, so this is only a limit.
MEMORY_BYTES = 16 << 30

Kernel = Callable[[], object]


class NotYet(Exception):
    """Under the explorer, where nobody can be waited for: first let `stream` do what it holds, then come again."""

    def __init__(self, stream: StreamState) -> None:
        super().__init__(f"{stream} has something left to do")
        self.stream = stream


class Runtime:
    """What tensors, streams and functions of one `simulate()` block share."""

    def __init__(self, simulator: Simulator, kernels: Mapping[Any, Any]) -> None:
        self.simulator = simulator
        self.driver = simulator.driver
        self.scheduled = self.driver.scheduled
        self.kernels = kernels
        self.over = False
        self.forked = False  # is this a child of the process that it belongs to?
        #: The classes of tensors, where they are not the usual ones.
        self.tensor_class: Any = None
        self.pinned_class: Any = None
        self.local = threading.local()  # the logical thread's, under the explorer
        self.graph_pools: dict[tuple[int, int], GraphPool] = {}
        self._kept: list[object] = []
        self._uninterrupted = 0
        self.allocators = [Allocator(self, index, MEMORY_BYTES) for index in range(simulator.device_count)]

    def check(self) -> None:
        """`SimulationOver` once the block has ended; in a forked child the error that CUDA gives."""
        if self.forked:
            raise RuntimeError(
                "Cannot re-initialize CUDA in forked subprocess. To use CUDA with multiprocessing, you must use the"
                " 'spawn' start method (a simulated device, too, belongs to the process that has made it)"
            )
        if self.over:
            raise SimulationOver(
                "this tensor, stream or event belongs to a simulated device that is gone, for its simulate() block has"
                " ended; take what you need out of the block with .cpu()"
            )

    def keep(self, thing: object) -> None:
        """Until the end: C code may have a handle of it."""
        self._kept.append(thing)

    def end(self) -> None:
        """The block ends: let the devices finish what they have, then nothing works any more."""
        if not self.scheduled and not self.forked:
            for state in self.simulator.states:
                self.driver.block(list(state.pending))
        self.over = True

    def in_child(self) -> None:
        """The process is a fork: the workers are gone, and CUDA would refuse everything."""
        self.forked = self.over = True

    # -- for the threads of the program ------------------------------------------------------------------------------

    def current(self, index: int) -> StreamState:
        """The stream on which the calling thread's next operation goes."""
        simulator = self.simulator
        return simulator.current_stream(index).state if simulator.switched else simulator.states[index].default

    def allocate(self, layout: Layout, index: int, stream: StreamState) -> tuple[Block, torch.Tensor]:
        """Memory of a device, from the pool of a stream; while that is captured, from the graph's."""
        capture = stream.capture
        pool = capture.pool.share(stream) if capture is not None and isinstance(capture.pool, GraphPool) else stream
        return self.allocators[index].allocate(layout, pool)

    def launch(
        self,
        stream: StreamState,
        label: str,
        kernel: Kernel,
        reads: Sequence[object] = (),
        writes: Sequence[object] = (),
    ) -> Operation:
        """Enqueue. Nothing waits, nobody else comes between: whoever calls has seen to its turn."""
        with self.driver as machine:
            operation = machine.enqueue(stream, label, (kernel,), reads=reads, writes=writes)
            self.driver.started(operation)
        self.touch(stream)
        return operation

    def wait_for(self, stream: StreamState, operation: Operation) -> None:
        """Let the future work of `stream` wait for `operation`."""
        with self.driver as machine:
            self.driver.started(machine.enqueue(stream, "wait", after=operation))
        self.touch(stream)

    def run(
        self,
        stream: StreamState,
        label: str,
        kernel: Kernel,
        reads: Sequence[object] = (),
        writes: Sequence[object] = (),
    ) -> None:
        """Enqueue, and block until it is done. Under the explorer nobody can come between here, so what is to be
        waited for has to be done already: `NotYet` asks for that.
        """
        self.check_wait(stream)
        if not self._uninterrupted:
            self.finish(self.launch(stream, label, kernel, reads, writes))
            return
        self.touch(stream)
        if not stream.idle:
            raise NotYet(stream)
        stream.device.raise_error()
        self.driver.touch(reads, writes)
        kernel()

    def check_wait(self, stream: StreamState) -> None:
        """The host is about to wait for `stream`: `DeviceError` where a graph capture forbids it."""
        with self.driver as machine:
            if machine.captures.active:
                self.simulator.ask(lambda thread: machine.captures.check_stream(stream, thread))

    def finish(self, operation: Operation) -> None:
        """Block until it is done; raises what the device is stuck in."""
        self.driver.block([operation])
        operation.stream.device.raise_error()

    def step(self, label: str, reads: Sequence[object] = (), writes: Sequence[object] = ()) -> None:
        """The calling thread is about to do something that others see. Under the explorer others may come first."""
        if self.scheduled and not self._uninterrupted:
            self.driver.step(label, reads, writes)

    @contextmanager
    def uninterrupted(self) -> Iterator[None]:
        """Under the explorer: nobody else comes between."""
        self._uninterrupted += 1
        if self.scheduled:
            self.driver.uninterrupted += 1
        try:
            yield
        finally:
            self._uninterrupted -= 1
            if self.scheduled:
                self.driver.uninterrupted -= 1

    def touch(self, thing: object) -> None:
        """What is under way touches this as well."""
        if self.scheduled:
            self.driver.touch(writes=(thing,))

    def asked(self, operations: Sequence[Operation]) -> None:
        """What is under way depends on whether these are done."""
        if self.scheduled and operations:
            self.driver.asked(operations)

    def made(self, thing: Any) -> None:
        """Take note of new memory."""
        self.driver.made(thing)
