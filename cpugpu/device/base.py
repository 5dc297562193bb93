"""The seam: what the event, the rig and the runners need of a device, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol


class Stream(Protocol):
    """A queue of device work. The names and meanings are those of `torch.Stream`."""

    def query(self) -> bool:
        """Is all work that was submitted so far done?"""

    def synchronize(self) -> None:
        """Block the calling thread until all work submitted so far is done."""


class DeviceEvent(Protocol):
    """A device event. The names and meanings are those of `torch.Event`: a wait before any record is a no-op."""

    def record(self, stream: Any = None) -> None:
        """Capture what is in `stream` now; an earlier capture is overwritten."""

    def wait(self, stream: Any = None) -> None:
        """Let the future work of `stream` wait for the latest capture. Does not block the calling thread."""

    def query(self) -> bool:
        """Is the captured work done? True before the first record."""

    def synchronize(self) -> None:
        """Block the calling thread until the captured work is done. Returns at once before the first record."""


class Buffer(Protocol):
    """Integers in device memory, `size` of them. Only kernels touch them; `Device.read` brings them back."""

    @property
    def size(self) -> int:
        """How many integers."""


class Sight(NamedTuple):
    """What the instruments see when a thread calls a method of an event. Looking changes nothing.

    `stream` is the stream that the call is about, `device_index` its device, -1 if that is unknown. `current` is the
    calling thread's current stream on that device, `default` whether that is the default stream, `current_index` the
    thread's current device. `capture` identifies the graph capture that `stream` is in, 0 for none.
    """

    stream: Any
    device_index: int = 0
    current: Any = None
    default: bool = True
    current_index: int = 0
    capture: int = 0


class Device(Protocol):
    """One kind of device, or one device of that kind.

    Streams are `Any` here: each device takes its own (an accelerator takes torch's). A stream of another type is a
    `TypeError`, one of another device of the same type, where that is not allowed, a `ValueError`. None means the
    calling thread's current stream on this device.
    """

    @property
    def name(self) -> str:
        """What to call it, `"cuda:1"` for instance."""

    def describe(self) -> str:
        """One line for people: the name and what it is."""

    def each(self) -> Sequence[Device]:
        """The devices that this one stands for: with an index itself, else all of its kind, each with its index."""

    def stream(self, priority: int = 0) -> Stream:
        """A stream other than the default one. Lower numbers are higher priorities, a hint."""

    def current_stream(self) -> Stream:
        """The calling thread's current stream."""

    def use(self, stream: Any) -> AbstractContextManager[None]:
        """Make `stream` the calling thread's current stream for the length of a `with` block."""

    def event(self, *, timing: bool = False) -> DeviceEvent:
        """A new device event; with `timing`, one that has `elapsed_time` where the device can measure time."""

    def sight(self, stream: Any) -> Sight:
        """What the calling thread is about to do with `stream`, for the instruments. Raises for what is no stream.

        A device on which that is always the same for None may have it as `only_sight`, to spare the look.
        """

    def check(self, stream: Any) -> None:
        """Raise `TypeError` or `ValueError` for a stream whose work an event of this device cannot order."""

    def record(self, stream: Any, spare: DeviceEvent | None) -> DeviceEvent:
        """Record on `stream` and return the event that holds the record.

        `spare` is an event whose last record has been waited for, or None. It is re-recorded where that is sound and
        replaced by a new event where it is not: the device knows, its callers need not.
        """

    def wait(self, event: DeviceEvent, stream: Any) -> None:
        """Order the future work of `stream` after `event`, which `record` returned."""

    def launch(
        self, stream: Any, kernel: Callable[..., None], reads: Sequence[Any] = (), writes: Sequence[Any] = ()
    ) -> None:
        """Run `kernel(*reads, *writes)` in stream order; it gets the contents of the buffers, indexable and mutable."""

    def delay(self, stream: Any, seconds: float) -> None:
        """Keep `stream` busy for about `seconds`."""

    def buffer(self, value: int, size: int = 1) -> Any:
        """A buffer of `size` integers that hold `value` already, for every stream to see."""

    def fill(self, target: Any, value: int, stream: Any) -> None:
        """In stream order: set each element of `target`."""

    def copy(self, source: Any, target: Any, stream: Any) -> None:
        """In stream order: copy `source` to `target`, element by element."""

    def add(self, target: Any, value: int, stream: Any) -> None:
        """In stream order: add `value` to each element of `target`."""

    def mismatches(self, source: Any, value: int, into: Any, stream: Any) -> None:
        """In stream order: add to `into[0]` how many elements of `source` differ from `value`."""

    def read(self, source: Any) -> tuple[int, ...]:
        """The contents of `source` as they are now. Synchronise first."""

    def synchronize(self, timeout: float | None = None) -> bool:
        """Block until the device is idle. False if that took longer than `timeout` seconds."""


def check_sizes(source: Buffer, target: Buffer) -> None:
    """`ValueError` unless one can be copied to the other."""
    if source.size != target.size:
        raise ValueError(f"copy from a buffer of size {source.size} to one of size {target.size}: sizes must agree")
