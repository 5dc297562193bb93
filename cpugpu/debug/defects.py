"""What goes wrong in the debug mode itself: it must not disturb the program under watch.

A rule, a log handler or the repr of somebody's stream may raise. That is noted where it is caught, counted, told once
for each place on the logger `cpugpu`, and the program goes on as if no rule had been broken there. Only `Exception`:
Ctrl-C and the like are for the program.
"""

from __future__ import annotations

import logging
import threading
import traceback
from collections import Counter, deque

from cpugpu.debug import process

log = logging.getLogger("cpugpu")

#: How often each place has raised.
counts: Counter[str] = Counter()
#: What is to be logged. Where `note()` is called a lock or the token may be held, and a handler may do anything.
untold: deque[str] = deque()

_lock = threading.RLock()  # a signal handler may come in


def note(where: str) -> None:
    """In an `except` clause: `where` has raised. Calls no handler: `tell()` must follow, sooner or later."""
    with _lock:
        counts[where] += 1
        first = counts[where] == 1
    if first:
        trace = traceback.format_exc().rstrip()
        untold.append(f"{where} has raised; the program goes on (told once)\n{trace}")


def tell() -> None:
    """Log what was noted."""
    while untold:
        try:
            text = untold.popleft()
        except IndexError:  # another thread tells it
            return
        say(logging.ERROR, "cpugpu: the debug mode has a defect: %s", text)


def say(level: int, message: str, *arguments: object) -> None:
    """Log. What a handler raises is noted; if it always does, nobody can be told, and it is only counted."""
    try:
        log.log(level, message, *arguments, stacklevel=2)
    except Exception:
        note("a handler or filter of the logger 'cpugpu'")


def clear() -> None:
    """Forget all of it."""
    with _lock:
        counts.clear()
    untold.clear()


def _forked() -> None:
    global _lock
    _lock = threading.RLock()


process.after_fork(_forked)
