"""When the device got there: timing events beside records and waits, put on the host's clock (CPUGPU_DEVICE_TIME=1).

A record's timing event is enqueued just before it, a wait's just after it: the first work of the consumer. If the
hand-off is right, the second is never before the first.

How times get onto the host's clock: a base event is recorded on an idle stream and synchronised with, between two looks
at the host's clock. It happened in between, so half of that span is the error. To this come 0.5 µs, the resolution of
cudaEventElapsedTime (CUDA runtime API, "Event Management"), and 50 parts in a million for the drift of the clocks; a
new base is taken every second.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from cpugpu import settings
from cpugpu.debug.operation import Kind, Operation
from cpugpu.device import Device, DeviceEvent

_TRIES = 5
_RECALIBRATE_NS = 1_000_000_000
_RESOLUTION_NS = 500
_DRIFT = 50e-6
#: Two times of one device are compared with each other, not by way of the host's clock.
_SAME_DEVICE_NS = 2_000
#: An operation that the device has not reached by then keeps its events; more than this are forgotten.
_PENDING = 65_536


@dataclass(frozen=True)
class _Base:
    event: Any
    host_ns: int
    error_ns: int


class DeviceClock:
    """Stamps operations in the threads that make them; `measure()` reads the stamps, in the watcher's thread."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._pending: deque[Operation] = deque(maxlen=_PENDING)
        self._bases: dict[int, _Base] = {}
        self._idle: dict[int, Any] = {}

    def stamp(self, operation: Operation) -> None:
        """Enqueue a timing event on the operation's stream; in a graph capture none, for it would be captured."""
        if operation.sight is None or operation.sight.capture:
            return
        event = self._device.event(timing=True)
        event.record(operation.sight.stream)
        operation.timing = event
        self._pending.append(operation)

    def measure(self) -> list[Operation]:
        """Read what the device has reached; the operations that have become complete."""
        done = []
        for _ in range(len(self._pending)):
            operation = self._pending.popleft()
            if operation.timing is None:
                continue  # it was read with its wait
            if not operation.timing.query() or (operation.handed is not None and self._awaits(operation.handed)):
                self._pending.append(operation)
                continue
            self._read(operation)
            done.append(operation)
        return done

    @staticmethod
    def _awaits(handed: Operation) -> bool:
        return handed.timing is not None and not handed.timing.query()

    def _read(self, operation: Operation) -> None:
        base, event = self._base(operation), operation.timing
        since_ns = int(base.event.elapsed_time(event) * 1e6)
        operation.device_ns = base.host_ns + since_ns
        operation.device_error_ns = base.error_ns + _RESOLUTION_NS + int(abs(since_ns) * _DRIFT)
        handed = operation.handed
        if operation.kind is not Kind.RECORD and handed is not None and handed.timing is not None:
            if _index(handed) == _index(operation):
                operation.lead_ns = int(handed.timing.elapsed_time(event) * 1e6)
                operation.lead_error_ns = _SAME_DEVICE_NS
            elif handed.device_ns:
                operation.lead_ns = operation.device_ns - handed.device_ns
                operation.lead_error_ns = operation.device_error_ns + handed.device_error_ns
            operation.timing = handed.timing = None

    def _base(self, operation: Operation) -> _Base:
        index = _index(operation)
        base = self._bases.get(index)
        if base is None or time.perf_counter_ns() - base.host_ns > _RECALIBRATE_NS:
            if index not in self._idle:
                assert operation.sight is not None  # else it has no stamp
                with self._device.use(operation.sight.stream):  # for its device
                    self._idle[index] = self._device.stream()
            tries = [self._calibrate(self._idle[index]) for _ in range(_TRIES)]
            base = self._bases[index] = min(tries, key=lambda one: one.error_ns)
        return base

    def _calibrate(self, idle: Any) -> _Base:
        event: DeviceEvent = self._device.event(timing=True)
        before = time.perf_counter_ns()
        event.record(idle)
        event.synchronize()
        after = time.perf_counter_ns()
        return _Base(event, (before + after) // 2, (after - before + 1) // 2)


def _index(operation: Operation) -> int:
    return -1 if operation.sight is None else operation.sight.device_index


_clocks: dict[Any, DeviceClock] = {}
_lock = threading.Lock()


def clock_of(device: Device) -> DeviceClock | None:
    """The clock of `device`; None where device times are not asked for, or cannot be had (the host)."""
    if not settings.tolerate(settings.device_time, False) or not hasattr(device.event(timing=True), "elapsed_time"):
        return None
    key = (device.name, getattr(device, "simulator", None))
    with _lock:
        return _clocks.setdefault(key, DeviceClock(device))


def clocks() -> list[DeviceClock]:
    """All clocks there are."""
    return list(_clocks.values())
