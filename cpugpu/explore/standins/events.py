"""Event, Semaphore, BoundedSemaphore and Barrier."""

from __future__ import annotations

import sys
from collections.abc import Callable
from threading import BrokenBarrierError

from cpugpu.explore.operation import READ, WRITE, Footprint, Operation
from cpugpu.explore.standins.steps import deprecated, ending, resource, take, taken
from cpugpu.explore.standins.wakes import Waiter


class Event:
    """Stands in for `threading.Event`.

    A wait that finds the flag clear is two steps, to come and to wake. It cannot be one, enabled while the flag is set:
    who was there when the flag was set wakes, though it be cleared again before; who comes after that does not.
    """

    __slots__ = ("__dict__", "__weakref__", "_flag", "_waiters", "reads", "resource", "writes")

    def __init__(self) -> None:
        self._flag = False
        self._waiters: list[Waiter] = []
        self.resource = resource("event")
        self.reads: Footprint = ((self.resource, READ),)
        self.writes: Footprint = ((self.resource, WRITE),)

    def is_set(self) -> bool:
        """Is the flag set?"""
        take(Operation(f"look at {self.resource.name}", self.reads))
        return self._flag

    def isSet(self) -> bool:  # noqa: N802
        """The old name of `is_set`."""
        deprecated("isSet()", "use is_set()")
        return self.is_set()

    def set(self) -> None:
        """Set the flag, and wake all that wait."""
        take(Operation(f"set {self.resource.name}", self.writes))
        self._flag = True
        for waiter in self._waiters:
            waiter.notified = True
        self._waiters.clear()

    def clear(self) -> None:
        """Clear the flag."""
        take(Operation(f"clear {self.resource.name}", self.writes))
        self._flag = False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the flag is set. False if the time ran out."""
        take(Operation(f"wait {self.resource.name}", self.reads))
        if self._flag:
            return True
        if timeout is not None and timeout <= 0:
            return False
        waiter = Waiter()
        self._waiters.append(waiter)
        wake = Operation(f"wake {self.resource.name}", self.reads, lambda: waiter.notified, timeout=timeout)
        if take(wake):
            return True
        if not waiter.notified:
            self._waiters.remove(waiter)
        return False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.resource.name}: {'set' if self._flag else 'unset'}>"

    def _at_fork_reinit(self) -> None:
        self._waiters.clear()


class Semaphore:
    """Stands in for `threading.Semaphore`."""

    __slots__ = ("__dict__", "__weakref__", "_value", "resource", "writes")

    def __init__(self, value: int = 1) -> None:
        if value < 0:
            raise ValueError("semaphore initial value must be >= 0")
        self._value = value
        self.resource = resource("semaphore")
        self.writes: Footprint = ((self.resource, WRITE),)

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Take one. False if there was none to be had, or not in time."""
        if not blocking and timeout is not None:
            raise ValueError("can't specify timeout for non-blocking acquire")
        if not blocking or (timeout is not None and timeout <= 0):
            take(Operation(f"try {self.resource.name}", self.writes))
            if not self._value:
                return False
        elif not take(Operation(f"acquire {self.resource.name}", self.writes, self._some, timeout=timeout)):
            return False
        self._value -= 1
        return True

    def release(self, n: int = 1) -> None:
        """Give back `n`."""
        if n < 1:
            raise ValueError("n must be one or more")
        take(Operation(f"release {self.resource.name}", self.writes))
        self._value += n

    def _some(self) -> bool:
        return self._value > 0

    __enter__ = acquire

    def __exit__(self, *exception: object) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.resource.name}: value={self._value}>"


class BoundedSemaphore(Semaphore):
    """Stands in for `threading.BoundedSemaphore`, of which no more can be given back than was taken."""

    __slots__ = ("_initial_value",)

    def __init__(self, value: int = 1) -> None:
        super().__init__(value)
        self._initial_value = value

    def release(self, n: int = 1) -> None:
        """Give back `n`."""
        if n < 1:
            raise ValueError("n must be one or more")
        take(Operation(f"release {self.resource.name}", self.writes))
        if self._value + n > self._initial_value:
            if ending():
                return
            raise ValueError("Semaphore released too many times")
        self._value += n


