"""Random lateness: of threads, of driver calls, and of kernels. All of it comes from one seed."""

from __future__ import annotations

import random
import threading
import time
from time import perf_counter
from typing import Any

from cpugpu.device import Device, DeviceEvent
from cpugpu.device.simulated import HeavyTail
from cpugpu.errors import DeviceError
from cpugpu.hammer.diary import Diary

#: A kernel is late more often than a thread, and never by the longest lengths: a stream has many kernels.
_KERNEL_IDLE, _KERNEL_LONGEST = 0.5, 1e-2


class _ThreadState(threading.local):
    tail: HeavyTail | None = None
    kernels: HeavyTail | None = None
    broken = False


class Jitter:
    """Decides who is late and by how much. Each thread of each execution draws from a generator of its own.

    `off`: nobody is ever late.
    """

    def __init__(self, *, off: bool = False) -> None:
        self._off = off
        self._state = _ThreadState()
        self._breaks = False  # has any thread ever asked for a failure? Spares the others a look
        self.moves = 0  # counts what threads do; a lost count does no harm

    def begin(self, key: str) -> None:
        """The calling thread starts its part of an execution; `key` seeds what it will draw."""
        self._state.broken = False
        if self._off:
            return
        rng = random.Random(key)
        self._state.tail = HeavyTail(rng)
        self._state.kernels = HeavyTail(rng, idle=_KERNEL_IDLE, longest=_KERNEL_LONGEST)

    def pause(self) -> None:
        """Perhaps sleep. A thread that has not begun never does."""
        self.moves += 1
        if not self._off and self._state.tail is not None:
            seconds = self._state.tail.draw()
            if seconds:
                time.sleep(seconds)

    def break_driver(self) -> None:
        """Let the calling thread's next driver call on an event fail."""
        self._breaks = self._state.broken = True

    def enter_driver(self) -> None:
        """The start of a driver call: perhaps late, perhaps a failure."""
        self.moves += 1
        if not self._off:
            self.pause()
        if self._breaks and self._state.broken:
            self._state.broken = False
            raise DeviceError("the driver call failed, as the scenario had asked")

    def leave_driver(self) -> None:
        """The end of a driver call: perhaps late."""
        if not self._off:
            self.pause()

    def kernel_delay(self) -> float:
        """By how many seconds the next kernel is late."""
        return 0.0 if self._state.kernels is None else self._state.kernels.draw()


class JitteryEvent:
    """A device event whose driver calls take a random time, as they do when other threads use the driver."""

    def __init__(self, event: DeviceEvent, jitter: Jitter, diary: Diary) -> None:
        self._event = event
        self._jitter = jitter
        self._diary = diary

    def record(self, stream: Any = None) -> None:
        """Record, late, and return late."""
        self._jitter.enter_driver()
        began = perf_counter()
        self._event.record(stream)
        self._diary.recorded(self._event, stream, began)
        self._jitter.leave_driver()

    def wait(self, stream: Any = None) -> None:
        """Wait, late, and return late."""
        self._jitter.enter_driver()
        began = perf_counter()
        self._event.wait(stream)
        self._diary.waited(self._event, stream, began)
        self._jitter.leave_driver()

    def query(self) -> bool:
        """Is the captured work done?"""
        return self._event.query()

    def synchronize(self) -> None:
        """Block until the captured work is done."""
        self._event.synchronize()


class JitteryDevice:
    """A device whose event calls take a random time. Everything else is the device's own."""

    def __init__(self, device: Device, jitter: Jitter, diary: Diary) -> None:
        self._device = device
        self._jitter = jitter
        self._diary = diary

    def event(self, *, timing: bool = False) -> Any:
        """A new device event, made late; one for timing as it is."""
        if timing:
            return self._device.event(timing=True)
        self._jitter.pause()
        return JitteryEvent(self._device.event(), self._jitter, self._diary)

    def record(self, stream: Any, spare: DeviceEvent | None) -> DeviceEvent:
        """Record, late, and return late."""
        self._jitter.enter_driver()
        began = perf_counter()
        event = self._device.record(stream, spare)
        self._diary.recorded(event, stream, began)
        self._jitter.leave_driver()
        return event

    def wait(self, event: DeviceEvent, stream: Any) -> None:
        """Wait, late, and return late."""
        self._jitter.enter_driver()
        began = perf_counter()
        self._device.wait(event, stream)
        self._diary.waited(event, stream, began)
        self._jitter.leave_driver()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._device, name)
