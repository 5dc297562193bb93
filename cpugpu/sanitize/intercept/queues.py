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
import sys
from collections.abc import Callable, Iterator
from typing import Any

from cpugpu.patches import Patch
from cpugpu.sanitize.clocks import Actor
from cpugpu.sanitize.feeds import Feed
from cpugpu.sanitize.model import Model, Sync
from cpugpu.sanitize.places import here, is_librarys

_KEY = "_cpugpu_syncs"


class _Syncs:
    """What a queue knows beside its items. Changed under the queue's own lock."""

    def __init__(self, *, any_order: bool, last_first: bool, bounded: bool) -> None:
        self.items: list[Sync] = []  # in the order in which the items were put
        self.any_order = any_order
        self.last_first = last_first
        self.room = Sync("room in a queue") if bounded else None
        self.done = Sync("the tasks of a queue")
        self.feed = Feed()

    def __reduce__(self) -> Any:
        """A copy of the queue is another one."""
        how = {"any_order": self.any_order, "last_first": self.last_first, "bounded": self.room is not None}
        return functools.partial(_Syncs, **how), ()


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
        getattr(type(of), "_put", None) is kind._put and type(of)._get is kind._get  # noqa: SLF001
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
            made._cpugpu_feed = Feed()
            return made

        def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
            sync, me = Sync("an item of a queue"), model.me()
            model.release(me, sync, place=here())
            model.put(me, self._cpugpu_feed, _handled())
            super().put((sync, item), block, timeout)

        def put_nowait(self, item: Any) -> None:
            SimpleQueue.put(self, item)

        def get(self, block: bool = True, timeout: float | None = None) -> Any:
            me = model.me()
            with _Wait(model, me, self._cpugpu_feed, block=block):
                sync, item = super().get(block, timeout)
            model.acquire(me, sync)
            return item

        def get_nowait(self) -> Any:
            return SimpleQueue.get(self, block=False)

        def __reduce_ex__(self, protocol: Any) -> Any:
            return _Real().__reduce_ex__(protocol)  # which refuses

    return SimpleQueue


def _syncs(of: Any) -> _Syncs:
    found: _Syncs | None = of.__dict__.get(_KEY)
    return found or of.__dict__.setdefault(_KEY, _syncs_of(of))


def _syncs_of(of: Any) -> _Syncs:
    return _Syncs(
        any_order=isinstance(of, queue.PriorityQueue),
        last_first=isinstance(of, queue.LifoQueue),
        bounded=getattr(of, "maxsize", 0) > 0,
    )


def _put(model: Model, original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def put(self: Any, item: Any) -> None:
        syncs, me = _syncs(self), model.me()
        if syncs.room is not None:
            model.acquire(me, syncs.room)
        sync = Sync("an item of a queue")
        model.release(me, sync, "put() into a queue", here())
        model.put(me, syncs.feed, _handled())
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


class _Wait:
    """Around a `get()`. A thread of a pool's or of a listener's that has nothing to do waits on nobody's behalf."""

    __slots__ = ("_asks", "_feed", "_model", "_thread")

    def __init__(self, model: Model, thread: Actor, feed: Feed, *, block: bool) -> None:
        place = here() if block else None
        self._model, self._thread, self._feed = model, thread, feed
        self._asks = place is not None and not is_librarys(place)
        if self._asks:
            model.asks(thread, feed, place)

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or not issubclass(kind, queue.Empty | KeyboardInterrupt):  # the queue may have been shut down
            self._model.got(self._thread, self._feed)
        elif self._asks and issubclass(kind, queue.Empty):
            self._model.in_vain(self._thread)


def _handled() -> int:
    """The `id` of the exception that is being handled, 0 for none: an item that is put then tells of it."""
    error = sys.exc_info()[1]
    return 0 if error is None else id(error)


def _waiting_get(model: Model, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def get(self: Any, block: bool = True, timeout: float | None = None) -> Any:
        me = model.me()
        with _Wait(model, me, _syncs(self).feed, block=block):
            return original(self, block, timeout)

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
