"""Where every thread stands."""

from __future__ import annotations

import gc
import sys
import threading
import traceback
from types import FrameType


def current_frames() -> dict[int, FrameType]:
    """`sys._current_frames()`, without the deadlock that it can run into.

    It holds a lock of the interpreter while it allocates. A garbage collection in that moment may let another thread
    run, which then waits for that lock with the GIL (cpython gh-106883; later releases do the same as this).
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        return sys._current_frames()  # noqa: SLF001
    finally:
        if enabled:
            gc.enable()


def stacks() -> str:
    """The stack of every thread, those that stand in the same place together."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    places: dict[str, list[str]] = {}
    for ident, frame in current_frames().items():
        place = "".join(traceback.format_stack(frame))
        places.setdefault(place, []).append(names.get(ident, f"thread {ident}"))
    return "\n".join(f"{', '.join(sorted(threads))}:\n{place}" for place, threads in places.items())
