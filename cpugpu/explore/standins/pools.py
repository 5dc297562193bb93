"""ThreadPoolExecutor."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from concurrent.futures._base import LOGGER
from concurrent.futures.thread import BrokenThreadPool
from typing import Any, NamedTuple

from greenlet import GreenletExit

from cpugpu.explore.execution import OutsideExploration
from cpugpu.explore.operation import WRITE, Footprint, Operation
from cpugpu.explore.standins.futures import Future
from cpugpu.explore.standins.steps import logical, resource, take
from cpugpu.explore.standins.threads import Thread, launch
from cpugpu.explore.standins.world import world
from cpugpu.explore.unmodelled import Unmodelled


class _Work(NamedTuple):
    future: Future
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def run(self) -> None:
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            result = self.function(*self.args, **self.kwargs)
        except (GreenletExit, Unmodelled):
            raise
        except BaseException as exception:
            self.future.set_exception(exception)
        else:
            self.future.set_result(result)


class ThreadPoolExecutor(Executor):
    """Stands in for `concurrent.futures.ThreadPoolExecutor`.

    To submit is one step, a new thread included. A worker that has run something looks for more and, where there is
    none, waits for it: two steps, since a thread is made for what is submitted before it has looked.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
    ) -> None:
        if max_workers is None:
            max_workers = min(32, (os.cpu_count() or 1) + 4)
        if max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        self._max_workers = max_workers
        self._initializer = initializer
        self._initargs = initargs
        self._work: deque[_Work | None] = deque()  # None sends a worker away, who puts it back for the next
        self._idle = 0
        self._threads: list[Thread] = []
        self._broken = ""
        self._shutdown = False
        self.resource = resource("pool")
        self.writes: Footprint = ((self.resource, WRITE),)
        self._thread_name_prefix = thread_name_prefix or _default_prefix()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Have a worker call it."""
        if logical() is None:
            raise OutsideExploration("nothing can be submitted where no thread of an exploration runs")
        take(Operation(f"submit to {self.resource.name}", (*self.writes, (world().roster, WRITE))))
        if self._broken:
            raise BrokenThreadPool(self._broken)
        if self._shutdown:
            raise RuntimeError("cannot schedule new futures after shutdown")
        future = Future()
        self._work.append(_Work(future, fn, args, kwargs))
        if self._idle:
            self._idle -= 1
        elif len(self._threads) < self._max_workers:
            worker = Thread(target=self._serve, name=f"{self._thread_name_prefix}_{len(self._threads)}")
            self._threads.append(worker)
            worker._args = (worker,)  # noqa: SLF001
            launch(worker)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let nothing more be submitted, and send the workers away when they have done the rest."""
        take(Operation(f"shut down {self.resource.name}", self.writes))
        self._shutdown = True
        if cancel_futures and self._work:
            work, self._work = self._work, deque()
            for item in work:
                if item is not None:
                    item.future.cancel()
            take(Operation(f"send away the workers of {self.resource.name}", self.writes))
        self._work.append(None)
        if wait:
            for worker in self._threads:
                worker.join()

    def _serve(self, worker: Thread) -> None:
        try:
            if self._initializer is not None:
                self._initializer(*self._initargs)
        except (GreenletExit, Unmodelled):
            raise
        except BaseException:
            LOGGER.critical("Exception in initializer:", exc_info=True)
            self._break()
            return
        try:
            while (item := self._next(worker)) is not None:
                item.run()
                del item
        except (GreenletExit, Unmodelled):
            raise
        except BaseException:
            LOGGER.critical("Exception in worker", exc_info=True)

    def _next(self, worker: Thread) -> _Work | None:
        take(Operation(f"look for work of {self.resource.name}", self.writes))
        if not self._work:
            self._idle += 1
            worker.idle = True
            take(Operation(f"wait for work of {self.resource.name}", self.writes, lambda: bool(self._work)))
            worker.idle = False
        item = self._work.popleft()
        if item is None:
            self._work.append(None)
        return item

    def _break(self) -> None:
        take(Operation(f"break {self.resource.name}", self.writes))
        self._broken = "A thread initializer failed, the thread pool is not usable anymore"
        work, self._work = self._work, deque()
        for item in work:
            if item is not None:
                item.future.set_exception(BrokenThreadPool(self._broken))


def _default_prefix() -> str:
    return "ThreadPoolExecutor" if logical() is None else f"ThreadPoolExecutor-{world().number('pool', 0)}"
