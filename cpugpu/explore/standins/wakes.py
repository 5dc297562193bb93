"""What ends a wait: a notification, or nothing at all, where wake-ups may be spurious."""

from __future__ import annotations

from collections.abc import Callable

from cpugpu.explore.execution import current
from cpugpu.explore.standins.steps import logical


class Waiter:
    """Somebody who waits to be notified."""

    __slots__ = ("notified",)

    def __init__(self) -> None:
        self.notified = False


class Wake:
    """Can a wait on a condition end now? It has to be notified, or the thread has a spurious wake-up left.

    Those are the thread's own, so that which of its waits end so depends on nobody else. `due`: leaving spurious
    wake-ups out, which are no reason for a timeout to hold back.
    """

    __slots__ = ("_free", "_spurious", "_waiter")

    def __init__(self, waiter: Waiter, free: Callable[[], bool]) -> None:
        thread = logical()
        self._waiter = waiter
        self._free = free
        self._spurious = thread is not None and thread.spurious < current().spurious

    def __call__(self) -> bool:
        """Can it end?"""
        return (self._waiter.notified or self._spurious) and self._free()

    def due(self) -> bool:
        """Can it end, and was it notified?"""
        return self._waiter.notified and self._free()

    def ended(self, in_time: bool) -> None:
        """It has ended. In time and without a notification: spuriously."""
        thread = logical()
        if in_time and not self._waiter.notified and thread is not None:
            thread.spurious += 1
