"""Put the stand-ins in the place of what they stand in for, and everything back afterwards.

A name that a module has imported before ("from threading import Event") stays what it was. The classes that are written
in Python work all the same, in smaller steps: what they are made of stands in. What is written in C does not: Lock and
SimpleQueue.
"""

from __future__ import annotations

import _thread
import concurrent.futures
import concurrent.futures.thread
import multiprocessing.process
import os
import queue
import signal
import socket
import subprocess
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import _base
from contextlib import contextmanager
from typing import Any, TypeAlias

from cpugpu.explore.standins import clock, earlier, events, futures, instruments, local, locks, pools, queues, threads
from cpugpu.explore.standins.steps import logical
from cpugpu.explore.unmodelled import Unmodelled

#: Whose attribute, its name, and what takes its place.
Replacement: TypeAlias = "tuple[Any, str, object]"

_ABSENT = object()
_active = False

_THREADING: dict[str, object] = {
    "Lock": locks.Lock,
    "RLock": locks.RLock,
    "Condition": locks.Condition,
    "Event": events.Event,
    "Semaphore": events.Semaphore,
    "BoundedSemaphore": events.BoundedSemaphore,
    "Barrier": events.Barrier,
    "Thread": threads.Thread,
    "Timer": threads.Timer,
    "_MainThread": threads.MainThread,
    "local": local.local,
    "get_ident": threads.get_ident,
    "get_native_id": threads.get_native_id,
    "current_thread": threads.current_thread,
    "main_thread": threads.main_thread,
    "enumerate": threads.enumerate,
    "active_count": threads.active_count,
    "excepthook": threads.excepthook,
}
_QUEUES: dict[str, object] = {
    "Queue": queues.Queue,
    "LifoQueue": queues.LifoQueue,
    "PriorityQueue": queues.PriorityQueue,
    "SimpleQueue": queues.SimpleQueue,
}
_FUTURES: dict[str, object] = {
    "Future": futures.Future,
    "wait": futures.wait,
    "as_completed": futures.as_completed,
}
_CLOCKS = ("sleep", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "time", "time_ns")


def _modelled() -> Iterator[Replacement]:
    for name, stand_in in _THREADING.items():
        yield threading, name, stand_in
    for name in _CLOCKS:
        yield time, name, getattr(clock, name)
    for name, stand_in in _QUEUES.items():
        yield queue, name, stand_in
    for name, stand_in in _FUTURES.items():
        yield concurrent.futures, name, stand_in
        yield _base, name, stand_in
    yield concurrent.futures, "ThreadPoolExecutor", pools.ThreadPoolExecutor
    yield concurrent.futures.thread, "ThreadPoolExecutor", pools.ThreadPoolExecutor


def _below() -> Iterator[Replacement]:
    """What the real classes are made of, for a logical thread that has one. Other threads go on with the real ones."""
    for name, stand_in in (("_allocate_lock", locks.Lock), ("_CRLock", locks.RLock)):
        if hasattr(threading, name):
            yield threading, name, _chooses(getattr(threading, name), stand_in)
    yield threading, "_time", clock.monotonic
    yield queue, "time", clock.monotonic
    yield from earlier.replacements()
    yield from instruments.replacements()
    yield concurrent.futures.thread, "_global_shutdown_lock", locks.Lock()
    yield concurrent.futures.thread, "_threads_queues", weakref.WeakKeyDictionary()


def _chooses(real: Callable[..., object], stand_in: Callable[..., object]) -> Callable[..., object]:
    def chosen(*args: object, **kwargs: object) -> object:
        return real(*args, **kwargs) if logical() is None else stand_in(*args, **kwargs)

    return chosen


# -- what has no model -----------------------------------------------------------------------------------------------

_PROCESS = "a process runs beside the explorer; leave it out, or put a function in its place for the exploration"
_RAW_THREAD = "it starts a real thread, which no scheduler holds; make a threading.Thread within the scenario"
_SOCKET = "it blocks the one thread that the explorer has; put a queue or an event in its place for the exploration"
_TO_A_THREAD = "there is no such thread for the system; what a handler would do, a thread of the scenario can do"
_BLOCKING = ("accept", "connect", "recv", "recv_into", "recvfrom", "recvfrom_into", "send", "sendall", "sendto")


def _unmodelled() -> Iterator[Replacement]:
    for name in ("fork", "forkpty", "posix_spawn", "posix_spawnp", "system"):
        if hasattr(os, name):
            yield os, name, _refuses(getattr(os, name), f"os.{name}()", _PROCESS)
    yield subprocess.Popen, "__init__", _refuses(subprocess.Popen.__init__, "subprocess.Popen()", _PROCESS)
    process = multiprocessing.process.BaseProcess
    yield process, "start", _refuses(process.start, "multiprocessing.Process.start()", _PROCESS)
    for owner, name in (
        (_thread, "start_new_thread"),
        (_thread, "start_new"),
        (_thread, "start_joinable_thread"),
        (threading, "_start_new_thread"),
        (threading, "_start_joinable_thread"),
    ):
        if hasattr(owner, name):
            yield owner, name, _refuses(getattr(owner, name), f"_thread.{name.removeprefix('_')}()", _RAW_THREAD)
    if hasattr(signal, "pthread_kill"):  # with the ident of a logical thread it crashes
        yield signal, "pthread_kill", _refuses(signal.pthread_kill, "signal.pthread_kill()", _TO_A_THREAD)
    for name in _BLOCKING:
        yield socket.socket, name, _refuses_to_block(getattr(socket.socket, name), f"socket.{name}()")


def _refuses(real: Callable[..., Any], what: str, advice: str) -> Callable[..., Any]:
    def refused(*args: Any, **kwargs: Any) -> Any:
        if logical() is not None:
            raise Unmodelled(what, advice)
        return real(*args, **kwargs)

    return refused


def _refuses_to_block(real: Callable[..., Any], what: str) -> Callable[..., Any]:
    def refused(self: socket.socket, *args: Any, **kwargs: Any) -> Any:
        if logical() is not None and self.gettimeout() != 0:
            raise Unmodelled(what, _SOCKET)
        return real(self, *args, **kwargs)

    return refused


@contextmanager
def standing_in() -> Iterator[None]:
    """Within it, `threading`, `queue`, `time` and `concurrent.futures` are the stand-ins, for the whole process.

    A program that starts something real in a thread of an exploration gets an `Unmodelled` instead.
    """
    global _active
    if _active:
        raise RuntimeError(
            "standing_in() is active already; it is for the whole process, so leave the first one before"
        )
    _active = True
    saved: list[Replacement] = []
    try:
        for owner, name, stand_in in (*_modelled(), *_below(), *_unmodelled()):
            saved.append((owner, name, vars(owner).get(name, _ABSENT)))
            setattr(owner, name, stand_in)
        yield
    finally:
        for owner, name, before in reversed(saved):
            now = vars(owner).get(name, _ABSENT)
            if before is _ABSENT and now is not _ABSENT:
                delattr(owner, name)
            elif before is not now:
                setattr(owner, name, before)
        _active = False
