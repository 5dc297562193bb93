"""Lock, RLock and Condition.

A stand-in takes a step and then changes its own state: nothing of another thread comes between. What Python does under
a lock of its own, and nobody can see half done, is one step here. A lock that is part of something else has the
resource of the whole: `_over`.
"""

from __future__ import annotations

import sys
from _thread import RLock as _RealRLock
from _thread import allocate_lock
from collections import deque
from collections.abc import Callable
from threading import TIMEOUT_MAX
from typing import Any, TypeAlias

from cpugpu.explore.execution import Thread, current
from cpugpu.explore.operation import READ, WRITE, Footprint, Operation, Resource
from cpugpu.explore.standins.clock import monotonic
from cpugpu.explore.standins.steps import deprecated, me, misuse, resource, take, touch
from cpugpu.explore.standins.wakes import Waiter, Wake
from cpugpu.explore.unmodelled import Unmodelled

#: How deep a lock was held, and by whom; None for one that does not know.
Held: TypeAlias = "tuple[int, Thread | int | None] | None"

_NEGATIVE = f"timeout value must be {'a non-negative number' if sys.version_info >= (3, 13) else 'positive'}"
_REAL = (type(allocate_lock()), _RealRLock)


def patience(blocking: bool, timeout: float) -> float | None:
    """For how long to wait for a lock: None for ever, 0 not at all."""
    if not blocking:
        if timeout != -1:
            raise ValueError("can't specify a timeout for a non-blocking call")
        return 0
    if timeout == -1:
        return None
    if timeout != timeout:
        raise ValueError("Invalid value NaN (not a number)")
    if timeout < 0:
        raise ValueError(_NEGATIVE)
    if timeout > TIMEOUT_MAX:
        raise OverflowError("timestamp out of range for platform time_t")
    return timeout


