"""Threads that move only when told, so that an interleaving is a list of lines in a test.

    play = Play(SeedEvent, monkeypatch)
    consumer = play.actor(lambda event: event.wait())
    consumer.until("device waited")      # it stands there now
    ...
    consumer.finish()                    # runs to its end, or to where it blocks

Actors are real threads of which one runs at a time. They stop at *places*: the operations of locks and flags
(`"Lock.acquire"`, `"Event.clear"`; the past tense, `"Event.wait returned"`, is the place after) and those of the device
(`"device record"`, `"device wait"`, `"device waited"`). The locks are stand-ins, put in the place of `threading.Lock`
and `threading.Event` while the subject is made.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

import pytest

import cpugpu.event
import cpugpu.gate
from cpugpu.device import using


class Ended(BaseException):
    """Thrown into an actor that is still blocked when the play is over."""


class Actor:
    def __init__(self, play: Play, body: Callable[[], object]) -> None:
        self._play = play
        self._go = threading.Semaphore(0)
        self._report = threading.Semaphore(0)
        self._ending = False
        self.place = "start"
        self.exception: BaseException | None = None
        self.thread = threading.Thread(target=self._main, args=(body,), daemon=True)
        self.thread.start()

    @property
    def done(self) -> bool:
        return self.place == "done"

    @property
    def blocked(self) -> bool:
        return self.place == "blocked"

    def until(self, place: str) -> str:
        """Run until it stands at `place`, is blocked, or is done. Returns which of these."""
        while not self.done:
            self._go.release()
            self._report.acquire()
            if self.place == place or self.blocked:
                break
        return self.place

    def finish(self) -> str:
        """Run until it is blocked or done."""
        return self.until("done")

    def stop(self, place: str) -> None:
        """Called by the actor itself: stand at `place` until told to go on."""
        self.place = place
        self._report.release()
        self._go.acquire()
        if self._ending:
            raise Ended

    def end(self) -> None:
        self._ending = True
        while not self.done:
            self._go.release()
            self._report.acquire()
        self.thread.join()

    def _main(self, body: Callable[[], object]) -> None:
        self._go.acquire()
        try:
            if not self._ending:
                self._play.local.actor = self
                body()
        except Ended:
            pass
        except BaseException as exception:
            self.exception = exception
        self.place = "done"
        self._report.release()


class Play:
    """A subject with scripted locks on a scripted device, and the actors that use it."""

    def __init__(self, subject: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
        self.local = threading.local()
        self.device = ScriptedDevice(self)
        self.actors: list[Actor] = []
        monkeypatch.setenv("CPUGPU_STALL_SECONDS", "off")
        with monkeypatch.context() as patch, using(self.device):  # type: ignore[arg-type]
            patch.setattr(threading, "Lock", lambda: ScriptedLock(self))
            patch.setattr(threading, "Event", lambda: ScriptedFlag(self))
            self.subject = subject()
        for module in (cpugpu.event, cpugpu.gate):
            monkeypatch.setattr(module, "time", ScriptedTime(self))

    def __enter__(self) -> Play:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for actor in self.actors:
            actor.end()

    def actor(self, body: Callable[[Any], object]) -> Actor:
        self.actors.append(Actor(self, lambda: body(self.subject)))
        return self.actors[-1]

    def stop(self, place: str) -> None:
        actor = getattr(self.local, "actor", None)
        if actor is not None:  # else the test's own thread, while the subject is made
            actor.stop(place)

    def block_until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.stop("blocked")


class ScriptedTime:
    """A thread that sleeps waits for another one to move."""

    def __init__(self, play: Play) -> None:
        self._play = play

    def sleep(self, seconds: float) -> None:
        self._play.stop("blocked")

    def monotonic(self) -> float:
        return 0.0


class ScriptedLock:
    def __init__(self, play: Play) -> None:
        self._play = play
        self._locked = False

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        assert timeout in (-1, 0), "there is no time in a play"
        blocking = blocking and timeout != 0
        self._play.stop("Lock.acquire")
        if blocking:
            self._play.block_until(lambda: not self._locked)
        elif self._locked:
            return False
        self._locked = True
        self._play.stop("Lock.acquire returned")
        return True

    def release(self) -> None:
        self._play.stop("Lock.release")
        if not self._locked:
            raise RuntimeError("release unlocked lock")
        self._locked = False

    def locked(self) -> bool:
        return self._locked

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self.release()


class ScriptedFlag:
    def __init__(self, play: Play) -> None:
        self._play = play
        self._set = False

    def is_set(self) -> bool:
        value = self._set
        self._play.stop("Event.is_set returned")
        return value

    def set(self) -> None:
        self._play.stop("Event.set")
        self._set = True

    def clear(self) -> None:
        self._play.stop("Event.clear")
        self._set = False

    def wait(self) -> None:
        self._play.block_until(lambda: self._set)
        self._play.stop("Event.wait returned")


class ScriptedEvent:
    """A device event. `record_number` is that of the record that it has captured, 0 before the first."""

    def __init__(self, device: ScriptedDevice) -> None:
        self._device = device
        self.record_number = 0

    def record(self, stream: Any = None) -> None:
        self._device.play.stop("device record")
        self._device.raise_if_broken()
        self.record_number = next(self._device.numbers)
        self._device.records.append(self.record_number)

    def wait(self, stream: Any = None) -> None:
        self._device.play.stop("device wait")
        self._device.raise_if_broken()
        self._device.waits.append(self.record_number)
        self._device.play.stop("device waited")

    def query(self) -> bool:
        return True

    def synchronize(self) -> None:
        self.wait()


class ScriptedDevice:
    """Remembers which record each wait was bound to."""

    name = "scripted"

    def __init__(self, play: Play) -> None:
        self.play = play
        self.numbers = itertools.count(1)
        self.records: list[int] = []
        self.waits: list[int] = []
        self.events_made = 0
        self.broken = 0

    def raise_if_broken(self) -> None:
        if self.broken:
            self.broken -= 1
            raise OSError("the driver call failed")

    def event(self) -> ScriptedEvent:
        self.events_made += 1
        return ScriptedEvent(self)

    def check(self, stream: Any) -> None:
        pass

    def record(self, stream: Any, spare: ScriptedEvent | None) -> ScriptedEvent:
        event = spare or self.event()
        event.record(stream)
        return event

    def wait(self, event: ScriptedEvent, stream: Any) -> None:
        event.wait(stream)
