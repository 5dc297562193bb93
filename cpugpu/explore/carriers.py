"""Greenlets that carry one logical thread after another.

To make a greenlet is the dearest part of a small execution: each has a stack for its frames, which Python gets from the
system and gives back. So one that has come to the end of its thread is kept for the next.
"""

from __future__ import annotations

from collections.abc import Callable

import greenlet


class Carriers:
    """Those of one explorer; as many as there ever were threads at the same time. A context manager, to end them.

    `hub`: the greenlet that made them, and that they go back to.
    """

    def __init__(self) -> None:
        self.hub = greenlet.getcurrent()
        self._idle: list[greenlet.greenlet] = []

    def take(self) -> greenlet.greenlet:
        """One that is idle. Switch to it with a function, which it runs; at the end of that it is idle again."""
        if not self._idle:
            return greenlet.greenlet(self._carry, self.hub)
        carrier = self._idle.pop()
        carrier.gr_context = None  # as a new one has it: no context variable is left from the thread before
        return carrier

    def give_back(self, carrier: greenlet.greenlet) -> None:
        """It was not switched to."""
        self._idle.append(carrier)

    def __enter__(self) -> Carriers:
        return self

    def __exit__(self, *exception: object) -> None:
        while self._idle:
            self._idle.pop().throw()

    def _carry(self, function: Callable[[], None] | None) -> None:
        while True:
            assert function is not None
            function()
            function = None  # what it refers to is not kept
            self._idle.append(greenlet.getcurrent())
            function = self.hub.switch()
