"""A tiny program's operations, for two sanitizers at once: ours, and torch's CSAN (`torch.cuda._sanitizer`).

CSAN is told what it would be told on a GPU, in the order in which it would be told (read in torch 2.13):

* its dispatch mode is in one thread only: of launches from other threads it sees nothing. An operation is told *after*
  it has run, so `.item()` tells of the synchronisation first and of the read then;
* events, streams, synchronisation and memory come by hooks of the C++ side, from every thread. An event is made at its
  first record, so that a wait for one that nobody has recorded tells nothing; neither does a query;
* it knows a tensor by its first byte's address, and a stream by its handle;
* `record_stream` and accesses of the host it does not see.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from cpugpu.sanitize import Actor, Event, Model, Region, Storage, Sync, here, region


@dataclass(eq=False)
class Tensor:
    """Some bytes of a storage. `address`: of the first one."""

    storage: Storage
    bytes: Region
    address: int
    base: Tensor | None = None


@dataclass
class Verdicts:
    """What the two have found: our rules, and the number of CSAN's errors."""

    ours: list[str] = field(default_factory=list)
    csan: int = 0


def _csan() -> object:
    from torch.cuda._sanitizer import EventHandler

    return EventHandler()


class _Nobody:
    """Where torch is not wanted."""

    def __getattr__(self, name: str) -> Callable[..., tuple[()]]:
        return lambda *_: ()


