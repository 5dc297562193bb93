"""Events that are shared with another process: they have to live until that one has opened their handle.

What the other process does is not seen. So it is taken to have opened all handles when anything comes back from it:
what `multiprocessing` receives, a lock or a flag of it that is taken, a process that has ended, a collective.
"""

from __future__ import annotations

import functools
import multiprocessing.connection
import multiprocessing.process
import multiprocessing.synchronize
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from cpugpu.patches import Patch
from cpugpu.sanitize.events import Event
from cpugpu.sanitize.intercept.watch import Watch
from cpugpu.sanitize.places import here


def patches(watch: Watch, event: Any) -> Iterator[Patch]:
    """For a class of events, and for what comes from other processes."""
    yield event, "ipc_handle", _ipc_handle(watch, event.ipc_handle)
    connection: Any = multiprocessing.connection._ConnectionBase  # noqa: SLF001
    for name in ("recv", "recv_bytes", "recv_bytes_into"):
        yield connection, name, _answer(watch, getattr(connection, name))
    process: Any = multiprocessing.process.BaseProcess
    yield process, "join", _answer(watch, process.join)
    lock: Any = multiprocessing.synchronize.SemLock
    yield lock, "_make_methods", _make_methods(watch, lock._make_methods)  # noqa: SLF001


def _ipc_handle(watch: Watch, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def ipc_handle(self: Any) -> Any:
        handle = original(self)
        model, event = watch.model, watch.event(self)
        if event not in watch.exported:
            weakref.finalize(self, _ended, watch, event).atexit = False
            watch.exported.append(event)
        model.event_exported(model.me(), event, here())
        return handle

    return ipc_handle


def _ended(watch: Watch, event: Event) -> None:
    watch.model.event_destroyed(watch.model.me(), event, here())


def _answer(watch: Watch, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def answer(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        watch.answered()
        return result

    return answer


def _make_methods(watch: Watch, original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def make_methods(self: Any) -> None:
        original(self)
        self.acquire = _answer(watch, self.acquire)

    return make_methods
