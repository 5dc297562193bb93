"""`queue.Queue` and its kind: who gets an item is after who has put it, and after nobody else.

A queue's own lock orders all puts and gets, in whatever order they happened to come: an edge that is luck. So that lock
is not watched, and each item carries its own edge. Besides: who puts into a bounded queue is after who has made room,
and who joins is after all that was done. A class of the program's that keeps its items in its own way has the edges of
its lock instead.

Who puts something and who waits for it is told besides: see `cpugpu/sanitize/feeds.py`.
"""

from __future__ import annotations

import functools
import queue
from collections.abc import Callable, Iterator
from typing import Any

from cpugpu.patches import Patch
from cpugpu.sanitize.clocks import Actor
from cpugpu.sanitize.feeds import Feed
from cpugpu.sanitize.model import Model, Sync
from cpugpu.sanitize.places import here

_KEY = "_cpugpu_syncs"


class _Syncs:
    """What a queue knows beside its items. Changed under the queue's own lock."""

    def __init__(self, of: queue.Queue[Any]) -> None:
        self.items: list[Sync] = []  # in the order in which the items were put
        self.any_order = isinstance(of, queue.PriorityQueue)
        self.last_first = isinstance(of, queue.LifoQueue)
        self.room = Sync("room in a queue") if of.maxsize > 0 else None
        self.done = Sync("the tasks of a queue")
        self.feed = Feed()


def patches(model: Model) -> Iterator[Patch]:
    """What takes the place of the methods that run under a queue's lock, in each of the three classes."""
    for kind in (queue.Queue, queue.LifoQueue, queue.PriorityQueue):
        yield kind, "_put", _put(model, kind._put)  # noqa: SLF001
        yield kind, "_get", _get(model, kind._get)  # noqa: SLF001
    yield queue.Queue, "get", _waiting_get(model, queue.Queue.get)
    yield queue.Queue, "task_done", _task_done(model, queue.Queue.task_done)
    yield queue.Queue, "join", _join(model, queue.Queue.join)


def stand_for(of: Any) -> bool:
    """Does each item of this queue carry its edge, so that the queue's lock need not be watched?"""
    return any(
        type(of)._put is kind._put and type(of)._get is kind._get  # noqa: SLF001
        for kind in (queue.Queue, queue.LifoQueue, queue.PriorityQueue)
    )


class _Stands(type):
    """Of the class that takes the name of `queue.SimpleQueue`: those that were made before are instances of it too."""

    def __instancecheck__(cls, instance: object) -> bool:
        return super().__instancecheck__(instance) or (cls.__bases__ == (_Real,) and isinstance(instance, _Real))

    def __subclasscheck__(cls, subclass: type) -> bool:
        return super().__subclasscheck__(subclass) or (cls.__bases__ == (_Real,) and issubclass(subclass, _Real))


_Real: Any = queue.SimpleQueue


def simple_queue(model: Model, is_ours: Callable[[], bool]) -> type:
    """What takes the place of `queue.SimpleQueue`."""

    class SimpleQueue(_Real, metaclass=_Stands):  # type: ignore[misc]
        """`queue.SimpleQueue`, whose items know who has put them."""

        def __new__(cls, *args: Any, **kwargs: Any) -> Any:
            if cls is SimpleQueue and is_ours():
                return _Real()
            made = super().__new__(cls, *args, **kwargs)
            made._feed = Feed()
            return made

        def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
            sync, me = Sync("an item of a queue"), model.me()
            model.release(me, sync, place=here())
            model.put(me, self._feed)
            super().put((sync, item), block, timeout)

        def put_nowait(self, item: Any) -> None:
            self.put(item)

        def get(self, block: bool = True, timeout: float | None = None) -> Any:
            me = model.me()
            if block:
                _asks(model, me, self._feed)
            sync, item = super().get(block, timeout)
            model.got(me)
            model.acquire(me, sync)
            return item

        def get_nowait(self) -> Any:
            return self.get(block=False)

        def __reduce_ex__(self, protocol: Any) -> Any:
            return _Real().__reduce_ex__(protocol)  # which refuses

    return SimpleQueue


def _syncs(of: Any) -> _Syncs:
    found: _Syncs | None = of.__dict__.get(_KEY)
    return found or of.__dict__.setdefault(_KEY, _Syncs(of))


def _put(model: Model, original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def put(self: Any, item: Any) -> None:
        syncs, me = _syncs(self), model.me()
        if syncs.room is not None:
            model.acquire(me, syncs.room)
        sync = Sync("an item of a queue")
        model.release(me, sync, "put() into a queue", here())
        model.put(me, syncs.feed)
        syncs.items.append(sync)
        original(self, item)

    return put


def _get(model: Model, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def get(self: Any) -> Any:
        syncs, me = _syncs(self), model.me()
        size = self._qsize()
        item = original(self)
        if syncs.any_order:  # which of them it was is not known
            for each in syncs.items:
                model.acquire(me, each)
            if size == 1:
                syncs.items.clear()
        else:
            # Programs empty a queue by `queue.queue.clear()`; and some items may have been put before all this began.
            del syncs.items[: max(0, len(syncs.items) - size)]
            if syncs.items and (syncs.last_first or len(syncs.items) == size):
                model.acquire(me, syncs.items.pop(-1 if syncs.last_first else 0))
        if syncs.room is not None:
            model.release(me, syncs.room, "get() from a queue", here())
        return item

    return get


def _asks(model: Model, thread: Actor, feed: Feed) -> None:
    place = here()
    if place is not None:  # a thread of a pool's that has nothing to do waits on nobody's behalf
        model.asks(thread, feed, place)


def _waiting_get(model: Model, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def get(self: Any, block: bool = True, timeout: float | None = None) -> Any:
        me = model.me()
        if block:
            _asks(model, me, _syncs(self).feed)
        item = original(self, block, timeout)
        model.got(me)
        return item

    return get


def _task_done(model: Model, original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def task_done(self: Any) -> None:
        with self.all_tasks_done:
            done = _syncs(self).done
        model.release(model.me(), done, "task_done() of a queue", here())
        original(self)

    return task_done


def _join(model: Model, original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def join(self: Any) -> None:
        original(self)
        with self.all_tasks_done:
            done = _syncs(self).done
        model.acquire(model.me(), done)

    return join