class Trace:
    """The operations, as methods. Places are the lines of the program that calls them. `csan`: tell it too."""

    def __init__(self, *, csan: bool = True) -> None:
        self.model = Model()
        self.csan_errors = 0
        self._csan: Any = _csan() if csan else _Nobody()
        self.main = self.model.thread("MainThread")
        self._next_address = 0x7F0000000000
        self._recorded: dict[Event, int] = {}

    # What there is

    def stream(self, handle: int, device: int = 0) -> Actor:
        """A stream of a device; 0 is the default one."""
        if handle and (f"cuda:{device}", handle) not in self.model.actors.streams:
            self._csan._handle_stream_creation(handle)  # noqa: SLF001
        return self.model.stream(f"cuda:{device}", handle)

    def thread(self, name: str) -> Actor:
        """A thread that the main thread starts now."""
        return self.model.thread(name, self.main, here(2))

    def tensor(self, name: str, elements: int = 16, *, made_on: Actor | None = None, host: bool = False) -> Tensor:
        """A tensor of floats in memory of its own. Made on the default stream where no other is given."""
        storage = Storage(name, host=host, size=elements * 4)
        address = self._next_address
        self._next_address += 1 << 20
        if not host:
            self.model.alloc(storage, made_on or self.stream(0))
            self._csan._handle_memory_allocation(address)  # noqa: SLF001
        return Tensor(storage, (0, elements * 4), address)

    def view(self, tensor: Tensor, offset: int, sizes: Sequence[int], strides: Sequence[int]) -> Tensor:
        """`tensor.as_strided(sizes, strides, offset)`."""
        found = region(offset, sizes, strides, 4)
        assert found is not None
        return Tensor(tensor.storage, found, tensor.address + offset * 4, tensor)

    def reused(self, tensor: Tensor, name: str) -> Tensor:
        """The next tensor of that size, made on the same stream: it gets the same memory."""
        assert tensor.storage.stream is not None
        storage = Storage(name, size=tensor.storage.size)
        self.model.alloc(storage, tensor.storage.stream)
        self._csan._handle_memory_allocation(tensor.address)  # noqa: SLF001
        return Tensor(storage, tensor.bytes, tensor.address)

    # What is done

    def launch(
        self,
        stream: Actor,
        *,
        reads: Sequence[Tensor] = (),
        writes: Sequence[Tensor] = (),
        by: Actor | None = None,
        what: str = "kernel",
    ) -> None:
        """A kernel."""
        self._ours(stream, reads, writes, by, what)
        self._told(stream, reads, writes, by, what)

    def copy_to_host(self, stream: Actor, source: Tensor, to: Tensor, *, blocking: bool = False) -> None:
        """`to.copy_(source, non_blocking=not blocking)` with pinned memory."""
        self._ours(stream, [source], [to], None, "copy_")
        if blocking:
            self.synchronize_stream(stream)
        self._told(stream, [source], [], None, "copy_")

    def copy_to_device(self, stream: Actor, source: Tensor, to: Tensor) -> None:
        """`to.copy_(source, non_blocking=True)` from pinned memory."""
        self._ours(stream, [source], [to], None, "copy_")
        self._told(stream, [], [to], None, "copy_")

    def item(self, stream: Actor, tensor: Tensor) -> None:
        """`tensor.item()`."""
        self._ours(stream, [tensor], [], None, "item")
        self.synchronize_stream(stream)
        self._told(stream, [tensor], [], None, "item")

    def host_reads(self, tensor: Tensor, by: Actor | None = None) -> None:
        """`tensor.tolist()`."""
        self.model.host_access(by or self.main, [(tensor.storage, tensor.bytes, False)], "tolist", here(2))

    def host_writes(self, tensor: Tensor, by: Actor | None = None) -> None:
        """`tensor.fill_(1)`."""
        self.model.host_access(by or self.main, [(tensor.storage, tensor.bytes, True)], "fill_", here(2))

    def free(self, tensor: Tensor) -> None:
        """`del tensor`."""
        self.model.free(self.main, tensor.storage, here(2))
        self._csan._handle_memory_deallocation(tensor.address)  # noqa: SLF001

    def record_stream(self, tensor: Tensor, stream: Actor) -> None:
        """`tensor.record_stream(stream)`."""
        self.model.record_stream(tensor.storage, stream)

    def record(self, event: Event, stream: Actor, by: Actor | None = None) -> None:
        """`event.record(stream)`."""
        self.model.record(by or self.main, event, stream, here(2))
        if event not in self._recorded:
            self._recorded[event] = event.number
            self._csan._handle_event_creation(event.number)  # noqa: SLF001
        self._csan._handle_event_record(event.number, stream.handle)  # noqa: SLF001

    def wait(self, event: Event, stream: Actor, by: Actor | None = None) -> None:
        """`stream.wait_event(event)`."""
        self.model.wait(by or self.main, event, stream, here(2))
        if event in self._recorded:
            self._csan._handle_event_wait(event.number, stream.handle)  # noqa: SLF001

    def wait_stream(self, stream: Actor, other: Actor, by: Actor | None = None) -> None:
        """`stream.wait_stream(other)`: a new event, recorded and waited for."""
        event = Event()
        self.record(event, other, by)
        self.wait(event, stream, by)

    def synchronize_event(self, event: Event, by: Actor | None = None) -> None:
        """`event.synchronize()`."""
        self.model.synchronize_event(by or self.main, event, here(2))
        if event in self._recorded:
            self._csan._handle_event_synchronization(event.number)  # noqa: SLF001

    def query(self, event: Event, done: bool, by: Actor | None = None) -> None:
        """`event.query()`, and what it said."""
        self.model.query_event(by or self.main, event, done, here(2))

    def synchronize_stream(self, stream: Actor, by: Actor | None = None) -> None:
        """`stream.synchronize()`."""
        self.model.synchronize_stream(by or self.main, stream, here(2))
        self._csan._handle_stream_synchronization(stream.handle)  # noqa: SLF001

    def synchronize_device(self, device: int = 0, by: Actor | None = None) -> None:
        """`torch.cuda.synchronize()`."""
        self.model.synchronize_device(by or self.main, f"cuda:{device}", here(2))
        self._csan._handle_device_synchronization()  # noqa: SLF001

    def hand_over(self, giver: Actor, taker: Actor, what: str = "queue.put") -> None:
        """`giver` puts something to a queue, and `taker` gets it."""
        item = Sync(what)
        self.model.release(giver, item, what, here(2))
        self.model.acquire(taker, item)

    def verdicts(self) -> Verdicts:
        """What both have found so far."""
        return Verdicts([finding.rule for finding in self.model.findings], self.csan_errors)

    def _ours(
        self, stream: Actor, reads: Sequence[Tensor], writes: Sequence[Tensor], by: Actor | None, what: str
    ) -> None:
        accesses = [(each.storage, each.bytes, False) for each in reads]
        accesses += [(each.storage, each.bytes, True) for each in writes]
        self.model.launch(by or self.main, stream, accesses, what, here(3))

    def _told(
        self, stream: Actor, reads: Sequence[Tensor], writes: Sequence[Tensor], by: Actor | None, what: str
    ) -> None:
        if by is not None and by is not self.main:
            return  # no dispatch mode there
        written = {each.address for each in writes}
        read = {each.address for each in reads} - written
        aliases: dict[int, list[str]] = {address: [] for address in read | written}
        self.csan_errors += len(
            self._csan._handle_kernel_launch(stream.handle, read, written, set(), what, aliases)  # noqa: SLF001
        )
