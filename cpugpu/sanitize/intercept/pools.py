"""Pools of threads: a task is work of its own, which may die, and is on the device of whoever has given it.

Its submission and its result are edges by the pool's queue and the future's lock. See `cpugpu/sanitize/feeds.py` for
what its death means.
"""

from __future__ import annotations

import concurrent.futures.thread
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

from cpugpu.patches import Patch
from cpugpu.sanitize.clocks import Actor
from cpugpu.sanitize.feeds import Work
from cpugpu.sanitize.intercept import locks
from cpugpu.sanitize.intercept.watch import Watch
from cpugpu.sanitize.model import Model
from cpugpu.sanitize.places import here, raised_at

_WORK = "_cpugpu_work"
_STARTER = "_cpugpu_starter"


def patches(model: Model, watch: Watch) -> Iterator[Patch]:
    """What takes the place of the names of `concurrent.futures`."""
    yield from _tasks(model, watch)
    yield from _ends(model)


def dies(model: Model, actor: Actor, error: BaseException | None) -> None:
    """The work of `actor` is over. To exit is no death; and what nobody can wait for is not looked at."""
    if error is None or actor.work is None or isinstance(error, SystemExit):
        model.work_ended(actor)
    else:
        model.work_ended(actor, _told(error), raised_at(error), id(error))


def _told(error: BaseException) -> str:
    """What it is, without a line of the program's."""
    plain = [repr(each) for each in error.args if type(each) in (str, int, float)]
    return f"{type(error).__name__}({', '.join(plain)})"


def _tasks(model: Model, watch: Watch) -> Iterator[Patch]:
    """A task of a pool's is over when its future is about to be told how: before anybody can hear of it there."""
    now = threading.local()  # `future`: of the task that the thread does
    task: Any = concurrent.futures.thread._WorkItem  # noqa: SLF001
    future = concurrent.futures.Future

    def made_by(original: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(original)
        def init(self: Any, *args: Any, **kwargs: Any) -> None:
            original(self, *args, **kwargs)
            self.__dict__[_STARTER] = watch.starter(model.me())

        return init

    def run_by(original: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(original)
        def run(self: Any, *its: Any) -> None:
            me = model.me()
            before = me.starter
            if before is not None:  # it has chosen no device: then it is on that of whoever has given it the task
                me.starter = self.__dict__.get(_STARTER)
            given = me.starter
            now.future = self.future
            try:
                original(self, *its)
            finally:
                if me.starter is given:
                    me.starter = before
                now.future = self = None  # this frame is below that of the task's exception, which the future has

        return run

    def told_by(original: Callable[..., None], *, died: bool) -> Callable[..., None]:
        @functools.wraps(original)
        def tell(self: Any, *how: Any, **named: Any) -> None:
            if getattr(now, "future", None) is self:
                me = model.me()
                if died and me.work is not None:
                    self.__dict__[_WORK] = me.work
                dies(model, me, how[0] if died and how else None)
            original(self, *how, **named)

        return tell

    def looked_at_by(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def look(self: Any, timeout: float | None = None) -> Any:
            try:
                return original(self, timeout)
            finally:
                work: Work | None = self.__dict__.get(_WORK)
                if work is not None:
                    work.noticed = True
                self = None  # as the original does: this frame may be the exception's from now on

        return look

    yield task, "__init__", made_by(task.__init__)
    yield task, "run", run_by(task.run)
    yield future, "set_result", told_by(future.set_result, died=False)
    yield future, "set_exception", told_by(future.set_exception, died=True)
    yield future, "result", looked_at_by(future.result)
    yield future, "exception", looked_at_by(future.exception)


def _ends(model: Model) -> Iterator[Patch]:
    """Who is refused by a pool is after whoever has ended it, or has failed to begin."""
    pool: Any = concurrent.futures.ThreadPoolExecutor

    def ended_by(original: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(original)
        def end(self: Any, *args: Any, **kwargs: Any) -> None:
            model.release(model.me(), locks.sync_of(self), "the end of a pool", here())
            original(self, *args, **kwargs)

        return end

    def submit_by(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def submit(self: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                return original(self, *args, **kwargs)
            except RuntimeError:
                model.acquire(model.me(), locks.sync_of(self))
                raise

        return submit

    yield pool, "shutdown", ended_by(pool.shutdown)
    yield pool, "_initializer_failed", ended_by(pool._initializer_failed)  # noqa: SLF001
    yield pool, "submit", submit_by(pool.submit)