class Lock:
    """Stands in for `threading.Lock`. Anybody may release it."""

    __slots__ = ("__weakref__", "held", "holder", "resource", "strangers", "writes")

    def __init__(self, *, _over: Resource | None = None) -> None:
        self.held = False
        self.holder: Thread | int | None = None  # who took it last
        self.resource = _over or resource("lock")
        #: Touched where somebody releases it whom it does not belong to.
        self.strangers = Resource((*self.resource.key, "strangers"), f"{self.resource.name}, by a stranger")
        self.writes: Footprint = ((self.resource, WRITE),)

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take it. False if it was not to be had, or not in time."""
        seconds = None if blocking and timeout == -1 else patience(blocking, timeout)
        if seconds == 0:
            take(Operation(f"try {self.resource.name}", self.writes))
            if self.held:
                return False
        elif not take(Operation(f"acquire {self.resource.name}", self.writes, self.free, timeout=seconds)):
            return False
        self.held = True
        self.holder = me()
        return True

    def release(self) -> None:
        """Give it back."""
        take(Operation(f"release {self.resource.name}", self.writes))
        if not self.held:
            misuse("release unlocked lock")
        if self.holder != me():
            touch((self.strangers, WRITE))
        self.held = False

    def locked(self) -> bool:
        """Does anybody hold it?"""
        take(Operation(f"look at {self.resource.name}", ((self.resource, READ),)))
        return self.held

    acquire_lock, release_lock, locked_lock = acquire, release, locked

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exception: object) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"<{'locked' if self.held else 'unlocked'} {self.resource.name}>"

    def _at_fork_reinit(self) -> None:
        self.held = False

    # -- for a Condition, within a step of its own -------------------------------------------------------------------

    def free(self) -> bool:
        """Could somebody who does not hold it take it now?"""
        return not self.held

    def owned(self) -> bool:
        """May the caller wait and notify? A plain lock knows no owner: whoever holds it will do."""
        return self.held

    def let_go(self) -> Held:
        """Release it, however deep it is held."""
        self.held = False
        return None

    def take_back(self, held: Held) -> None:  # noqa: ARG002
        """Hold it again as before."""
        self.held = True
        self.holder = me()


class RLock:
    """Stands in for `threading.RLock`: its owner may take it again, and must release it as often."""

    __slots__ = ("__weakref__", "count", "owner", "resource", "writes")

    def __init__(self, *, _over: Resource | None = None) -> None:
        self.owner: Thread | int | None = None
        self.count = 0
        self.resource = _over or resource("rlock")
        self.writes: Footprint = ((self.resource, WRITE),)

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take it, once more where one has it. False if it was not to be had, or not in time."""
        seconds = None if blocking and timeout == -1 else patience(blocking, timeout)
        caller = me()
        if seconds == 0 or self.owner == caller:  # nobody else can make or unmake one its owner
            take(Operation(f"try {self.resource.name}", self.writes))
            if self.owner not in (None, caller):
                return False
        elif not take(Operation(f"acquire {self.resource.name}", self.writes, self.free, timeout=seconds)):
            return False
        self.owner = caller
        self.count += 1
        return True

    def release(self) -> None:
        """Give it back once."""
        take(Operation(f"release {self.resource.name}", self.writes))
        if self.owner != me():
            misuse("cannot release un-acquired lock")
            return
        self.count -= 1
        if not self.count:
            self.owner = None

    if sys.version_info >= (3, 14):

        def locked(self) -> bool:
            """Does anybody hold it?"""
            take(Operation(f"look at {self.resource.name}", ((self.resource, READ),)))
            return self.count > 0

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exception: object) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"<{'locked' if self.count else 'unlocked'} {self.resource.name} owner={self.owner} count={self.count}>"

    # What `threading.Condition` asks of a lock that it is given.

    def _is_owned(self) -> bool:
        return self.owned()

    def _recursion_count(self) -> int:
        return self.count if self.owned() else 0

    def _release_save(self) -> Held:
        take(Operation(f"release {self.resource.name}", self.writes))
        if not self.count:
            misuse("cannot release un-acquired lock")
        return self.let_go()

    def _acquire_restore(self, held: Held) -> None:
        take(Operation(f"acquire {self.resource.name}", self.writes, self.free))
        self.take_back(held)

    def _at_fork_reinit(self) -> None:
        self.owner, self.count = None, 0

    # -- for a Condition, within a step of its own -------------------------------------------------------------------

    def free(self) -> bool:
        """Could somebody who does not hold it take it now?"""
        return not self.count

    def owned(self) -> bool:
        """Does the caller hold it?"""
        return self.owner == me()

    def let_go(self) -> Held:
        """Release it, however deep it is held."""
        held = self.count, self.owner
        self.owner, self.count = None, 0
        return held

    def take_back(self, held: Held) -> None:
        """Hold it again as before."""
        assert held is not None
        self.count, self.owner = held


