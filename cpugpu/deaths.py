"""To be told when a thread dies of an exception that nobody catches, and in a line of what."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

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
