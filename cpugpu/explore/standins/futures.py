"""Future, and the functions that wait for several of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import _base
from concurrent.futures._base import (
    ALL_COMPLETED,
    CANCELLED,
    CANCELLED_AND_NOTIFIED,
    FINISHED,
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    LOGGER,
    PENDING,
    RUNNING,
    CancelledError,
    DoneAndNotDoneFutures,
    InvalidStateError,
)
from contextlib import suppress
from typing import Any

from cpugpu.explore.execution import OutsideExploration, current
from cpugpu.explore.operation import READ, WRITE, Access, Footprint, Operation
from cpugpu.explore.standins.clock import monotonic
from cpugpu.explore.standins.locks import Condition, RLock
from cpugpu.explore.standins.steps import me, resource, stable_hash, take, taken

_ENDED = (CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED)
#: For those who wait for several futures, one that was cancelled counts when whoever was to run it has noticed.
_NOTED = (CANCELLED_AND_NOTIFIED, FINISHED)
_real_wait, _real_as_completed = _base.wait, _base.as_completed


class Future(_base.Future[Any]):
    """Stands in for `concurrent.futures.Future`.

    `_condition` is there for the real `wait`, where somebody has imported that: no step is taken while another thread
    holds it.
    """

    _state: str
    _result: Any
    _exception: BaseException | None
    _waiters: list[Any]
    _done_callbacks: list[Callable[[Any], object]]

    def __init__(self) -> None:
        self._state = PENDING
        self._result = None
        self._exception = None
        self._waiters = []
        self._done_callbacks = []
        self.resource = resource("future")
        self.lock = RLock(_over=self.resource)

    @property
    def _condition(self) -> Condition:  # type: ignore[override]
        return Condition(self.lock)

    def cancel(self) -> bool:
        """Cancel it, if it does not run yet. Is it cancelled?"""
        self._take("cancel", WRITE)
        if self._state in (RUNNING, FINISHED):
            return False
        if self._state != PENDING:
            return True
        self._state = CANCELLED
        self._call_back()
        return True

    def cancelled(self) -> bool:
        """Was it cancelled?"""
        self._take("look at", READ)
        return self._state in (CANCELLED, CANCELLED_AND_NOTIFIED)

    def running(self) -> bool:
        """Does it run?"""
        self._take("look at", READ)
        return self._state == RUNNING

    def done(self) -> bool:
        """Has it ended, one way or another?"""
        self._take("look at", READ)
        return self._state in _ENDED

    def add_done_callback(self, fn: Callable[[Any], object]) -> None:
        """Call `fn(self)` when it has ended."""
        self._take("add a callback to", WRITE)
        if self._state in _ENDED:
            self._call(fn)
        else:
            self._done_callbacks.append(fn)

    def result(self, timeout: float | None = None) -> Any:
        """Wait for its result, or what the call has raised."""
        self._await(timeout)
        if self._exception is None:
            return self._result
        try:
            raise self._exception
        finally:
            self = None  # type: ignore[assignment]  # noqa: PLW0642  no cycle with the exception

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for it; what the call has raised, or None."""
        self._await(timeout)
        return self._exception

    def set_running_or_notify_cancel(self) -> bool:
        """It is about to run. False if it was cancelled."""
        self._take("run", WRITE)
        if self._state == CANCELLED:
            self._state = CANCELLED_AND_NOTIFIED
            self._tell("add_cancelled")
            return False
        if self._state == PENDING:
            self._state = RUNNING
            return True
        LOGGER.critical("Future %s in unexpected state: %s", id(self), self._state)
        raise RuntimeError("Future in unexpected state")

    def set_result(self, result: Any) -> None:
        """It has ended with a result."""
        self._take("set the result of", WRITE)
        self._refuse_to_end_twice()
        self._result = result
        self._state = FINISHED
        self._tell("add_result")
        self._call_back()

    def set_exception(self, exception: BaseException | None) -> None:
        """It has ended with an exception."""
        self._take("set the exception of", WRITE)
        self._refuse_to_end_twice()
        self._exception = exception
        self._state = FINISHED
        self._tell("add_exception")
        self._call_back()

    def __hash__(self) -> int:
        return stable_hash(self.resource)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.resource.name} state={self._state.lower()}>"

    def _take(
        self, verb: str, access: Access, ready: Callable[[], bool] | None = None, timeout: float | None = None
    ) -> bool:
        lock, caller = self.lock, me()

        def able() -> bool:
            return (lock.owner is None or lock.owner == caller) and (ready is None or ready())

        footprint: Footprint = ((self.resource, access),)
        if access is WRITE:
            footprint += tuple((w.resource, WRITE) for w in self._waiters if isinstance(w, _Finishing))
        return take(Operation(f"{verb} {self.resource.name}", footprint, able, timeout=timeout))

    def _await(self, timeout: float | None) -> None:
        if timeout is not None and timeout <= 0:
            self._take("look at", READ)
            if self._state not in _ENDED:
                raise _base.TimeoutError
        elif not self._take("wait for", READ, lambda: self._state in _ENDED, timeout):
            raise _base.TimeoutError
        if self._state != FINISHED:
            raise CancelledError

    def _refuse_to_end_twice(self) -> None:
        if self._state in _ENDED:
            raise InvalidStateError(f"{self._state}: {self!r}")

    def _tell(self, what: str) -> None:
        if not self._waiters:
            return
        lock, before = self.lock, taken()
        lock.owner, owner = me(), lock.owner
        lock.count += 1
        try:
            for waiter in self._waiters:
                getattr(waiter, what)(self)
        finally:
            if taken() != before:  # the real ones have taken some
                take(Operation(f"finish with {self.resource.name}", ((self.resource, WRITE),)))
            lock.owner = owner
            lock.count -= 1

    def _call_back(self) -> None:
        for callback in self._done_callbacks:
            self._call(callback)

    def _call(self, callback: Callable[[Any], object]) -> None:
        try:
            callback(self)
        except Exception:
            LOGGER.exception("exception calling callback for %r", self)


