"""Queue, LifoQueue, PriorityQueue and SimpleQueue: to put and to get are one step each."""

from __future__ import annotations

import queue as real
import sys
from _queue import Empty
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from queue import Full
from types import GenericAlias
from typing import Any

from cpugpu.explore.operation import READ, WRITE, Footprint, Operation
from cpugpu.explore.standins.locks import Condition, Lock
from cpugpu.explore.standins.steps import ending, resource, take, taken


class Queue:
    """Stands in for `queue.Queue`.

    `mutex` and its conditions are there for who looks into a queue; no step is taken while it is held. What a subclass
    does in `_put` and `_get` is done with it held.
    """

    is_shutdown = False

    def __init__(self, maxsize: int = 0) -> None:
        self.maxsize = maxsize
        self.queue: Any
        self._init(maxsize)
        self.unfinished_tasks = 0
        self.resource = resource("queue")
        self.reads: Footprint = ((self.resource, READ),)
        self.writes: Footprint = ((self.resource, WRITE),)
        self.mutex = Lock(_over=self.resource)
        self._conditions: dict[str, Condition] = {}

    def __class_getitem__(cls, item: Any) -> GenericAlias:
        return GenericAlias(cls, item)

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Put an item in. `Full` if there is no room, or not in time."""
        limited = self.maxsize > 0
        waits = limited and block and (timeout is None or timeout > 0)
        put = Operation(f"put into {self.resource.name}", self.writes, self._room if waits else self._quiet)
        put.timeout = timeout if waits else None
        if not take(put):
            raise Full
        self._refuse()
        if limited and block and timeout is not None and timeout < 0:
            raise ValueError("'timeout' must be a non-negative number")
        if limited and self._qsize() >= self.maxsize:
            raise Full
        self._guarded(self._put, item)
        self.unfinished_tasks += 1
        self._rouse("not_empty", 1)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take an item out. `Empty` if there is none, or not in time."""
        waits = block and (timeout is None or timeout > 0)
        get = Operation(f"get from {self.resource.name}", self.writes, self._some if waits else self._quiet)
        get.timeout = timeout if waits else None
        if not take(get):
            raise Empty
        if not self._qsize():
            self._refuse()
            if block and timeout is not None and timeout < 0:
                raise ValueError("'timeout' must be a non-negative number")
            raise Empty
        if block and timeout is not None and timeout < 0:
            raise ValueError("'timeout' must be a non-negative number")
        item = self._guarded(self._get)
        self._rouse("not_full", 1)
        return item

    def put_nowait(self, item: Any) -> None:
        """Put an item in, if there is room."""
        self.put(item, block=False)

    def get_nowait(self) -> Any:
        """Take an item out, if there is one."""
        return self.get(block=False)

    def task_done(self) -> None:
        """What was taken out is dealt with."""
        take(Operation(f"task done of {self.resource.name}", self.writes, self._quiet))
        if self.unfinished_tasks <= 0:
            if ending():
                return
            raise ValueError("task_done() called too many times")
        self.unfinished_tasks -= 1
        if not self.unfinished_tasks:
            self._rouse("all_tasks_done", sys.maxsize)

    def join(self) -> None:
        """Wait until all that was put in is dealt with."""
        take(Operation(f"join {self.resource.name}", self.reads, self._finished))

    def qsize(self) -> int:
        """How many items are in it."""
        self._look()
        return self._qsize()

    def empty(self) -> bool:
        """Is nothing in it?"""
        self._look()
        return not self._qsize()

    def full(self) -> bool:
        """Is there no room?"""
        self._look()
        return 0 < self.maxsize <= self._qsize()

    if hasattr(real, "ShutDown"):

        def shutdown(self, immediate: bool = False) -> None:
            """Let no more items in, nor out if that is to be immediate."""
            take(Operation(f"shut down {self.resource.name}", self.writes, self._quiet))
            self.is_shutdown = True
            if immediate:
                while self._qsize():
                    self._guarded(self._get)
                    self.unfinished_tasks = max(0, self.unfinished_tasks - 1)
                self._rouse("all_tasks_done", sys.maxsize)
            self._rouse("not_empty", sys.maxsize)
            self._rouse("not_full", sys.maxsize)

    @property
    def not_empty(self) -> Condition:
        """Notified when an item was put in."""
        return self._condition("not_empty")

    @property
    def not_full(self) -> Condition:
        """Notified when an item was taken out."""
        return self._condition("not_full")

    @property
    def all_tasks_done(self) -> Condition:
        """Notified when nothing is left to be dealt with."""
        return self._condition("all_tasks_done")

    # What a subclass may do otherwise.

    def _init(self, maxsize: int) -> None:  # noqa: ARG002
        self.queue = deque()

    def _qsize(self) -> int:
        return len(self.queue)

    def _put(self, item: Any) -> None:
        self.queue.append(item)

    def _get(self) -> Any:
        return self.queue.popleft()

    # -- when a step can be taken ------------------------------------------------------------------------------------

    def _quiet(self) -> bool:
        return not self.mutex.held

    def _room(self) -> bool:
        return not self.mutex.held and (self._qsize() < self.maxsize or self.is_shutdown)

    def _some(self) -> bool:
        return not self.mutex.held and (self._qsize() > 0 or self.is_shutdown)

    def _finished(self) -> bool:
        return not self.mutex.held and not self.unfinished_tasks

    def _look(self) -> None:
        take(Operation(f"look at {self.resource.name}", self.reads, self._quiet))

    def _refuse(self) -> None:
        if self.is_shutdown:
            raise real.ShutDown  # type: ignore[attr-defined]

    def _guarded(self, function: Callable[..., Any], *arguments: Any) -> Any:
        self.mutex.held = True
        before = taken()
        try:
            return function(*arguments)
        finally:
            if taken() != before:  # an order of the user's has taken some
                take(Operation(f"finish with {self.resource.name}", self.writes))
            self.mutex.held = False

    def _condition(self, name: str) -> Condition:
        if name not in self._conditions:
            self._conditions[name] = Condition(self.mutex)
        return self._conditions[name]

    def _rouse(self, name: str, n: int) -> None:
        if name in self._conditions:
            self._conditions[name].rouse(n)


