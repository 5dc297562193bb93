"""The simulated device behind the seam that the event, the rig and the runners use."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from cpugpu.device.base import DeviceEvent, Sight, check_sizes
from cpugpu.device.simulated.objects import SimBuffer, SimEvent, SimStream, check_stream
from cpugpu.device.simulated.simulator import Simulator


class SimulatedDevice:
    """A device of a simulator; with `index` None, whichever is the calling thread's current one at each call."""

    def __init__(self, simulator: Simulator, index: int | None = None) -> None:
        if index is not None:
            simulator.check_index(index)
        self.simulator = simulator
        self.index = index

    @property
    def name(self) -> str:
        """`"sim"`, or `"sim:1"` for a certain device."""
        return "sim" if self.index is None else f"sim:{self.index}"

    def describe(self) -> str:
        """One line for people."""
        return f"{self.name} (simulated: CUDA's stream and event semantics on the CPU)"

    def each(self) -> Sequence[SimulatedDevice]:
        """With an index itself, else all devices of the simulator."""
        if self.index is not None:
            return [self]
        return [SimulatedDevice(self.simulator, index) for index in range(self.simulator.device_count)]

    def stream(self, priority: int = 0, *, blocking: bool = False) -> SimStream:
        """A stream. A blocking one synchronises with the legacy default stream; torch's own never do."""
        return self.simulator.stream(self._index(), priority=priority, blocking=blocking)

    def default_stream(self) -> SimStream:
        """The legacy default stream."""
        return self.simulator.default_stream(self._index())

    def current_stream(self) -> SimStream:
        """The calling thread's current stream."""
        return self.simulator.current_stream(self._index())

    def use(self, stream: SimStream) -> AbstractContextManager[None]:
        """Make `stream` the calling thread's current stream for the length of a `with` block."""
        return self.simulator.use(check_stream(stream, self.simulator))

    def event(self, *, timing: bool = False) -> SimEvent:
        """A new device event."""
        return SimEvent(self.simulator, enable_timing=timing)

    def sight(self, stream: Any) -> Sight:
        """What the calling thread is about to do with `stream`."""
        stream = self._stream(stream)
        index = stream.device_index
        current = self.simulator.current_stream(index)
        default = current is self.simulator.default_stream(index)
        capture = stream.state.capture
        number = capture.number if capture is not None else 0
        return Sight(stream, index, current, default, self.simulator.current_index, number)

    def check(self, stream: Any) -> None:
        """Raise for what is no stream of this simulator."""
        self._stream(stream)

    def record(self, stream: Any, spare: DeviceEvent | None) -> SimEvent:
        """Record on `stream`, re-recording `spare` unless it is bound to another device."""
        stream = self._stream(stream)
        if self.index is not None and stream.device_index != self.index:
            raise ValueError(f"{stream!r} belongs to device {stream.device_index} and this event to {self.name}")
        event = spare if isinstance(spare, SimEvent) and spare.device_index == stream.device_index else None
        event = event or SimulatedDevice.event(self)  # not what a subclass puts around one: the next record takes it
        event.record(stream)
        return event

    def wait(self, event: DeviceEvent, stream: Any) -> None:
        """Order the future work of `stream`, which may belong to another device, after `event`."""
        event.wait(self._stream(stream))

    def launch(
        self,
        stream: Any,
        kernel: Callable[..., None],
        reads: Sequence[SimBuffer] = (),
        writes: Sequence[SimBuffer] = (),
    ) -> None:
        """Run `kernel` in stream order with the buffers' contents, as `array("q")`."""
        arguments = [buffer.data for buffer in (*reads, *writes)]
        self._enqueue(stream, getattr(kernel, "__name__", "kernel"), [lambda: kernel(*arguments)], reads, writes)

    def delay(self, stream: Any, seconds: float) -> None:
        """Nothing to add: the driver makes every operation late."""

    def buffer(self, value: int, size: int = 1) -> SimBuffer:
        """A buffer whose elements hold `value` already."""
        buffer = SimBuffer(value, size)
        self.simulator.driver.made(buffer)
        return buffer

    def fill(self, target: SimBuffer, value: int, stream: Any) -> None:
        """Set each element."""

        def part(where: slice) -> None:
            target.data[where] = array("q", [value]) * len(target.data[where])

        self._enqueue(stream, f"fill {value}", _in_halves(part, target.size), (), (target,))

    def copy(self, source: SimBuffer, target: SimBuffer, stream: Any) -> None:
        """Copy element by element."""
        check_sizes(source, target)

        def part(where: slice) -> None:
            target.data[where] = source.data[where]

        self._enqueue(stream, "copy", _in_halves(part, target.size), (source,), (target,))

    def add(self, target: SimBuffer, value: int, stream: Any) -> None:
        """Add to each element."""

        def part(where: slice) -> None:
            target.data[where] = array("q", [element + value for element in target.data[where]])

        self._enqueue(stream, f"add {value}", _in_halves(part, target.size), (target,), (target,))

    def mismatches(self, source: SimBuffer, value: int, into: SimBuffer, stream: Any) -> None:
        """Count the elements that differ from `value`."""

        def part(where: slice) -> None:
            elements = source.data[where]
            into.data[0] += len(elements) - elements.count(value)

        self._enqueue(stream, f"compare with {value}", _in_halves(part, source.size), (source, into), (into,))

    def read(self, source: SimBuffer) -> tuple[int, ...]:
        """The contents as they are now."""
        return tuple(source.data)

    def synchronize(self, timeout: float | None = None) -> bool:
        """Block until the device is idle."""
        return self.simulator.synchronize(self._index(), timeout)

    def _enqueue(
        self,
        stream: Any,
        label: str,
        parts: Sequence[Callable[[], None]],
        reads: Sequence[object],
        writes: Sequence[object],
    ) -> None:
        state = self._stream(stream).state
        driver = self.simulator.driver
        with driver.turn(label, state) as machine:
            driver.started(machine.enqueue(state, label, parts, reads=reads, writes=writes))

    def _index(self) -> int:
        return self.simulator.current_index if self.index is None else self.index

    def _stream(self, stream: Any) -> SimStream:
        return self.current_stream() if stream is None else check_stream(stream, self.simulator)


def _in_halves(part: Callable[[slice], None], size: int) -> list[Callable[[], None]]:
    """A kernel over several elements is not atomic: another stream may see it half done."""
    if size == 1:
        return [lambda: part(slice(0, 1))]
    return [lambda: part(slice(0, size // 2)), lambda: part(slice(size // 2, size))]
