"""The gate of an event, where its consumer blocks: Ctrl-C, timeouts, stalls.

The gate is a lock used as a binary semaphore. The token lies in it, and the lock is free, while there is something to
wait for (`cpugpu/event.py` tells of the token). Who takes the token from the gate must use it or put it back, whatever
happens: nothing here loses it.
"""

from __future__ import annotations

import itertools
import logging
import sys
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cpugpu import settings
from cpugpu.errors import HandoffClosed, HandoffTimeout

if TYPE_CHECKING:
    from cpugpu.device import DeviceEvent

log = logging.getLogger("cpugpu")

_CLOSED = HandoffClosed("closed")
#: With a timeout, the device is asked whether it is done at this interval: below what a person or a scheduler notices.
_POLL_SECONDS = 0.001


class Gate:
    """The part of an event that blocks. It starts without the token.

    A base class and not a member: the event takes the token from `_gate` itself where it need not block, and what the
    consumer finds when it does block (was it closed? which generation?) is the event's.
    """

    # The event's, which the gate looks at.
    _generation: int
    _ending: BaseException | None

    def __init__(self, name: str) -> None:
        self._name = name
        stall = settings.tolerate(settings.stall_seconds, settings.STALL_SECONDS)
        self._stall_seconds = None if stall is None else min(stall, threading.TIMEOUT_MAX)
        self._gate = threading.Lock()
        self._gate.acquire()
        # Each step tries to take the token from the gate, for as long as a wait may block without a warning.
        self._attempts = map(self._gate.acquire, itertools.repeat(True), itertools.repeat(self._stall_seconds or -1))

    @property
    def closed(self) -> bool:
        """Was `close()` called?"""
        return self._ending is _CLOSED

    def _settle(self) -> None:
        """With the token given away: see to what is noted in `_ending`."""
        raise NotImplementedError

    def _block(self, timeout: float | None) -> None:
        """Block until the token is in the gate, and take it.

        The other thread has just been let on, and cannot go on before this one blocks: be quick.
        """
        if self._ending is _CLOSED:
            raise self._closed_error()
        stall = self._stall_seconds
        if timeout is None or (stall is not None and timeout > stall):
            if self._acquire_gate(self._attempts):
                return
            assert stall is not None  # without, an attempt lasts for ever
            self._warn_of_stall(stall)
            timeout = None if timeout is None else timeout - stall
        seconds = -1 if timeout is None or timeout > threading.TIMEOUT_MAX else timeout
        if not self._acquire_gate(map(self._gate.acquire, (True,), (seconds,))):
            raise self._timed_out()

    # Try once to take the token from the gate; also when Ctrl-C comes, it is never lost. A signal that arrives when the
    # lock has been acquired raises right after the call, before its result is stored. So an attempt is the step of an
    # iterator: CPython looks for signals after calls and jumps, and there is neither between that step and the store.
    if sys.version_info >= (3, 11):

        def _acquire_gate(self, attempts: Iterator[bool]) -> bool:
            acquired = False
            try:
                for acquired in attempts:  # noqa: B007
                    break
            except BaseException:
                if acquired:
                    self._give_back()
                raise
            return acquired

    else:  # which looks anywhere: one call into C acquires and stores; it would serve all, a little slower

        def _acquire_gate(self, attempts: Iterator[bool]) -> bool:
            acquired: list[bool] = []
            try:
                acquired.extend(itertools.islice(attempts, 1))
            except BaseException:
                if True in acquired:
                    self._give_back()
                raise
            return True in acquired

    def _give_back(self) -> None:
        """Put the token back into the gate, with the slot as it was."""
        self._gate.release()
        if self._ending is not None:
            self._settle()

    def _reached(self, handed: DeviceEvent, deadline: float) -> bool:
        """Has the device reached the record? Asks until it has, until the deadline, or until close()."""
        while not handed.query():
            remaining = deadline - time.monotonic()
            if self.closed or remaining <= 0:
                return False
            time.sleep(min(remaining, _POLL_SECONDS))
        return True

    def _warn_of_stall(self, seconds: float) -> None:
        log.warning(
            "%s has waited %g s for a record of %r (%d so far); is its producer alive? CPUGPU_DEBUG=1 tells more",
            threading.current_thread().name,
            seconds,
            self._name,
            self._generation,
        )

    def _timed_out(self) -> HandoffTimeout | HandoffClosed:
        if self.closed:
            return self._closed_error()
        return HandoffTimeout(f"nothing was recorded on {self._name!r} in the time given")

    def _bad_timeout(self, timeout: object) -> ValueError:
        return ValueError(f"timeout={timeout!r} is neither a number of seconds from 0 nor None")

    def _closed_error(self) -> HandoffClosed:
        return HandoffClosed(f"{self._name!r} is closed")
