"""The rig of the explorer: what a scenario does with it is a step each."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeVar

from cpugpu.device import DeviceEvent
from cpugpu.device.simulated import SimulatedDevice, Simulator
from cpugpu.device.simulated.objects import SimEvent
from cpugpu.errors import DeviceError
from cpugpu.explore.driver import Scheduled
from cpugpu.explore.execution import Execution, Thread
from cpugpu.explore.operation import READ, WRITE, Operation
from cpugpu.rig import Cell

T = TypeVar("T")

DEVICES = 2


class ExploredCell(Generic[T]):
    """Host memory: each call is a step."""

    def __init__(self, execution: Execution, value: T) -> None:
        self._execution = execution
        self._value = value
        resource = execution.resource("cell")
        name = resource.name
        self.read = Operation(f"get {name}", ((resource, READ),))
        self._set = Operation(f"set {name}", ((resource, WRITE),))
        self._update = Operation(f"update {name}", ((resource, WRITE),))

    def get(self) -> T:
        """The value."""
        self._execution.step(self.read)
        return self._value

    def set(self, value: T) -> None:
        """Replace the value."""
        self._execution.step(self._set)
        self._value = value

    def update(self, function: Callable[[T], T]) -> T:
        """Replace the value by `function(value)` and return the new one."""
        self._execution.step(self._update)
        self._value = function(self._value)
        return self._value


class ThreadFailed(Exception):
    """A thread of the scenario raised; the exception is the `__cause__`."""


class ExploredRig:
    """Implements `cpugpu.rig.Rig` for one execution; see there for what the methods mean."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        self._broken = _Broken(execution)
        #: What `CpuGpuEvent()` and `resolve()` use meanwhile.
        self.device: Any = _WhenNeeded(execution, self._broken)

    def run(self, *functions: Callable[[], object]) -> None:
        """Start them together, join them. The start is no step."""

        def guarded(function: Callable[[], object]) -> Callable[[], None]:
            def body() -> None:
                try:
                    function()
                except Exception as exception:
                    if self._execution.failed is None and not self._execution.over:
                        thread = self._execution.me()
                        assert thread is not None
                        self._execution.failed = (thread, exception)

            return body

        threads = [
            self._execution.spawn(getattr(function, "__name__", "thread"), guarded(function)) for function in functions
        ]
        self._execution.join(threads)
        if self._execution.failed is not None:
            raise ThreadFailed from self._execution.failed[1]

    def stream(self, priority: int = 0, device: int = 0) -> Any:
        """A stream that no other call got."""
        return self._device(device).stream(priority)

    def on(self, stream: Any) -> AbstractContextManager[None]:
        """Make it the calling thread's current stream."""
        return self.device.use(stream)  # type: ignore[no-any-return]

    def event(self) -> Any:
        """A bare device event."""
        return self.device.event()

    def busy(self, stream: Any) -> bool:
        """Does `stream` hold work that is not done?"""
        return not stream.query()

    def buffer(self, value: int, size: int = 1, device: int = 0) -> Any:
        """Device memory."""
        return self._device(device).buffer(value, size)

    def fill(self, target: Any, value: int, stream: Any) -> None:
        """Set every element."""
        self.device.fill(target, value, stream)

    def copy(self, source: Any, target: Any, stream: Any) -> None:
        """Copy element by element."""
        self.device.copy(source, target, stream)

    def add(self, target: Any, value: int, stream: Any) -> None:
        """Add to every element."""
        self.device.add(target, value, stream)

    def check(self, source: Any, value: int, wrong: Any, stream: Any) -> None:
        """Count the elements that are not `value`."""
        self.device.mismatches(source, value, wrong, stream)

    def launch(
        self, stream: Any, kernel: Callable[..., None], reads: Sequence[Any] = (), writes: Sequence[Any] = ()
    ) -> None:
        """A kernel of the scenario's own."""
        self.device.launch(stream, kernel, reads, writes)

    def read(self, source: Any) -> Any:
        """The contents, once the device is idle."""
        self.end()
        contents = self.device.read(source)
        return contents[0] if len(contents) == 1 else contents

    def end(self) -> None:
        """Wait until the devices are idle."""
        if self._execution.others():
            for device in self.device.each():
                device.synchronize()

    def cell(self, value: T) -> Cell[T]:
        """Host memory."""
        return ExploredCell(self._execution, value)

    def until(self, predicate: Callable[[], bool], *cells: Cell[Any]) -> None:
        """A step that can be taken once the predicate holds."""
        self._execution.until(predicate, [each.read.footprint for each in cells if isinstance(each, ExploredCell)])

    def pause(self) -> None:
        """A place where others may go on."""
        self._execution.step(Operation("pause", (), rests=True))

    def random(self) -> random.Random:
        """The same choices in every execution: the schedule is what differs."""
        return random.Random(0)

    def break_driver(self) -> None:
        """Let the calling thread's next record or wait fail."""
        self._broken.add()

    def _device(self, number: int) -> Any:
        if not number:
            return self.device
        each = self.device.each()
        if number >= len(each):
            raise ValueError(f"device={number}: {self.device.name} has {len(each)}, from 0")
        return each[number]


class Place:
    """What a scenario finds here, for `Scenario.unfit`."""

    name = "sim"
    scheduled = True

    def each(self) -> Sequence[int]:
        """As many devices as there are."""
        return range(DEVICES)


class _Broken:
    """The threads whose next record or wait is to fail."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        self._threads: set[Thread | None] = set()

    def add(self) -> None:
        """The calling one."""
        self._threads.add(self._execution.me())

    def fails(self) -> None:
        """Fail, if the calling thread is one of them."""
        thread = self._execution.me()
        if thread in self._threads:
            self._threads.discard(thread)
            raise DeviceError("the driver call failed, as the scenario had asked")


class _WhenNeeded:
    """A device that is made when it is used: most small programs have no use for one."""

    def __init__(self, execution: Execution, broken: _Broken) -> None:
        self._execution = execution
        self._broken = broken
        self._device: SimulatedDevice | None = None

    def __getattr__(self, name: str) -> Any:
        if self._device is None:
            execution = self._execution
            simulator = Simulator(DEVICES, driver=lambda machine: Scheduled(machine, execution))
            self._device = _BreakableDevice(simulator, self._broken.fails)
        return getattr(self._device, name)


class _BreakableDevice(SimulatedDevice):
    """The simulated device; `fails` may raise at the beginning of a record or wait."""

    scheduled = True  # as the place is, see `Place`

    def __init__(self, simulator: Simulator, fails: Callable[[], None]) -> None:
        super().__init__(simulator)
        self._fails = fails

    def event(self, *, timing: bool = False) -> Any:
        """A device event that fails likewise."""
        return super().event(timing=True) if timing else _BreakableEvent(super().event(), self._fails)

    def record(self, stream: Any, spare: DeviceEvent | None) -> SimEvent:
        """Record, or fail."""
        self._fails()
        return super().record(stream, spare)

    def wait(self, event: DeviceEvent, stream: Any) -> None:
        """Wait, or fail."""
        self._fails()
        super().wait(event, stream)


class _BreakableEvent:
    """A device event whose record and wait may fail."""

    def __init__(self, event: DeviceEvent, fails: Callable[[], None]) -> None:
        self._event = event
        self._fails = fails
        self.query = event.query
        self.synchronize = event.synchronize

    def record(self, stream: Any = None) -> None:
        """Record, or fail."""
        self._fails()
        self._event.record(stream)

    def wait(self, stream: Any = None) -> None:
        """Wait, or fail."""
        self._fails()
        self._event.wait(stream)
