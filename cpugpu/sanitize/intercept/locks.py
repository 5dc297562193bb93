"""Locks: who has one is after whoever had it before.

A `Lock.locked()` that is False is an edge too. Locks that were made before are not seen; start before the program makes
its own. Those of this package's simulated device and those within a pool of threads are none of the program's, and are
left alone: they would order everything.
"""

from __future__ import annotations

import _thread
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from cpugpu.patches import Patch
from cpugpu.sanitize.intercept import queues
from cpugpu.sanitize.model import Model, Sync
from cpugpu.sanitize.places import here

#: Locks that are made here order what runs below the program.
_OURS = ("cpugpu.device.", "cpugpu.simulate.", "cpugpu.sanitize.", "cpugpu.debug.", "logging.")
#: A pool's own locks order whoever submits, and a task that is submitted after those that were done by then: by luck.
_POOLS = "concurrent.futures.thread"


def patches(model: Model) -> Iterator[Patch]:
    """What takes the place of the functions that make one."""
    lock, rlock = _lock_maker(model), _rlock_maker(model)
    yield threading, "Lock", lock
    yield threading, "_allocate_lock", lock
    yield threading, "RLock", rlock


def _lock_maker(model: Model) -> Callable[[], Any]:
    real = _thread.allocate_lock

    class Lock:
        """`threading.Lock`, which tells who has it after whom."""

        __slots__ = ("__weakref__", "_lock", "_sync")

        def __init__(self) -> None:
            self._lock = real()
            self._sync = Sync("a lock")

        def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
            # A signal handler that raises must not come between the lock and its owner, see `cpugpu/gate.py`.
            got = False
            try:
                for got in map(self._lock.acquire, (blocking,), (timeout,)):  # noqa: B007
                    break
                if got:
                    model.acquire(model.me(), self._sync)
            except BaseException:
                if got:
                    self._lock.release()
                raise
            return got

        def release(self) -> None:
            if self._lock.locked():
                model.release(model.me(), self._sync, place=here())
            self._lock.release()

        def locked(self) -> bool:
            held = self._lock.locked()
            if not held:
                model.acquire(model.me(), self._sync)
            return held

        def __enter__(self) -> bool:
            return self.acquire()

        def __exit__(self, *exc_info: object) -> None:
            self.release()

        def _at_fork_reinit(self) -> None:
            self._lock._at_fork_reinit()  # type: ignore[attr-defined]  # noqa: SLF001 - as threading does

        def __reduce_ex__(self, protocol: Any) -> Any:
            return self._lock.__reduce_ex__(protocol)  # which refuses

        acquire_lock, release_lock, locked_lock = acquire, release, locked

        def __repr__(self) -> str:
            return repr(self._lock)

    def make() -> Any:
        return real() if is_ours(locks=True) else Lock()

    return make


def _rlock_maker(model: Model) -> Callable[[], Any]:
    real: Any = _thread.RLock

    class RLock(real):  # type: ignore[misc]
        """`threading.RLock`, which tells who has it after whom."""

        def __init__(self) -> None:
            super().__init__()
            self._sync = Sync("a lock")

        def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
            got: bool = super().acquire(blocking, timeout)
            if got:
                model.acquire(model.me(), self._sync)
            return got

        def release(self) -> None:
            if self._is_owned():
                model.release(model.me(), self._sync, place=here())
            super().release()

        def __enter__(self) -> bool:
            return self.acquire()

        def __exit__(self, *exc_info: object) -> None:
            self.release()

        def _release_save(self) -> Any:
            model.release(model.me(), self._sync, place=here())
            return super()._release_save()

        def _acquire_restore(self, state: Any) -> None:
            super()._acquire_restore(state)
            model.acquire(model.me(), self._sync)

        def __reduce_ex__(self, protocol: Any) -> Any:
            return real().__reduce_ex__(protocol)  # which refuses

    def make(*args: Any, **kwargs: Any) -> Any:
        return real(*args, **kwargs) if is_ours(locks=True) else RLock(*args, **kwargs)

    return make


def is_ours(*, locks: bool = False) -> bool:
    """Is what the caller makes below the program? And with `locks`, is it a lock within a pool?

    A queue's own locks are, where `queues` stands for them: its mutex, and what those wait for that wait at it.
    """
    frame: FrameType | None = sys._getframe(2)  # noqa: SLF001
    while frame is not None and frame.f_globals.get("__name__") in ("threading", "queue"):
        if frame.f_globals["__name__"] == "queue":
            return queues.stand_for(frame.f_locals.get("self"))
        frame = frame.f_back
    if frame is None:
        return False
    name = frame.f_globals.get("__name__")
    return f"{name}.".startswith(_OURS) or (locks and name == _POOLS and frame.f_code.co_name == "__init__")


def sync_of(thing: Any) -> Sync:
    """What an object of the program's stands for that is no lock: a flag, a future, a pool."""
    return thing.__dict__.setdefault("_cpugpu_sync", Sync("an event"))  # type: ignore[no-any-return]
