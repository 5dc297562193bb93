"""The rig of the hammer: real threads, and a device that works in real time."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeVar

from cpugpu.device import Device
from cpugpu.hammer.diary import Diary
from cpugpu.hammer.jitter import Jitter, JitteryDevice
from cpugpu.hammer.threads import Task, Team
from cpugpu.rig import Cell
from cpugpu.stacks import stacks

T = TypeVar("T")

#: How long `until` sleeps between two looks at the device, which cannot tell when it changes.
_POLL_SECONDS = 2e-5


class ThreadFailed(Exception):
    """A thread of the scenario raised; the exception is the `__cause__`. `details` also tells where others stand."""

    def __init__(self, task: Task, details: str) -> None:
        super().__init__(f"{task.name} raised {task.exception!r}")
        self.details = details


class Standstill(Exception):
    """A thread, or the device, has stopped. `details` has the stacks of all threads."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.details = f"{what}\n\n{stacks()}"


class GivenUp(BaseException):
    """Ends a thread of an execution that the hammer has given up."""


class HammerCell(Generic[T]):
    """Host memory behind a lock."""

    def __init__(self, value: T) -> None:
        self._value = value
        self._lock = threading.Lock()

    def get(self) -> T:
        """The value. Whoever sees it is after whoever has set it, and the sanitizer is told so by the lock."""
        with self._lock:
            return self._value

    def set(self, value: T) -> None:
        """Replace the value."""
        with self._lock:
            self._value = value

    def update(self, function: Callable[[T], T]) -> T:
        """Replace the value by `function(value)` and return the new one."""
        with self._lock:
            self._value = function(self._value)
            return self._value


class HammerRig:
    """Implements `cpugpu.rig.Rig`; see there for what the methods mean. One rig serves one execution after another."""

    def __init__(self, device: Device, jitter: Jitter, *, patience: float) -> None:
        self.diary = Diary()
        self.device: Any = JitteryDevice(device, jitter, self.diary)
        self._jitter = jitter
        self._patience = patience
        self._team = Team()
        self._streams: dict[tuple[int, int], list[Any]] = {}  # by device and priority
        self._buffers: list[Any] = []  # of this execution
        self._others: dict[int, Any] = {}  # further devices, where a scenario has asked for them
        self._given_up = False
        simulator = getattr(device, "simulator", None)
        if simulator is not None:
            self.diary.watch(simulator)
        self.begin("")

    def begin(self, key: str) -> None:
        """The next execution; `key` seeds what its threads will draw."""
        self._key = key
        self.diary.begin()
        self._buffers.clear()
        self._random = random.Random(f"{key}/choices")
        self._team.begin()
        self._taken: dict[tuple[int, int], itertools.count[int]] = {}

    def end(self) -> None:
        """Wait until the device is idle, so that executions do not overlap."""
        if not all(device.synchronize(self._patience) for device in (self.device, *self._others.values())):
            raise Standstill("the device stands still:\n  " + "\n  ".join(self._pending()))

    def close(self) -> None:
        """End the rig's threads; those that hang end when they next ask for something."""
        self._given_up = True
        self._team.close()

    def run(self, *functions: Callable[[], object]) -> None:
        """Start them together, join them."""

        def late(number: int, function: Callable[[], object]) -> Task:
            def body() -> None:
                self._jitter.begin(f"{self._key}/{number}")
                self._jitter.pause()
                function()

            task = Task(body)
            task.name = getattr(function, "__name__", task.name)
            return task

        tasks = [late(number, function) for number, function in enumerate(functions)]
        joined = self._team.run(tasks, lambda: self._jitter.moves, self._patience)
        for task in tasks:
            if task.exception is not None:
                still = "" if joined else f"\n\nother threads stand still:\n\n{stacks()}"
                raise ThreadFailed(task, still) from task.exception
        if not joined:
            raise Standstill("standing still: " + ", ".join(task.name for task in tasks if not task.done.is_set()))

    def stream(self, priority: int = 0, device: int = 0) -> Any:
        """A stream that no other call in this execution got."""
        key = device, priority
        number = next(self._taken.setdefault(key, itertools.count()))
        streams = self._streams.setdefault(key, [])
        while len(streams) <= number:
            streams.append(self._device(device).stream(priority))
        return streams[number]

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
        """Device memory, kept until the execution is over.

        A scenario may let go of it while kernels are on their way; torch's allocator would hand it out again at once.
        """
        buffer = self._device(device).buffer(value, size)
        self._buffers.append(buffer)
        return buffer

    def fill(self, target: Any, value: int, stream: Any) -> None:
        """Set every element."""
        self._late(f"fill {value}", stream)
        self.device.fill(target, value, stream)

    def copy(self, source: Any, target: Any, stream: Any) -> None:
        """Copy element by element."""
        self._late("copy", stream)
        self.device.copy(source, target, stream)

    def add(self, target: Any, value: int, stream: Any) -> None:
        """Add to every element."""
        self._late(f"add {value}", stream)
        self.device.add(target, value, stream)

    def check(self, source: Any, value: int, wrong: Any, stream: Any) -> None:
        """Count the elements that are not `value`."""
        self._late(f"compare with {value}", stream)
        self.device.mismatches(source, value, wrong, stream)

    def launch(
        self, stream: Any, kernel: Callable[..., None], reads: Sequence[Any] = (), writes: Sequence[Any] = ()
    ) -> None:
        """A kernel of the scenario's own."""
        self._late(getattr(kernel, "__name__", "kernel"), stream)
        self.device.launch(stream, kernel, reads, writes)

    def read(self, source: Any) -> Any:
        """The contents, once the device is idle."""
        self.end()
        contents = self.device.read(source)
        return contents[0] if len(contents) == 1 else contents

    def cell(self, value: T) -> Cell[T]:
        """Host memory."""
        return HammerCell(value)

    def until(self, predicate: Callable[[], bool], *cells: Cell[Any]) -> None:  # noqa: ARG002
        """Poll until it holds."""
        began = time.perf_counter()
        while not predicate():
            if self._given_up:
                raise GivenUp
            time.sleep(_POLL_SECONDS)
        self.diary.note("wait for the CPU", None, began)
        self._jitter.moves += 1

    def pause(self) -> None:
        """Perhaps sleep."""
        if self._given_up:
            raise GivenUp
        self._jitter.pause()

    def random(self) -> random.Random:
        """Seeded by the execution's key."""
        return self._random

    def break_driver(self) -> None:
        """Let the calling thread's next record or wait fail."""
        self._jitter.break_driver()

    def _device(self, number: int) -> Any:
        """0 is the device that the rig was given; the others of its kind are looked for when they are asked for."""
        if number and number not in self._others:
            each = self.device.each()
            if number >= len(each):
                raise ValueError(f"device={number}: {self.device.name} has {len(each)}, from 0")
            self._others.setdefault(number, each[number])
        return self._others[number] if number else self.device

    def _late(self, what: str, stream: Any) -> None:
        """Launch late, and let the kernel come late."""
        self.pause()
        began = time.perf_counter()
        seconds = self._jitter.kernel_delay()
        if seconds:
            self.device.delay(stream, seconds)
        self.diary.note(what, stream, began)

    def _pending(self) -> list[str]:
        simulator = getattr(self.device, "simulator", None)
        return simulator.pending() if simulator is not None else ["(a real device does not tell what it waits for)"]
