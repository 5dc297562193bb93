"""Between an instrumented event and its device: which generation is recorded and waited for, and when.

Only here, with the token in hand, is the generation certain: when `record()` or `wait()` has returned, the other thread
may have gone on.
"""

from __future__ import annotations

import time
import weakref
from typing import TYPE_CHECKING, Any

from cpugpu.debug.journal import journal
from cpugpu.debug.operation import Operation

if TYPE_CHECKING:
    from cpugpu.debug.device_time import DeviceClock
    from cpugpu.debug.event import InstrumentedEvent
    from cpugpu.device import Device, DeviceEvent

_now = time.perf_counter_ns
_local = journal.local


class Stamped:
    """A device event that knows which operation has recorded it."""

    __slots__ = ("_probe", "event", "operation")

    def __init__(self, event: DeviceEvent, operation: Operation, probe: Probe) -> None:
        self.event = event
        self.operation = operation
        self._probe = probe

    def record(self, stream: Any = None) -> None:
        """Not called: the probe records."""
        self.event.record(stream)

    def wait(self, stream: Any = None) -> None:
        """Not called: the probe waits."""
        self.event.wait(stream)

    def query(self) -> bool:
        """Is the captured work done?"""
        self._probe.hand_over(self)
        return self.event.query()

    def synchronize(self) -> None:
        """Block until the captured work is done."""
        self._probe.hand_over(self)
        self.event.synchronize()


class Probe:
    """The event's device, which also writes into the journal what passes through it."""

    def __init__(self, device: Device, owner: InstrumentedEvent, clock: DeviceClock | None) -> None:
        self._device = device
        self._clock = clock
        self._state = owner.state
        self._owner = weakref.ref(owner)  # the event must die when its users drop it

    def record(self, stream: Any, spare: Stamped | None) -> Stamped:
        """Record, and note the generation."""
        operation: Operation = _local.ring.now  # type: ignore[assignment]  # it is in the call
        if self._clock is not None:
            self._clock.stamp(operation)
        event = self._device.record(stream, None if spare is None else spare.event)
        operation.generation = self._owner()._generation + 1  # type: ignore[union-attr]  # noqa: SLF001  # it is in record()
        self._state.last_record = operation
        if self._state.unbound:
            self._state.stamp(operation.generation)
        if spare is None:
            return Stamped(event, operation, self)
        spare.event, spare.operation = event, operation
        return spare

    def wait(self, stamped: Stamped, stream: Any) -> None:
        """Note which record the wait has got, and wait for it."""
        operation: Operation = _local.ring.now  # type: ignore[assignment]  # the lines of hand_over()
        operation.ready_ns = _now() if operation.blocked else operation.begin_ns
        operation.handed = handed = stamped.operation
        operation.generation = handed.generation
        if handed.capture or self._state.expected:
            self._owner().handed_over(operation)  # type: ignore[union-attr]
        self._device.wait(stamped.event, stream)
        if self._clock is not None:
            self._clock.stamp(operation)

    def hand_over(self, stamped: Stamped) -> None:
        """synchronize() has got this record."""
        operation: Operation = _local.ring.now  # type: ignore[assignment]  # it is in the call
        if operation.handed is None:
            operation.ready_ns = _now() if operation.blocked else operation.begin_ns
            operation.handed = handed = stamped.operation
            operation.generation = handed.generation
            self._owner().handed_over(operation)  # type: ignore[union-attr]  # it is in synchronize()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._device, name)
