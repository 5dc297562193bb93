"""No device at all: the hand-off orders CPU threads.

What a machine without an accelerator gets in production, so that code which hands work over stays portable. Work that
is launched runs at once in the calling thread, so a device event has nothing left to order.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from cpugpu.device.base import DeviceEvent, Sight, check_sizes


class HostStream:
    """The one stream of the host: the calling thread itself."""

    def query(self) -> bool:
        """True: work is done when it has been launched."""
        return True

    def synchronize(self) -> None:
        """Return at once."""

    def __repr__(self) -> str:
        return "<HostStream>"


HOST_STREAM = HostStream()


class HostEvent:
    """A device event where there is no device: it checks its arguments and orders nothing."""

    __slots__ = ()

    def record(self, stream: Any = None) -> None:
        """Nothing to capture: work is done when it has been launched."""
        if stream is not None:
            _check(stream)

    def wait(self, stream: Any = None) -> None:
        """Nothing to wait for."""
        if stream is not None:
            _check(stream)

    def query(self) -> bool:
        """True."""
        return True

    def synchronize(self) -> None:
        """Return at once."""


_HOST_EVENT = HostEvent()


class HostBuffer:
    """Integers in host memory."""

    def __init__(self, value: int, size: int) -> None:
        self.data = array("q", [value]) * size

    @property
    def size(self) -> int:
        """How many integers."""
        return len(self.data)


class HostDevice:
    """The device of a machine without one. Stateless: every instance is as good as another."""

    name = "host"
    only_sight: Sight | None = Sight(HOST_STREAM, current=HOST_STREAM)

    def describe(self) -> str:
        """One line for people."""
        return "host (no device: the hand-off orders CPU threads)"

    def each(self) -> Sequence[HostDevice]:
        """There is one host."""
        return [self]

    def stream(self, priority: int = 0) -> HostStream:  # noqa: ARG002
        """The one stream there is."""
        return HOST_STREAM

    def current_stream(self) -> HostStream:
        """The one stream there is."""
        return HOST_STREAM

    @contextmanager
    def use(self, stream: Any) -> Iterator[None]:
        """Nothing changes: there is one stream."""
        _check(stream)
        yield

    def event(self, *, timing: bool = False) -> HostEvent:  # noqa: ARG002
        """A device event that orders nothing, and whose time nobody can measure."""
        return HostEvent()

    def sight(self, stream: Any) -> Sight:
        """One stream, one device, no capture."""
        if stream is not None:
            _check(stream)
        return Sight(HOST_STREAM, current=HOST_STREAM)

    def check(self, stream: Any) -> None:
        """Raise for what is no stream of the host."""
        _check(stream)

    def record(self, stream: Any, spare: DeviceEvent | None) -> HostEvent:  # noqa: ARG002
        """One event serves everybody, for it holds nothing."""
        if stream is not None:
            _check(stream)
        return _HOST_EVENT

    def wait(self, event: DeviceEvent, stream: Any) -> None:  # noqa: ARG002
        """Nothing to wait for."""
        if stream is not None:
            _check(stream)

    def launch(
        self,
        stream: Any,
        kernel: Callable[..., None],
        reads: Sequence[HostBuffer] = (),
        writes: Sequence[HostBuffer] = (),
    ) -> None:
        """Run the kernel now, in this thread."""
        _check(stream)
        kernel(*(buffer.data for buffer in (*reads, *writes)))

    def delay(self, stream: Any, seconds: float) -> None:  # noqa: ARG002
        """Nothing is queued, so nothing can be late."""
        _check(stream)

    def buffer(self, value: int, size: int = 1) -> HostBuffer:
        """A buffer in host memory."""
        return HostBuffer(value, size)

    def fill(self, target: HostBuffer, value: int, stream: Any) -> None:
        """Set each element, now."""
        _check(stream)
        target.data[:] = array("q", [value]) * target.size

    def copy(self, source: HostBuffer, target: HostBuffer, stream: Any) -> None:
        """Copy, now."""
        _check(stream)
        check_sizes(source, target)
        target.data[:] = source.data

    def add(self, target: HostBuffer, value: int, stream: Any) -> None:
        """Add, now."""
        _check(stream)
        target.data[:] = array("q", [element + value for element in target.data])

    def mismatches(self, source: HostBuffer, value: int, into: HostBuffer, stream: Any) -> None:
        """Count, now."""
        _check(stream)
        into.data[0] += source.size - source.data.count(value)

    def read(self, source: HostBuffer) -> tuple[int, ...]:
        """The contents."""
        return tuple(source.data)

    def synchronize(self, timeout: float | None = None) -> bool:  # noqa: ARG002
        """True: nothing is ever queued."""
        return True


def _check(stream: Any) -> None:
    """Portable code passes None, our own stream or torch's stand-in for one on a CPU; anything else is a mistake."""
    if stream is None or isinstance(stream, HostStream):
        return
    torch = sys.modules.get("torch")
    if torch is not None:
        if isinstance(stream, torch.cpu.Stream):
            return
        if isinstance(stream, torch.Stream):
            if stream.device.type == "cpu":
                return
            raise ValueError(
                f"a stream of {stream.device} was given to an event of the host: make the event on that device"
            )
    raise TypeError(f"{stream!r} is no stream of the host; allowed are None, HostStream and torch.cpu.Stream")
