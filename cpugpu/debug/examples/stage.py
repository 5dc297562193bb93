"""The stage on which the examples play: threads that do one thing at a time, and a watcher that beats when told.

Nothing here depends on time: each call runs to its end in the thread that it is given to, a wait that is meant to block
is known to block before the example goes on, and "two minutes later" is an argument.
"""

from __future__ import annotations

import gc
import itertools
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from cpugpu import settings
from cpugpu.debug.event import InstrumentedEvent
from cpugpu.debug.journal import journal
from cpugpu.debug.watcher import watcher
from cpugpu.device import DeviceEvent, DeviceLike, Sight
from cpugpu.device.host import HostDevice, HostStream
from cpugpu.device.simulated import SimulatedDevice, Simulator, no_latency
from cpugpu.errors import DeviceError


class Actor:
    """A thread: `actor(function, *arguments)` calls it there, and returns or raises what it did."""

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._loop, name=name, daemon=True)
        self.thread.start()

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call it there, to its end."""
        self.start(function, *arguments)
        return self.result()

    def start(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Call it there, and do not wait for it."""
        self._calls.put((function, arguments))

    def result(self) -> Any:
        """What the call that was started has returned or raised."""
        result, exception = self._answers.get()
        if exception is not None:
            raise exception
        return result

    def end(self) -> None:
        """End the thread."""
        self._calls.put(None)
        self.thread.join()

    def _loop(self) -> None:
        while (call := self._calls.get()) is not None:
            function, arguments = call
            try:
                self._answers.put((function(*arguments), None))
            except BaseException as exception:
                self._answers.put((None, exception))
            del call, function, arguments  # which keep events alive


class CapturingDevice:
    """A simulated device of which some streams are said to be in a graph capture: `capture[stream] = id`."""

    def __init__(self, device: SimulatedDevice) -> None:
        self._device = device
        self.capture: dict[Any, int] = {}

    def sight(self, stream: Any) -> Sight:
        """The device's, with the capture."""
        sight = self._device.sight(stream)
        return sight._replace(capture=self.capture.get(sight.stream, 0))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._device, name)


class _NumberedStream(HostStream):
    _numbers = itertools.count(1)

    def __init__(self) -> None:
        self._number = next(self._numbers)

    def __repr__(self) -> str:
        return f"<HostStream {self._number}>"


class FailingDevice(HostDevice):
    """A device whose next waits fail, as many as `failures`."""

    failures = 0
    only_sight = None  # it has many streams

    def stream(self, priority: int = 0) -> HostStream:  # noqa: ARG002
        """One of many, so that they can be told apart."""
        return _NumberedStream()

    def sight(self, stream: Any) -> Sight:
        """The host's, with the stream."""
        return super().sight(stream)._replace(stream=stream)

    def wait(self, event: DeviceEvent, stream: Any) -> None:
        """Fail, or not."""
        if self.failures:
            self.failures -= 1
            raise DeviceError("the driver is out of order")
        super().wait(event, stream)


class Stage:
    """Use as a context manager. `found` has the rules that were broken on it so far."""

    def __init__(self, mode: settings.DebugMode = "check") -> None:
        self.mode: settings.DebugMode = mode
        self.simulator = Simulator(devices=2, latency=no_latency)
        self.sim = SimulatedDevice(self.simulator, 0)
        self._events: list[InstrumentedEvent] = []
        self._actors: list[Actor] = []
        self._gates: list[threading.Event] = []
        self._elsewhere: list[str] = []
        self._found: list[str] | None = None

    def event(self, device: DeviceLike = "host", name: str = "ready") -> InstrumentedEvent:
        """An instrumented event, kept until the end."""
        event = InstrumentedEvent(device, name=name, mode=self.mode)
        self._events.append(event)
        return event

    def drop(self, event: InstrumentedEvent) -> None:
        """Do not keep it."""
        self._events.remove(event)

    def actors(self, *names: str) -> list[Actor]:
        """Threads with these names."""
        made = [Actor(name) for name in names]
        self._actors += made
        return made

    def blocks(self, actor: Actor, event: InstrumentedEvent, function: Callable[..., Any], *arguments: Any) -> None:
        """Start a call that waits for `event`; come back when the thread is in it."""
        actor.start(function, *arguments)
        here = (actor.thread, event.state)
        self.until(lambda: here in [(each.thread, each.state) for each in journal.under_way()])

    def goes_to_the_driver(self, event: InstrumentedEvent) -> None:
        """Come back when a wait for `event` has its record."""
        self.until(lambda: any(each.state is event.state and each.handed for each in journal.under_way()))

    def beat(self, later: float = 0.0, *, exiting: bool = False) -> None:
        """Let the watcher look, `later` seconds from now, or when the main thread has ended."""
        watcher.beat(time.perf_counter_ns() + int(later * 1e9), exiting=exiting)

    def until(self, condition: Callable[[], object]) -> None:
        """Come back when `condition()` holds."""
        while not condition():
            time.sleep(0)

    def gate(self, stream: Any) -> threading.Event:
        """Hold `stream` up, by a kernel that ends when the gate is set."""
        gate = threading.Event()
        self._gates.append(gate)

        def held_up() -> None:
            gate.wait()

        self.sim.launch(stream, held_up)
        return gate

    @contextmanager
    def device_time(self) -> Iterator[None]:
        """Events that are made within measure device times."""
        before = os.environ.get("CPUGPU_DEVICE_TIME")
        os.environ["CPUGPU_DEVICE_TIME"] = "1"
        try:
            yield
        finally:
            if before is None:
                del os.environ["CPUGPU_DEVICE_TIME"]
            else:
                os.environ["CPUGPU_DEVICE_TIME"] = before

    def found_elsewhere(self, rules: list[str]) -> None:
        """Another process has found these rules broken."""
        self._elsewhere += rules

    @property
    def found(self) -> list[str]:
        """The names of the rules that were broken, in order, each as often as it was."""
        if self._found is not None:
            return self._found
        return [rule for entry in journal.entries() for rule, _ in entry.violations] + self._elsewhere

    def __enter__(self) -> Stage:
        self._watched = watcher.paused
        watcher.paused = True
        watcher.stop()
        journal.clear()
        self._log_disabled = logging.getLogger("cpugpu").disabled
        logging.getLogger("cpugpu").disabled = self.mode == "check"
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._found = self.found
        for gate in self._gates:
            gate.set()
        while self._events:
            self._events.pop().close()
        for actor in self._actors:
            actor.end()
        gc.collect()
        watcher.beat()  # the end of these events is nobody's concern
        journal.clear()
        logging.getLogger("cpugpu").disabled = self._log_disabled
        watcher.paused = self._watched
