"""`queue.Queue` and its kind: who gets an item is after who has put it, and after nobody else.

A queue's own lock orders all puts and gets, in whatever order they happened to come: an edge that is luck. So that lock
is not watched, and each item carries its own edge. Besides: who puts into a bounded queue is after who has made room,
and who joins is after all that was done.
"""

from __future__ import annotations

import functools
import queue
from collections.abc import Callable, Iterator
from typing import Any

from cpugpu.patches import Patch
from cpugpu.sanitize.model import Model, Sync
from cpugpu.sanitize.places import here

_KEY = "_cpugpu_syncs"


class _Syncs:
    """What a queue knows beside its items. Only touched under the queue's own lock."""

    def __init__(self, of: queue.Queue[Any]) -> None:
        self.items: list[Sync] = []  # in the order in which the items were put
        self.any_order = isinstance(of, queue.PriorityQueue)
        self.last_first = isinstance(of, queue.LifoQueue)
        self.room = Sync("room in a queue") if of.maxsize > 0 else None
        self.done = Sync("the tasks of a queue")


def patches(model: Model) -> Iterator[Patch]:
    """What takes the place of the methods that run under a queue's lock, in each of the three classes."""
    for kind in (queue.Queue, queue.LifoQueue, queue.PriorityQueue):
        yield kind, "_put", _put(model, kind._put)  # noqa: SLF001
        yield kind, "_get", _get(model, kind._get)  # noqa: SLF001
    yield queue.Queue, "task_done", _task_done(model, queue.Queue.task_done)
    yield queue.Queue, "join", _join(model, queue.Queue.join)


def _syncs(of: Any) -> _Syncs:
    found: _Syncs | None = of.__dict__.get(_KEY)
    if found is None:
        found = of.__dict__[_KEY] = _Syncs(of)
    return found


def _put(model: Model, original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def put(self: Any, item: Any) -> None:
        syncs, me = _syncs(self), model.me()
        if syncs.room is not None:
            model.acquire(me, syncs.room)
        sync = Sync("an item of a queue")
        model.release(me, sync, "put() into a queue", here())
        syncs.items.append(sync)
        original(self, item)

    return put


def _get(model: Model, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def get(self: Any) -> Any:
        syncs, me = _syncs(self), model.me()
        item = original(self)
        if syncs.any_order:  # which of them it was is not known
            for each in syncs.items:
                model.acquire(me, each)
            if not self._qsize():
                syncs.items.clear()
        elif syncs.items:  # some may have been put before all this began
            model.acquire(me, syncs.items.pop(-1 if syncs.last_first else 0))
        if syncs.room is not None:
            model.release(me, syncs.room, "get() from a queue", here())
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