class LifoQueue(Queue):
    """Stands in for `queue.LifoQueue`."""

    def _init(self, maxsize: int) -> None:  # noqa: ARG002
        self.queue = []

    def _get(self) -> Any:
        return self.queue.pop()


class PriorityQueue(Queue):
    """Stands in for `queue.PriorityQueue`."""

    def _init(self, maxsize: int) -> None:  # noqa: ARG002
        self.queue = []

    def _put(self, item: Any) -> None:
        heappush(self.queue, item)

    def _get(self) -> Any:
        return heappop(self.queue)


class SimpleQueue:
    """Stands in for `queue.SimpleQueue`."""

    __slots__ = ("__weakref__", "_items", "reads", "resource", "writes")

    def __init__(self) -> None:
        self._items: deque[Any] = deque()
        self.resource = resource("queue")
        self.reads: Footprint = ((self.resource, READ),)
        self.writes: Footprint = ((self.resource, WRITE),)

    def __class_getitem__(cls, item: Any) -> GenericAlias:
        return GenericAlias(cls, item)

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:  # noqa: ARG002
        """Put an item in. It never blocks."""
        take(Operation(f"put into {self.resource.name}", self.writes))
        self._items.append(item)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take an item out. `Empty` if there is none, or not in time."""
        if block and timeout is not None and timeout < 0:
            raise ValueError("'timeout' must be a non-negative number")
        label = f"get from {self.resource.name}"
        if not block or timeout == 0:
            take(Operation(label, self.writes))
            if not self._items:
                raise Empty
        elif not take(Operation(label, self.writes, lambda: bool(self._items), timeout=timeout)):
            raise Empty
        return self._items.popleft()

    def put_nowait(self, item: Any) -> None:
        """Put an item in."""
        self.put(item)

    def get_nowait(self) -> Any:
        """Take an item out, if there is one."""
        return self.get(block=False)

    def empty(self) -> bool:
        """Is nothing in it?"""
        take(Operation(f"look at {self.resource.name}", self.reads))
        return not self._items

    def qsize(self) -> int:
        """How many items are in it."""
        take(Operation(f"look at {self.resource.name}", self.reads))
        return len(self._items)