_FILLING, _DRAINING, _RESETTING, _BROKEN = 0, 1, -1, -2


class Barrier:
    """Stands in for `threading.Barrier`. A wait is two steps: arrive, and leave. The last to arrive leaves at once.

    While the action runs nobody else gets at the barrier: in CPython, it runs under the barrier's lock.
    """

    __slots__ = (
        "__dict__",
        "__weakref__",
        "_action",
        "_count",
        "_in_action",
        "_parties",
        "_state",
        "_timeout",
        "reads",
        "resource",
        "writes",
    )

    def __init__(self, parties: int, action: Callable[[], object] | None = None, timeout: float | None = None) -> None:
        if parties < 1 and sys.version_info >= (3, 13):
            raise ValueError("parties must be > 0")
        self._parties = parties
        self._action = action
        self._timeout = timeout
        self._state = _FILLING
        self._count = 0
        self._in_action = False
        self.resource = resource("barrier")
        self.reads: Footprint = ((self.resource, READ),)
        self.writes: Footprint = ((self.resource, WRITE),)

    def wait(self, timeout: float | None = None) -> int:
        """Wait until all parties have come. The number of those that were there before."""
        if timeout is None:
            timeout = self._timeout
        take(Operation(f"arrive at {self.resource.name}", self.writes, self._open))
        if self._state == _BROKEN:
            raise BrokenBarrierError
        index = self._count
        self._count += 1
        try:
            if index + 1 == self._parties:
                self._trip()
            else:
                self._leave(timeout)
        finally:
            self._count -= 1
            if not self._count and self._state in (_DRAINING, _RESETTING):
                self._state = _FILLING
        return index

    def reset(self) -> None:
        """Make it as new. Those that wait there get a `BrokenBarrierError`."""
        take(Operation(f"reset {self.resource.name}", self.writes, self._quiet))
        if not self._count:
            self._state = _FILLING
        elif self._state in (_FILLING, _BROKEN):
            self._state = _RESETTING

    def abort(self) -> None:
        """Break it: those that wait there, and those that will, get a `BrokenBarrierError`."""
        take(Operation(f"abort {self.resource.name}", self.writes, self._quiet))
        self._state = _BROKEN

    @property
    def parties(self) -> int:
        """How many must come."""
        return self._parties

    @property
    def n_waiting(self) -> int:
        """How many wait there."""
        take(Operation(f"look at {self.resource.name}", self.reads))
        return self._count if self._state == _FILLING else 0

    @property
    def broken(self) -> bool:
        """Is it broken?"""
        take(Operation(f"look at {self.resource.name}", self.reads))
        return self._state == _BROKEN

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.resource.name}: waiters={self._count}/{self._parties}>"

    def _trip(self) -> None:
        self._in_action = True
        before, state = taken(), _BROKEN
        try:
            if self._action is not None:
                self._action()
            state = _DRAINING
        finally:
            if taken() != before:  # the action has taken some
                take(Operation(f"trip {self.resource.name}", self.writes))
            self._state = state
            self._in_action = False

    def _leave(self, timeout: float | None) -> None:
        if timeout is not None:
            timeout = max(timeout, 0)
        if not take(Operation(f"leave {self.resource.name}", self.writes, self._tripped, timeout=timeout)):
            take(Operation(f"give up {self.resource.name}", self.writes, self._quiet))
            if self._state == _FILLING:
                self._state = _BROKEN
        if self._state != _DRAINING:
            raise BrokenBarrierError

    def _quiet(self) -> bool:
        return not self._in_action

    def _open(self) -> bool:
        # Those of the round before leave first.
        return self._state in (_FILLING, _BROKEN) and not self._in_action

    def _tripped(self) -> bool:
        return self._state != _FILLING and not self._in_action
