"""What orders CPU threads: their start and their end, locks, queues, flags, callbacks of an event loop.

Conditions, events, semaphores, barriers, `queue.Queue` and futures are written in Python over locks (`locks.py`), which
tell of all of them. What they look at without a lock is told besides: a poll that succeeds is an edge too
(`Event.is_set()`, `Thread.is_alive()`).

A thread may also die: see `cpugpu/sanitize/feeds.py`.
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

from cpugpu.deaths import when_it_dies
from cpugpu.patches import Patch
from cpugpu.sanitize.clocks import Actor
from cpugpu.sanitize.intercept import locks, pools, queues
from cpugpu.sanitize.intercept.watch import Watch
from cpugpu.sanitize.model import Model, Sync
from cpugpu.sanitize.places import here

_ACTOR = "_cpugpu_actor"


def patches(model: Model, watch: Watch) -> Iterator[Patch]:
    """What takes the place of the names of `threading`, `queue` and `asyncio`."""
    yield from locks.patches(model)
    thread = threading.Thread
    yield thread, "start", _start(model, watch, thread.start)
    yield thread, "_bootstrap_inner", _bootstrap(model, watch, thread._bootstrap_inner)  # type: ignore[attr-defined]  # noqa: SLF001
    yield thread, "join", _join(model, thread.join, thread.is_alive)
    yield thread, "is_alive", _is_alive(model, thread.is_alive)
    yield _thread, "start_new_thread", _start_new(model, watch, _thread.start_new_thread)
    yield from pools.patches(model, watch)
    future: Any = torch.futures.Future
    yield future, "set_result", _set_result(model, future.set_result)
    for name in ("wait", "value"):
        yield future, name, _result(model, getattr(future, name))
    yield threading.Event, "is_set", _is_set(model, threading.Event.is_set)
    yield threading.Event, "set", _set(model, threading.Event.set)
    yield queue, "SimpleQueue", queues.simple_queue(model, locks.is_ours)
    yield from queues.patches(model)
    loop = asyncio.base_events.BaseEventLoop
    yield loop, "call_soon_threadsafe", _call_soon(model, loop.call_soon_threadsafe)


def _start(model: Model, watch: Watch, original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def start(self: threading.Thread) -> None:
        if self.ident is None:  # or it is refused
            setattr(self, _ACTOR, _begun(model, watch, self.name))
        original(self)

    return start


def _begun(model: Model, watch: Watch, name: str) -> Actor:
    """The calling thread starts another."""
    me = model.me()
    actor = model.thread(name, me, here())
    actor.starter = watch.starter(me)
    return actor


def _bootstrap(model: Model, watch: Watch, original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def bootstrap(self: threading.Thread) -> None:
        actor: Actor | None = getattr(self, _ACTOR, None)
        if actor is None:
            original(self)
            return
        when_it_dies(self, functools.partial(pools.dies, model, actor))
        model.adopt(actor)
        watch.enter_thread()
        try:
            original(self)
        finally:
            model.work_ended(actor)
            model.thread_ended(actor)

    return bootstrap


def lasting(model: Model) -> list[Actor]:
    """The calling thread, and those that are alive and for which Python waits at its end."""
    threads = [getattr(each, _ACTOR, None) for each in threading.enumerate() if not each.daemon]
    return [model.me(), *(actor for actor in threads if actor is not None and actor is not model.me())]


def _start_new(model: Model, watch: Watch, original: Callable[..., int]) -> Callable[..., int]:
    """A thread without an object. `threading` has the function by a name of its own."""

    @functools.wraps(original)
    def start_new_thread(function: Callable[..., object], args: Any, kwargs: Any = None) -> int:
        actor = _begun(model, watch, "a thread of _thread's")

        @functools.wraps(function)
        def run(*its: Any, **named: Any) -> None:
            model.adopt(actor)
            watch.enter_thread()
            try:
                function(*its, **named)
            except BaseException as error:
                pools.dies(model, actor, error)
                raise
            finally:
                model.work_ended(actor)
                model.thread_ended(actor)

        return original(run, args, kwargs or {})

    return start_new_thread


def _join(model: Model, original: Callable[..., None], alive: Callable[..., bool]) -> Callable[..., None]:
    @functools.wraps(original)
    def join(self: threading.Thread, timeout: float | None = None) -> None:
        me = model.me()
        asks, by_pool = me.asks, sys._getframe(1).f_globals.get("__name__") == "concurrent.futures.thread"  # noqa: SLF001
        original(self, timeout)
        if not alive(self):
            _saw_end(model, self)
        if by_pool:
            me.asks = asks  # at the end of a pool nobody looks what has become of its tasks

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
        model.release(model.me(), locks.sync_of(self), "set() of an event", here())
        original(self)

    return set_


def _is_set(model: Model, original: Callable[..., bool]) -> Callable[..., bool]:
    @functools.wraps(original)
    def is_set(self: threading.Event) -> bool:
        found = original(self)
        if found:
            model.acquire(model.me(), locks.sync_of(self))
        return found

    return is_set


def _set_result(model: Model, original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def set_result(self: Any, result: Any) -> None:
        model.release(model.me(), locks.sync_of(self), "set_result() of a future", here())
        original(self, result)

    return set_result


def _result(model: Model, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def result(self: Any) -> Any:
        try:
            return original(self)
        finally:
            model.acquire(model.me(), locks.sync_of(self))

    return result


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
