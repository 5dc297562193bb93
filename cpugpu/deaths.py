"""The end of threads: whether one has ended, and what it has died of."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

from cpugpu.stacks import current_frames

_LONGEST = 200


def when_it_dies(thread: threading.Thread, told: Callable[[BaseException], None]) -> None:
    """Have `told` called with the exception, in `thread`, before `threading.excepthook` is.

    This wraps what this one thread object calls at its end, an attribute of CPython's `Thread` (3.8 to 3.14);
    `threading.excepthook` belongs to everybody and is left alone. Where the attribute is missing nothing is told.
    `SystemExit` is told of too.
    """
    hook = getattr(thread, "_invoke_excepthook", None)
    if not callable(hook) or isinstance(thread, threading._DummyThread):  # noqa: SLF001
        return

    def invoke(dying: threading.Thread) -> None:
        exception = sys.exc_info()[1]
        if exception is not None:
            told(exception)
        del exception
        hook(dying)

    thread._invoke_excepthook = invoke  # type: ignore[attr-defined]  # noqa: SLF001


def describe(exception: BaseException) -> str:
    """What `exception` is, on one line of bounded length, whatever its class does."""
    try:
        text = " ".join(repr(exception).split())
    except Exception:
        text = type(exception).__name__
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def alive(thread: Any) -> bool:
    """May `thread` still do something?

    One that was not started yet may. The main thread may until the process is gone: handlers at exit run in it. A
    thread that was not made by `threading` is not told of its end; it lives if it is executing Python.
    """
    if isinstance(thread, threading._DummyThread):  # noqa: SLF001
        return thread.ident in current_frames() and threading._active.get(thread.ident) is thread  # type: ignore[attr-defined]  # noqa: SLF001
    if isinstance(thread, threading.Thread):
        return thread.ident is None or thread is threading.main_thread() or thread.is_alive()
    return bool(thread.is_alive())
