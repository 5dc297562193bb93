"""The same programs on a device, with torch's own calls: what a sanitizer has to see by itself.

`Performed` has the methods of `Trace`. Its threads are real ones. The main thread has them do their steps one by one,
in the order of the program, by bare locks that no sanitizer watches: they order nothing in its eyes.
"""

from __future__ import annotations

import _thread
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch

from cpugpu.sanitize import Event

_LONG = 20_000_000  # clock cycles, some 10 ms: the host gets to its next step while a stream is still at work


class NotExpressible(Exception):
    """Torch has no call that would do this."""


class Buffer:
    """A tensor that can be let go of."""

    def __init__(self, tensor: Any, made_on: Any = None) -> None:
        self.tensor = tensor
        self.made_on = made_on


class Worker:
    """A thread that does what it is given, one step at a time."""

    def __init__(self, name: str) -> None:
        self._step: Callable[[], None] | None = None
        self._error: BaseException | None = None
        self._go, self._done = _thread.allocate_lock(), _thread.allocate_lock()
        self._go.acquire()
        self._done.acquire()
        self.thread = threading.Thread(target=self._loop, name=name, daemon=True)
        self.thread.start()

    def do(self, step: Callable[[], None] | None) -> None:
        """Have it done. None ends the thread."""
        self._step = step
        self._go.release()
        self._done.acquire()
        if self._error is not None:
            raise self._error

    def _loop(self) -> None:
        while True:
            self._go.acquire()
            step = self._step
            try:
                if step is not None:
                    step()
            except BaseException as error:  # the main thread's to raise
                self._error = error
            self._done.release()
            if step is None or self._error is not None:
                return


