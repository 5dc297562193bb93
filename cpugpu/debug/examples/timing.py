"""Programs that are slow in ways that the instruments notice, and one whose order on the device is wrong."""

from __future__ import annotations

import threading
import time
from typing import Any

from cpugpu.debug.examples.pairs import clean, violates
from cpugpu.debug.examples.stage import Stage
from cpugpu.debug.watcher import watcher
from cpugpu.device import DeviceEvent
from cpugpu.device.host import HostDevice, HostEvent


class StuckDevice(HostDevice):
    """A device whose launch queue is full."""

    def record(self, stream: Any, spare: DeviceEvent | None) -> HostEvent:
        """Block as a full queue does; this is the defect, not a synchronisation."""
        end = time.perf_counter_ns() + 260_000_000
        while (left := end - time.perf_counter_ns()) > 0:
            time.sleep(left / 1e9)
        return super().record(stream, spare)


class SpinningEvent(HostEvent):
    """An event that ignores that it was made to block."""

    __slots__ = ()

    def synchronize(self) -> None:
        """Burn 20 ms of processor time."""
        end = time.thread_time_ns() + 20_000_000
        while time.thread_time_ns() < end:
            pass


class SpinningDevice(HostDevice):
    """A device with such events."""

    def record(self, stream: Any, spare: DeviceEvent | None) -> HostEvent:
        """Record a spinning event."""
        super().record(stream, spare)
        return SpinningEvent()


class SleepingEvent(HostEvent):
    """An event that blocks as it should."""

    __slots__ = ()

    def synchronize(self) -> None:
        """Be away for 20 ms."""
        threading.Event().wait(0.02)


class SleepingDevice(HostDevice):
    """A device with such events."""

    def record(self, stream: Any, spare: DeviceEvent | None) -> HostEvent:
        """Record a sleeping event."""
        super().record(stream, spare)
        return SleepingEvent()


@violates("slow-driver-call")
def enqueues_into_a_full_queue(stage: Stage) -> None:
    ready, (p, c) = stage.event(StuckDevice()), stage.actors("p", "c")
    p(ready.record)
    c(ready.wait)


@clean("slow-driver-call")
def enqueues_at_once(stage: Stage) -> None:
    ready, (p, c) = stage.event(HostDevice()), stage.actors("p", "c")
    p(ready.record)
    c(ready.wait)


@violates("unblocking-blocking-event")
def spins_in_synchronize(stage: Stage) -> None:
    ready, (p, c) = stage.event(SpinningDevice()), stage.actors("p", "c")
    p(ready.record)
    c(ready.synchronize)


@clean("unblocking-blocking-event")
def sleeps_in_synchronize(stage: Stage) -> None:
    ready, (p, c) = stage.event(SleepingDevice()), stage.actors("p", "c")
    p(ready.record)
    c(ready.synchronize)


@violates("gil-held")
def holds_the_gil(stage: Stage) -> None:  # noqa: ARG001
    # The heartbeat, as it looks when a call has held the GIL for two seconds. tests/test_debug_process.py holds it.
    now = time.perf_counter_ns()
    watcher.missed(now - 2_000_000_000, now)


@clean("gil-held")
def lets_the_gil_go(stage: Stage) -> None:  # noqa: ARG001
    now = time.perf_counter_ns()
    watcher.missed(now - 600_000_000, now)  # late, as on a busy machine


@violates("device-order")
def waits_on_a_lost_fence(stage: Stage) -> None:
    _measured(stage, lost=True)


@clean("device-order")
def waits_on_its_record(stage: Stage) -> None:
    _measured(stage, lost=False)


class FencelessDevice:
    """A device whose waits do nothing, as those for an event that nobody has recorded."""

    def __init__(self, device: Any) -> None:
        self._device = device

    def wait(self, event: Any, stream: Any) -> None:
        """Order nothing."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._device, name)


def _measured(stage: Stage, *, lost: bool) -> None:
    """A record behind a kernel that is held up, and a wait on an idle stream; all of it measured."""
    device = FencelessDevice(stage.sim) if lost else stage.sim
    with stage.device_time():
        ready, (p, c) = stage.event(device), stage.actors("p", "c")
    busy, idle = stage.sim.stream(), stage.sim.stream()
    gate = stage.gate(busy)
    p(ready.record, busy)
    c(ready.wait, idle)
    if lost:
        idle.synchronize()
    gate.set()
    stage.sim.synchronize()
    stage.beat()
