"""Classes of `threading` that somebody has imported or derived from before the stand-ins came.

A module that explores its own classes has made them when it was imported: `class Worker(threading.Thread)`. A thread of
such a class, made by a thread of an exploration, is modelled: the real class does for it what the stand-in does.
"""

from __future__ import annotations

import threading as real
from collections.abc import Callable, Iterator
from typing import Any

from cpugpu.explore.standins.steps import logical
from cpugpu.explore.standins.threads import Thread
from cpugpu.explore.unmodelled import Unmodelled

_RealThread, _RealSemaphore, _RealBounded = real.Thread, real.Semaphore, real.BoundedSemaphore
_init, _real_start = real.Thread.__init__, real.Thread.start


def replacements() -> Iterator[tuple[Any, str, object]]:
    """Whose attribute, its name, and what takes its place."""
    yield _RealThread, "actor", None
    yield _RealThread, "idle", False
    yield _RealThread, "__init__", _make
    yield _RealThread, "start", _start
    for name in ("join", "is_alive", "__repr__"):
        yield _RealThread, name, _either(getattr(_RealThread, name), getattr(Thread, name))
    for name in ("ident", "native_id", "daemon"):
        before, stand_in = getattr(_RealThread, name), getattr(Thread, name)
        setter = None if before.fset is None else _either(before.fset, stand_in.fset)
        yield _RealThread, name, property(_either(before.fget, stand_in.fget), setter)
    yield _RealBounded, "__init__", _make_bounded


def _make(self: Any, *args: Any, **kwargs: Any) -> None:
    (_init if logical() is None else Thread.__init__)(self, *args, **kwargs)


def _start(self: Any) -> None:
    if "resource" in vars(self):
        Thread.start(self)
    elif logical() is not None:
        raise Unmodelled("a thread that was made before", "make it within the scenario")
    else:
        _real_start(self)


def _make_bounded(self: Any, value: int = 1) -> None:
    _RealSemaphore.__init__(self, value)  # before Python 3.12 it asks `threading` for that class
    self._initial_value = value


def _either(real_one: Callable[..., Any], stand_in: Callable[..., Any]) -> Callable[..., Any]:
    def either(self: Any, *args: Any, **kwargs: Any) -> Any:
        modelled = "resource" in vars(self)  # as the stand-in has made it
        return (stand_in if modelled else real_one)(self, *args, **kwargs)

    return either