class Condition:
    """Stands in for `threading.Condition`.

    A wait is two steps: "wait" releases the lock and falls asleep, "wake" takes the lock back. A wait that timed out is
    a waiter until it has the lock back, as in CPython: a notification that comes meanwhile is lost on it.
    """

    __slots__ = ("__dict__", "__weakref__", "_both", "_lock", "_waiters", "_writes", "acquire", "release", "resource")

    def __init__(self, lock: Any = None) -> None:
        if lock is None:
            lock = RLock()
        elif isinstance(lock, _REAL):
            raise Unmodelled("a Condition over a lock that was made before", "make the lock within the scenario")
        self._lock = lock
        self.acquire: Callable[..., bool] = lock.acquire
        self.release: Callable[..., None] = lock.release
        self._waiters: deque[Waiter] = deque()
        self.resource: Resource = resource("condition")
        writes: Footprint = ((self.resource, WRITE),)
        if not isinstance(lock, (Lock, RLock)):
            self._both = self._writes = writes
            return
        self._both = (*writes, (lock.resource, WRITE))
        # Whether a plain lock is held, somebody else can change.
        self._writes = (*writes, (lock.strangers, READ)) if isinstance(lock, Lock) else writes

    def __enter__(self) -> bool:
        entered: bool = self._lock.__enter__()
        return entered

    def __exit__(self, *exception: object) -> None:
        self._lock.__exit__(*exception)

    def __repr__(self) -> str:
        return f"<Condition({self._lock!r}, {len(self._waiters)})>"

    def wait(self, timeout: float | None = None) -> bool:
        """Release the lock, sleep until notified, take the lock back. False if the time ran out."""
        lock = self._lock
        if not isinstance(lock, (Lock, RLock)):
            return self._wait_with_another(timeout)
        take(Operation(f"wait {self.resource.name}", self._both))
        if not lock.owned():
            misuse("cannot wait on un-acquired lock")
        waiter = self._waiter()
        held = lock.let_go()
        woken = Wake(waiter, lock.free)
        try:
            got = take(Operation(f"wake {self.resource.name}", self._both, woken, timeout=_at_least_0(timeout)))
            if not got:
                take(Operation(f"take back {lock.resource.name}", self._both, lock.free))
        except BaseException:  # it unwinds, and finds the lock as it left it
            lock.take_back(held)
            raise
        lock.take_back(held)
        if not waiter.notified:
            self._waiters.remove(waiter)
        woken.ended(in_time=got)
        return got

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        """Wait until `predicate()` holds, which is looked at when notified. Its last value."""
        deadline, remaining = None, timeout
        result = predicate()
        while not result:
            if timeout is not None:
                if deadline is None:
                    deadline = monotonic() + timeout
                else:
                    remaining = deadline - monotonic()
                    if remaining <= 0:
                        break
            self.wait(remaining)
            result = predicate()
        return result

    def notify(self, n: int = 1) -> None:
        """Wake the `n` that have waited longest."""
        lock = self._lock
        owned = isinstance(lock, (Lock, RLock)) or self._is_owned()
        take(Operation(f"notify {self.resource.name}", self._writes))
        if isinstance(lock, Lock) and lock.holder != me():
            touch((lock.resource, READ))
        if not owned or (isinstance(lock, (Lock, RLock)) and not lock.owned()):
            misuse("cannot notify on un-acquired lock")
        self.rouse(n)

    def rouse(self, n: int) -> None:
        """Do so within the current step."""
        waiters = self._waiters
        while waiters and n > 0:
            waiters.popleft().notified = True
            n -= 1

    def notify_all(self) -> None:
        """Wake all that wait."""
        self.notify(sys.maxsize)

    def notifyAll(self) -> None:  # noqa: N802
        """The old name of `notify_all`."""
        deprecated("notifyAll()", "use notify_all()")
        self.notify_all()

    def _waiter(self) -> Waiter:
        waiter = Waiter()
        self._waiters.append(waiter)
        return waiter

    # -- over a lock of the user's own making, whose steps are its own: what it has, or as CPython does without -------

    def _wait_with_another(self, timeout: float | None) -> bool:
        owned = self._is_owned()
        take(Operation(f"wait {self.resource.name}", self._writes))
        if not owned:
            misuse("cannot wait on un-acquired lock")
        waiter = self._waiter()
        held = self._release_save()
        woken = Wake(waiter, lambda: True)
        got = take(Operation(f"wake {self.resource.name}", self._writes, woken, timeout=_at_least_0(timeout)))
        woken.ended(in_time=got)
        self._acquire_restore(held)
        if not got or current().spurious:
            take(Operation(f"leave {self.resource.name}", self._writes))
            if not waiter.notified:
                self._waiters.remove(waiter)
        return got

    def _is_owned(self) -> bool:
        lock = self._lock
        if hasattr(lock, "_is_owned"):
            return bool(lock._is_owned())  # noqa: SLF001
        if lock.acquire(False):
            lock.release()
            return False
        return True

    def _release_save(self) -> Any:
        if hasattr(self._lock, "_release_save"):
            return self._lock._release_save()  # noqa: SLF001
        return self._lock.release()

    def _acquire_restore(self, held: Any) -> None:
        if hasattr(self._lock, "_acquire_restore"):
            self._lock._acquire_restore(held)  # noqa: SLF001
        else:
            self._lock.acquire()


def _at_least_0(timeout: float | None) -> float | None:
    return None if timeout is None else max(timeout, 0)