class _Finishing:
    """For who goes through futures as they end: those that have ended meanwhile, in their order."""

    def __init__(self) -> None:
        self.resource = resource("futures as they end")
        self.ended: list[Future] = []

    def add_result(self, future: Future) -> None:
        # The step that ends the future may not have known of this one, when its footprint was made.
        with suppress(OutsideExploration):
            current().touch((self.resource, WRITE))
        self.ended.append(future)

    add_exception = add_cancelled = add_result


def wait(fs: Iterable[Any], timeout: float | None = None, return_when: str = ALL_COMPLETED) -> Any:
    """Stands in for `concurrent.futures.wait`."""
    futures = list(dict.fromkeys(fs))
    if not all(isinstance(future, Future) for future in futures):
        return _real_wait(futures, timeout, return_when)

    def enough() -> bool:
        done = [future for future in futures if future._state in _NOTED]  # noqa: SLF001
        if len(done) == len(futures):
            return True
        if return_when == FIRST_COMPLETED:
            return bool(done)
        return return_when == FIRST_EXCEPTION and any(future._exception is not None for future in done)  # noqa: SLF001

    tries = (timeout is not None and timeout <= 0) or return_when not in _CONDITIONS
    if tries or not _take_all("wait for", futures, READ, enough, timeout):
        _take_all("look at", futures, READ)
    done = {future for future in futures if future._state in _NOTED}  # noqa: SLF001
    if return_when not in _CONDITIONS and len(done) < len(futures):
        raise ValueError(f"Invalid return condition: {return_when!r}")
    return DoneAndNotDoneFutures(done, set(futures) - done)


_CONDITIONS = (FIRST_COMPLETED, FIRST_EXCEPTION, ALL_COMPLETED)


def as_completed(fs: Iterable[Any], timeout: float | None = None) -> Iterator[Any]:
    """Stands in for `concurrent.futures.as_completed`."""
    deadline = None if timeout is None else timeout + monotonic()
    futures = list(dict.fromkeys(fs))
    if not all(isinstance(future, Future) for future in futures):
        yield from _real_as_completed(futures, timeout)
        return
    _take_all("look at", futures, WRITE)
    pending = dict.fromkeys(future for future in futures if future._state not in _NOTED)  # noqa: SLF001
    waiter = _Finishing()
    for future in pending:
        future._waiters.append(waiter)  # noqa: SLF001
    try:
        yield from (future for future in futures if future not in pending)
        while pending:
            remaining = None if deadline is None else deadline - monotonic()
            if remaining is not None and remaining < 0:
                raise _base.TimeoutError(f"{len(pending)} (of {len(futures)}) futures unfinished")
            label, touches = f"wait for the next of {len(pending)} futures", ((waiter.resource, WRITE),)
            if not take(Operation(label, touches, lambda: bool(waiter.ended), timeout=remaining)):
                take(Operation(label, touches))
            ended, waiter.ended = waiter.ended, []
            for future in ended:
                del pending[future]
                yield future
    finally:
        for future in pending:
            if waiter in future._waiters:  # noqa: SLF001
                future._waiters.remove(waiter)  # noqa: SLF001


def _take_all(
    verb: str,
    futures: Collection[Future],
    access: Access,
    ready: Callable[[], bool] | None = None,
    timeout: float | None = None,
) -> bool:
    """Wait for one's turn with all of them."""
    caller = me()

    def able() -> bool:
        return all(future.lock.owner in (None, caller) for future in futures) and (ready is None or ready())

    footprint = tuple((future.resource, access) for future in futures)
    return take(Operation(f"{verb} {len(futures)} futures", footprint, able, timeout=timeout))