class Performed:
    """The operations of a program, done."""

    def __init__(self) -> None:
        self.main: Worker | None = None
        self._streams: dict[tuple[int, int], Any] = {}
        self._events: dict[Event, Any] = {}
        self._workers: list[Worker] = []
        self._kept: list[Any] = []  # results: their memory goes to nobody else

    def end(self) -> None:
        """Wait for all threads and devices."""
        for worker in self._workers:
            worker.do(None)
        for index in range(torch.cuda.device_count()):
            torch.cuda.synchronize(index)

    # What there is

    def stream(self, handle: int, device: int = 0) -> Any:
        """A stream of a device; 0 is the default one."""
        if device >= torch.cuda.device_count():
            raise NotExpressible(f"there is no device {device}")
        found = self._streams.get((device, handle))
        if found is None:
            found = torch.cuda.default_stream(device) if handle == 0 else torch.cuda.Stream(device)
            self._streams[device, handle] = found
        return found

    def thread(self, name: str) -> Worker:
        """A thread that the main thread starts now."""
        worker = Worker(name)
        self._workers.append(worker)
        return worker

    def tensor(self, name: str, elements: int = 16, *, made_on: Any = None, host: bool = False) -> Buffer:  # noqa: ARG002
        """A tensor of floats."""
        if host:
            return Buffer(torch.empty(elements, pin_memory=True))
        made_on = made_on or self.stream(0)
        with torch.cuda.stream(made_on):
            return Buffer(torch.empty(elements, device="cuda"), made_on)

    def view(self, buffer: Buffer, offset: int, sizes: Sequence[int], strides: Sequence[int]) -> Buffer:
        """`tensor.as_strided(sizes, strides, offset)`."""
        return Buffer(buffer.tensor.as_strided(sizes, strides, offset), buffer.made_on)

    def reused(self, buffer: Buffer, name: str) -> Buffer:
        """The next tensor of that size, made on the same stream."""
        return self.tensor(name, made_on=buffer.made_on)

    # What is done

    def launch(
        self,
        stream: Any,
        *,
        reads: Sequence[Buffer] = (),
        writes: Sequence[Buffer] = (),
        by: Worker | None = None,
        what: str = "kernel",  # noqa: ARG002
    ) -> None:
        """Kernels."""
        if any(stream.device_index != each.tensor.get_device() for each in (*reads, *writes)):
            raise NotExpressible("torch launches an operation on a stream of its tensors' device")

        def launch() -> None:
            with torch.cuda.stream(stream):
                torch.cuda._sleep(_LONG)  # noqa: SLF001
                self._kept += [each.tensor.exp() for each in reads]
                for each in writes:
                    each.tensor.fill_(1)

        self._by(by, launch)

    def copy_to_host(self, stream: Any, source: Buffer, to: Buffer, *, blocking: bool = False) -> None:
        """`to.copy_(source, non_blocking=not blocking)` with pinned memory."""
        with torch.cuda.stream(stream):
            to.tensor.copy_(source.tensor, non_blocking=not blocking)

    def copy_to_device(self, stream: Any, source: Buffer, to: Buffer) -> None:
        """`to.copy_(source, non_blocking=True)` from pinned memory."""
        with torch.cuda.stream(stream):
            torch.cuda._sleep(_LONG)  # noqa: SLF001
            to.tensor.copy_(source.tensor, non_blocking=True)

    def item(self, stream: Any, buffer: Buffer) -> None:
        """`tensor[0].item()`."""
        with torch.cuda.stream(stream):
            buffer.tensor[0].item()

    def host_reads(self, buffer: Buffer, by: Worker | None = None) -> None:
        """`tensor.tolist()`."""
        self._by(by, buffer.tensor.tolist)

    def host_writes(self, buffer: Buffer, by: Worker | None = None) -> None:
        """`tensor.fill_(1)`."""
        self._by(by, lambda: buffer.tensor.fill_(1))

    def free(self, buffer: Buffer) -> None:
        """`del tensor`."""
        buffer.tensor = None

    def record_stream(self, buffer: Buffer, stream: Any) -> None:
        """`tensor.record_stream(stream)`."""
        buffer.tensor.record_stream(stream)

    def record(self, event: Event, stream: Any, by: Worker | None = None) -> None:
        """`event.record(stream)`."""
        self._by(by, lambda: self._event(event).record(stream))

    def wait(self, event: Event, stream: Any, by: Worker | None = None) -> None:
        """`stream.wait_event(event)`."""
        self._by(by, lambda: stream.wait_event(self._event(event)))

    def wait_stream(self, stream: Any, other: Any, by: Worker | None = None) -> None:
        """`stream.wait_stream(other)`."""
        self._by(by, lambda: stream.wait_stream(other))

    def synchronize_event(self, event: Event, by: Worker | None = None) -> None:
        """`event.synchronize()`."""
        self._by(by, lambda: self._event(event).synchronize())

    def query(self, event: Event, done: bool, by: Worker | None = None) -> None:
        """`event.query()`; until it says True, if that is what it said."""

        def query() -> None:
            while not self._event(event).query() and done:
                pass

        self._by(by, query)

    def synchronize_stream(self, stream: Any, by: Worker | None = None) -> None:
        """`stream.synchronize()`."""
        self._by(by, stream.synchronize)

    def synchronize_device(self, device: int = 0, by: Worker | None = None) -> None:
        """`torch.cuda.synchronize()`."""
        self._by(by, lambda: torch.cuda.synchronize(device))

    def hand_over(self, giver: Worker | None, taker: Worker | None, what: str = "queue.put") -> None:  # noqa: ARG002
        """`giver` puts something to a queue, and `taker` gets it."""
        items: queue.Queue[None] = queue.Queue()
        self._by(giver, lambda: items.put(None))
        self._by(taker, items.get)

    def _event(self, event: Event) -> Any:
        return self._events.setdefault(event, torch.cuda.Event())

    def _by(self, worker: Worker | None, step: Callable[[], object]) -> None:
        if worker is None:
            step()
        else:
            worker.do(lambda: (step(), None)[1])
