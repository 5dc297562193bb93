"""Notices a step that does not come back: a blocking call that has no model, or a loop without an operation.

All logical threads are one OS thread, so such a call would hang the exploration. A real thread beside it looks whether
steps are taken. In the main thread a signal interrupts the call, whatever it is; in another one only Python code can be
interrupted, and a call into C that blocks for ever is named on the standard error instead.
"""

from __future__ import annotations

import ctypes
import faulthandler
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from cpugpu.explore.execution import progress
from cpugpu.explore.unmodelled import Unmodelled

#: A step takes microseconds. One that takes longer than this, in seconds, is not coming back.
_PATIENCE_SECONDS = 2.0
_LOOK_SECONDS = 0.25
_SIGNAL = signal.SIGUSR1

_sleep, _monotonic = time.sleep, time.monotonic
_WHAT = f"a call or a loop that takes more than {_PATIENCE_SECONDS:g} s"
_ADVICE = "make what it waits for within the scenario, so that it is modelled, or put a step into the loop"


class Stuck(Unmodelled):
    """Raised in the thread that does not come back."""

    def __init__(self) -> None:
        super().__init__(_WHAT, _ADVICE)


class _Watch:
    def __init__(self, ident: int, *, by_signal: bool) -> None:
        self._ident = ident
        self._by_signal = by_signal
        self.over = False

    def look(self) -> None:
        """Until it is over: interrupt the thread when it takes no step for too long."""
        seen, since = progress(), _monotonic()
        while not self.over:
            _sleep(_LOOK_SECONDS)
            now = progress()
            if now == 0 or now != seen:
                seen, since = now, _monotonic()
            elif _monotonic() - since > _PATIENCE_SECONDS and not self.over:
                self._interrupt()
                since = _monotonic()

    def _interrupt(self) -> None:
        if self._by_signal:
            signal.pthread_kill(self._ident, _SIGNAL)
            return
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._ident), ctypes.py_object(Stuck))
        print(f"cpugpu: {_WHAT}, in a thread that no signal reaches:", file=sys.stderr)
        faulthandler.dump_traceback(sys.stderr)


@contextmanager
def watched() -> Iterator[None]:
    """Within it, a step that does not come back gets `Stuck`. To be entered before the stand-ins are in place."""

    def interrupted(_: int, frame: FrameType | None) -> None:
        del frame
        raise Stuck

    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(_SIGNAL, interrupted) if main else None
    watch = _Watch(threading.get_ident(), by_signal=main)
    thread = threading.Thread(target=watch.look, name="cpugpu explorer's watchdog", daemon=True)
    thread.start()
    try:
        yield
    finally:
        watch.over = True
        if main:
            signal.signal(_SIGNAL, before)
