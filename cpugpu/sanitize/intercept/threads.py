"""What orders CPU threads: locks, the start and the end of threads, queues, callbacks of an event loop.

Conditions, events, semaphores, barriers, `queue.Queue` and futures are written in Python over locks, so the locks tell
of all of them. What they look at without a lock is told besides: a poll that succeeds is an edge too (`Event.is_set()`,
`Thread.is_alive()`, a `Lock.locked()` that is False). Locks that were made before are not seen; start before the
program makes its own.

The locks of this package's simulated device are none of the program's, and are left alone: they would order everything.
"""

from __future__ import annotations

import _thread
import asyncio.base_events
import functools
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch

from cpugpu.patches import Patch
from cpugpu.sanitize.clocks import Actor
from cpugpu.sanitize.intercept import queues
from cpugpu.sanitize.intercept.watch import Watch
from cpugpu.sanitize.model import Model, Sync
from cpugpu.sanitize.places import here

#: Locks that are made here order what runs below the program.
_OURS = ("cpugpu.device.", "cpugpu.simulate.", "cpugpu.sanitize.", "cpugpu.debug.", "logging.")
_ACTOR = "_cpugpu_actor"


def patches(model: Model, watch: Watch) -> Iterator[Patch]:
    """What takes the place of the names of `threading`, `queue` and `asyncio`."""
    lock, rlock = _lock_maker(model), _rlock_maker(model)
    yield threading, "Lock", lock
    yield threading, "_allocate_lock", lock
    yield threading, "RLock", rlock
    thread = threading.Thread
    yield thread, "start", _start(model, thread.start)
    yield thread, "_bootstrap_inner", _bootstrap(model, watch, thread._bootstrap_inner)  # type: ignore[attr-defined]  # noqa: SLF001
    yield thread, "join", _join(model, thread.join, thread.is_alive)
    yield thread, "is_alive", _is_alive(model, thread.is_alive)
    yield _thread, "start_new_thread", _start_new(model, watch, _thread.start_new_thread)
    future: Any = torch.futures.Future
    yield future, "set_result", _set_result(model, future.set_result)
    for name in ("wait", "value"):
        yield future, name, _result(model, getattr(future, name))
    yield threading.Event, "is_set", _is_set(model, threading.Event.is_set)
    yield threading.Event, "set", _set(model, threading.Event.set)
    yield queue, "SimpleQueue", queues.simple_queue(model, _is_ours)
    yield from queues.patches(model)
    loop = asyncio.base_events.BaseEventLoop
    yield loop, "call_soon_threadsafe", _call_soon(model, loop.call_soon_threadsafe)


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
        return real() if _is_ours() else Lock()

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
        return real(*args, **kwargs) if _is_ours() else RLock(*args, **kwargs)

    return make


def _is_ours() -> bool:
    """Is it for a lock below the program: of the simulated device, or a queue's own, which `queues` stands for?"""
    frame = sys._getframe(2)  # noqa: SLF001
    if frame.f_globals.get("__name__") == "queue":
        return queues.stand_for(frame.f_locals.get("self"))
    while frame is not None and frame.f_globals.get("__name__") in ("threading", "queue"):
        frame = frame.f_back  # type: ignore[assignment]
    return frame is not None and f"{frame.f_globals.get('__name__')}.".startswith(_OURS)


def _start(model: Model, original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def start(self: threading.Thread) -> None:
        setattr(self, _ACTOR, model.thread(self.name, model.me(), place=here()))
        original(self)

    return start


def _bootstrap(model: Model, watch: Watch, original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def bootstrap(self: threading.Thread) -> None:
        actor: Actor | None = getattr(self, _ACTOR, None)
        if actor is not None:
            model.adopt(actor)
            watch.enter_thread()
        try:
            original(self)
        finally:
            if actor is not None:
                model.thread_ended(actor)

    return bootstrap


def _start_new(model: Model, watch: Watch, original: Callable[..., int]) -> Callable[..., int]:
    """A thread without an object. `threading` has the function by a name of its own."""

    @functools.wraps(original)
    def start_new_thread(function: Callable[..., object], args: Any, kwargs: Any = None) -> int:
        actor = model.thread("a thread of _thread's", model.me(), place=here())

        @functools.wraps(function)
        def run(*its: Any, **named: Any) -> None:
            model.adopt(actor)
            watch.enter_thread()
            try:
                function(*its, **named)
            finally:
                model.thread_ended(actor)

        return original(run, args, kwargs or {})

    return start_new_thread


def _join(model: Model, original: Callable[..., None], alive: Callable[..., bool]) -> Callable[..., None]:
    @functools.wraps(original)
    def join(self: threading.Thread, timeout: float | None = None) -> None:
        original(self, timeout)
        if not alive(self):
            _saw_end(model, self)

    return join


def _is_alive(model: Model, original: Callable[..., bool]) -> Callable[..., bool]:
    @functools.wraps(original)
    def is_alive(self: threading.Thread) -> bool:
        alive = original(self)
        if not alive and self.ident is not None:
            _saw_end(model, self)
        return alive

    return is_alive


def _saw_end(model: Model, thread: threading.Thread) -> None:
    actor: Actor | None = getattr(thread, _ACTOR, None)
    if actor is not None:
        model.joined(model.me(), actor)


def _set(model: Model, original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def set_(self: threading.Event) -> None:
        model.release(model.me(), _sync_of(self), "set() of an event", here())
        original(self)

    return set_


def _is_set(model: Model, original: Callable[..., bool]) -> Callable[..., bool]:
    @functools.wraps(original)
    def is_set(self: threading.Event) -> bool:
        found = original(self)
        if found:
            model.acquire(model.me(), _sync_of(self))
        return found

    return is_set


def _set_result(model: Model, original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def set_result(self: Any, result: Any) -> None:
        model.release(model.me(), _sync_of(self), "set_result() of a future", here())
        original(self, result)

    return set_result


def _result(model: Model, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def result(self: Any) -> Any:
        try:
            return original(self)
        finally:
            model.acquire(model.me(), _sync_of(self))

    return result


def _sync_of(thing: Any) -> Sync:
    return thing.__dict__.setdefault("_cpugpu_sync", Sync("an event"))  # type: ignore[no-any-return]


def _call_soon(model: Model, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def call_soon_threadsafe(self: Any, callback: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        sync = Sync("a callback of an event loop")
        model.release(model.me(), sync, place=here())

        @functools.wraps(callback)
        def called(*its: Any) -> Any:
            model.acquire(model.me(), sync)
            return callback(*its)

        return original(self, called, *args, **kwargs)

    return call_soon_threadsafe
