"""Futures and thread pools do what CPython's do."""

from __future__ import annotations

import concurrent.futures
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION, CancelledError, InvalidStateError
from typing import Any

import pytest

from cpugpu.explore.standins import futures, pools

PROGRAMS: list[Callable[[], Any]] = []


def behaviour(program: Callable[[], Any]) -> Callable[[], Any]:
    PROGRAMS.append(program)
    return program


def together(*functions: Callable[[], Any]) -> None:
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def finished(result: Any = None) -> Any:
    future = concurrent.futures.Future()  # type: ignore[var-annotated]
    future.set_result(result)
    return future


def failed() -> Any:
    future = concurrent.futures.Future()  # type: ignore[var-annotated]
    future.set_exception(KeyError("gone"))
    return future


def cancelled() -> Any:
    future = concurrent.futures.Future()  # type: ignore[var-annotated]
    future.cancel()
    future.set_running_or_notify_cancel()
    return future


# -- Future ----------------------------------------------------------------------------------------------------------


@behaviour
def a_future_hands_its_result_over() -> None:
    future: Any = concurrent.futures.Future()
    got: list[Any] = []
    assert not future.done()
    together(lambda: got.append(future.result()), lambda: future.set_result(7), lambda: got.append(future.result()))
    assert got == [7, 7]
    assert future.done()
    assert not future.running()
    assert future.exception() is None


@behaviour
def a_future_hands_its_exception_over() -> None:
    future, error = concurrent.futures.Future(), KeyError("gone")  # type: ignore[var-annotated]
    got: list[Any] = []
    together(lambda: got.append(future.exception()), lambda: future.set_exception(error))
    assert got == [error]
    with pytest.raises(KeyError, match="gone"):
        future.result()


@behaviour
def a_future_that_is_not_done_in_time_says_so() -> None:
    future: Any = concurrent.futures.Future()
    for seconds in (0, -1, 0.01):
        with pytest.raises(concurrent.futures.TimeoutError):
            future.result(seconds)
        with pytest.raises(concurrent.futures.TimeoutError):
            future.exception(timeout=seconds)
    future.set_result(1)
    assert future.result(0) == 1


@behaviour
def a_future_ends_once() -> None:
    for future in (finished(1), failed(), cancelled()):
        with pytest.raises(InvalidStateError):
            future.set_result(2)
        with pytest.raises(InvalidStateError):
            future.set_exception(KeyError())
    assert finished(1).result() == 1


@behaviour
def a_future_can_be_cancelled_until_it_runs() -> None:
    future: Any = concurrent.futures.Future()
    assert future.cancel()
    assert future.cancel()
    assert future.cancelled()
    assert future.done()
    with pytest.raises(CancelledError):
        future.result()
    with pytest.raises(CancelledError):
        future.exception()
    assert future.set_running_or_notify_cancel() is False
    running: Any = concurrent.futures.Future()
    assert running.set_running_or_notify_cancel() is True
    assert running.running()
    assert not running.cancel()
    assert not running.cancelled()
    assert not finished().cancel()


@behaviour
def who_waits_for_a_future_hears_that_it_is_cancelled() -> None:
    future: Any = concurrent.futures.Future()
    seen: list[str] = []

    def wait() -> None:
        try:
            future.result()
        except CancelledError:
            seen.append("cancelled")

    together(wait, future.cancel)
    assert seen == ["cancelled"]


@behaviour
def a_future_runs_once() -> None:
    logger, level = logging.getLogger("concurrent.futures"), logging.getLogger("concurrent.futures").level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        future: Any = concurrent.futures.Future()
        future.set_running_or_notify_cancel()
        for again in (future, finished(), cancelled()):
            with pytest.raises(RuntimeError, match="unexpected state"):
                again.set_running_or_notify_cancel()
    finally:
        logger.setLevel(level)


@behaviour
def callbacks_are_called_in_their_order_with_the_future() -> None:
    future: Any = concurrent.futures.Future()
    called: list[Any] = []
    future.add_done_callback(lambda ended: called.append((1, ended)))
    future.add_done_callback(lambda ended: called.append((2, ended)))
    assert called == []
    future.set_result(None)
    future.add_done_callback(lambda ended: called.append((3, ended)))
    assert called == [(1, future), (2, future), (3, future)]
    called.clear()
    other: Any = concurrent.futures.Future()
    other.add_done_callback(called.append)
    other.cancel()
    assert called == [other]


@behaviour
def a_callback_that_raises_stops_nobody() -> None:
    logger, level = logging.getLogger("concurrent.futures"), logging.getLogger("concurrent.futures").level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        future: Any = concurrent.futures.Future()
        called: list[Any] = []
        future.add_done_callback(lambda ended: called.append(1 / 0))
        future.add_done_callback(called.append)
        future.set_result(None)
        assert called == [future]
    finally:
        logger.setLevel(level)


@behaviour
def a_callback_is_called_once_whoever_comes_first() -> None:
    future: Any = concurrent.futures.Future()
    called: list[Any] = []
    together(lambda: future.add_done_callback(called.append), lambda: future.set_result(1))
    assert called == [future]


# -- wait and as_completed -------------------------------------------------------------------------------------------


@behaviour
def wait_waits_for_all() -> None:
    one, other = concurrent.futures.Future(), concurrent.futures.Future()  # type: ignore[var-annotated]
    got: list[Any] = []
    together(
        lambda: got.append(concurrent.futures.wait([one, other, one])),
        lambda: one.set_result(1),
        lambda: other.set_exception(KeyError()),
    )
    assert got[0].done == {one, other}
    assert got[0].not_done == set()
    assert concurrent.futures.wait([]).done == set()


@behaviour
def wait_may_be_content_with_the_first() -> None:
    never, soon = concurrent.futures.Future(), concurrent.futures.Future()  # type: ignore[var-annotated]
    got: list[Any] = []
    together(
        lambda: got.append(concurrent.futures.wait([never, soon], return_when=FIRST_COMPLETED)),
        lambda: soon.set_result(1),
    )
    assert got == [({soon}, {never})]


@behaviour
def wait_may_stop_at_an_exception() -> None:
    never, bad = concurrent.futures.Future(), concurrent.futures.Future()  # type: ignore[var-annotated]
    got: list[Any] = []
    together(
        lambda: got.append(concurrent.futures.wait([never, bad, finished()], return_when=FIRST_EXCEPTION)),
        lambda: bad.set_exception(KeyError()),
    )
    assert bad in got[0].done
    assert got[0].not_done == {never}
    assert concurrent.futures.wait([never, cancelled()], timeout=0.01, return_when=FIRST_EXCEPTION).not_done == {never}


@behaviour
def wait_gives_up_in_time() -> None:
    never, done = concurrent.futures.Future(), finished()  # type: ignore[var-annotated]
    for seconds in (0.01, 0):
        assert concurrent.futures.wait([never, done], seconds) == ({done}, {never})
    with pytest.raises(ValueError, match="Invalid return condition"):
        concurrent.futures.wait([never], return_when="SOME_DAY")
    assert concurrent.futures.wait([done], return_when="SOME_DAY").done == {done}


@behaviour
def a_cancelled_future_counts_when_that_was_noticed() -> None:
    future: Any = concurrent.futures.Future()
    future.cancel()
    assert concurrent.futures.wait([future], 0.01, ALL_COMPLETED).not_done == {future}
    future.set_running_or_notify_cancel()
    assert concurrent.futures.wait([future]).done == {future}


@behaviour
def as_completed_gives_each_future_once() -> None:
    one, other, third = (concurrent.futures.Future() for _ in range(3))  # type: ignore[var-annotated]
    third.set_result(3)
    order: list[Any] = []

    def end() -> None:
        other.set_result(2)
        one.set_exception(KeyError())

    together(lambda: order.extend(concurrent.futures.as_completed([one, other, third, one])), end)
    assert len(order) == 3
    assert set(order) == {one, other, third}


@behaviour
def as_completed_gives_those_that_end_meanwhile_in_their_order() -> None:
    first, second, done = concurrent.futures.Future(), concurrent.futures.Future(), finished()  # type: ignore[var-annotated]
    ended = concurrent.futures.as_completed([second, first, done])
    assert next(ended) is done

    def end() -> None:
        first.set_result(None)
        second.set_result(None)

    together(end)
    assert list(ended) == [first, second]


@behaviour
def as_completed_follows_those_that_end_while_it_waits() -> None:
    links = [concurrent.futures.Future() for _ in range(3)]  # type: ignore[var-annotated]
    order: list[int] = []
    links[2].set_result(None)

    def follow() -> None:
        for future in concurrent.futures.as_completed(links):
            number = links.index(future)
            order.append(number)
            if number:
                links[number - 1].set_result(None)

    together(follow)
    assert order == [2, 1, 0]


@behaviour
def as_completed_gives_up_in_time() -> None:
    done, never = finished(), concurrent.futures.Future()  # type: ignore[var-annotated]
    got: list[Any] = []

    def collect() -> None:
        got.extend(concurrent.futures.as_completed([done, never], timeout=0.01))

    with pytest.raises(concurrent.futures.TimeoutError, match=r"1 \(of 2\) futures unfinished"):
        collect()
    never.set_result(None)


# -- ThreadPoolExecutor ----------------------------------------------------------------------------------------------


@behaviour
def a_pool_calls_what_is_submitted() -> None:
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(lambda a, b: a * b, number, b=2) for number in range(4)]
        bad = pool.submit(lambda: 1 / 0)
        assert [call.result() for call in calls] == [0, 2, 4, 6]
        assert isinstance(bad.exception(), ZeroDivisionError)
    assert isinstance(pool, concurrent.futures.Executor)


@behaviour
def a_pool_has_no_more_threads_than_it_may() -> None:
    lock, inside, most = threading.Lock(), [0], [0]

    def enter() -> None:
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        with lock:
            inside[0] -= 1

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for _ in range(5):
            pool.submit(enter)
    assert most[0] <= 2
    assert inside[0] == 0


@behaviour
def two_calls_of_a_pool_run_side_by_side() -> None:
    barrier = threading.Barrier(2)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(barrier.wait) for _ in range(2)]
        assert sorted(call.result() for call in calls) == [0, 1]


@behaviour
def leaving_a_pool_waits_for_its_calls() -> None:
    lock, done = threading.Lock(), []

    def work(number: int) -> None:
        with lock:
            done.append(number)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for number in range(4):
            pool.submit(work, number)
    assert sorted(done) == [0, 1, 2, 3]


@behaviour
def a_pool_that_is_shut_down_takes_nothing_more() -> None:
    pool = concurrent.futures.ThreadPoolExecutor(1)
    call = pool.submit(lambda: 1)
    pool.shutdown()
    assert call.done()
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        pool.submit(lambda: 1)
    pool.shutdown(wait=False)


@behaviour
def a_shutdown_can_cancel_what_has_not_begun() -> None:
    go, began = threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        go.wait()

    pool = concurrent.futures.ThreadPoolExecutor(1)
    first = pool.submit(work)
    rest = [pool.submit(lambda: None) for _ in range(2)]
    began.wait()
    pool.shutdown(wait=False, cancel_futures=True)
    assert [call.cancelled() for call in rest] == [True, True]
    go.set()
    assert first.result() is None
    pool.shutdown()


@behaviour
def a_call_that_was_cancelled_is_not_made() -> None:
    go, made = threading.Event(), []
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        pool.submit(go.wait)
        call = pool.submit(made.append, None)
        assert call.cancel()
        go.set()
    assert made == []
    assert concurrent.futures.wait([call]).done == {call}


@behaviour
def map_gives_results_in_the_order_of_its_arguments() -> None:
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        assert list(pool.map(lambda a, b: a + b, [1, 2, 3], [10, 20, 30])) == [11, 22, 33]
        with pytest.raises(ZeroDivisionError):
            list(pool.map(lambda n: 1 // n, [1, 0]))
        go = threading.Event()
        with pytest.raises(concurrent.futures.TimeoutError):
            list(pool.map(lambda _: go.wait(), [1], timeout=0.01))
        go.set()


@behaviour
def each_thread_of_a_pool_is_initialised() -> None:
    mine, lock, seen = threading.local(), threading.Lock(), []

    def begin(value: int) -> None:
        mine.value = value

    def work() -> None:
        with lock:
            seen.append((mine.value, threading.current_thread().name.startswith("worker_")))

    with concurrent.futures.ThreadPoolExecutor(2, "worker", begin, (7,)) as pool:
        for _ in range(3):
            pool.submit(work)
    assert seen == [(7, True)] * 3


@behaviour
def a_pool_whose_initialiser_fails_is_broken() -> None:
    logger, level = logging.getLogger("concurrent.futures"), logging.getLogger("concurrent.futures").level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        pool = concurrent.futures.ThreadPoolExecutor(1, initializer=lambda: 1 / 0)
        with pytest.raises(concurrent.futures.thread.BrokenThreadPool):
            pool.submit(lambda: None).result()
        with pytest.raises(concurrent.futures.BrokenExecutor):
            pool.submit(lambda: None)
        pool.shutdown()
    finally:
        logger.setLevel(level)


@behaviour
def a_pool_refuses_what_makes_no_sense() -> None:
    with pytest.raises(ValueError, match="max_workers must be greater than 0"):
        concurrent.futures.ThreadPoolExecutor(0)
    with pytest.raises(TypeError, match="initializer must be a callable"):
        concurrent.futures.ThreadPoolExecutor(initializer=1)  # type: ignore[arg-type]


@behaviour
def a_pool_of_one_makes_its_calls_in_their_order() -> None:
    order: list[int] = []
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        for number in range(4):
            pool.submit(order.append, number)
    assert order == [0, 1, 2, 3]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_behaviour(run: Any, program: Callable[[], Any]) -> None:
    run(program)


# -- of the stand-ins alone ------------------------------------------------------------------------------------------


def test_a_call_that_waits_for_another_of_a_full_pool_is_a_deadlock(modelled: Any, deadlock: type[Exception]) -> None:
    def program() -> None:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            pool.submit(lambda: pool.submit(lambda: 1).result()).result()

    with pytest.raises(deadlock, match="wait for future"):
        modelled(program)


def test_a_pool_that_nobody_shuts_down_is_no_deadlock_and_its_calls_are_made(modelled: Any) -> None:
    begun: list[None] = []
    made: list[None] = []

    def program() -> None:
        begun.append(None)
        concurrent.futures.ThreadPoolExecutor(1).submit(made.append, None)

    modelled(program)
    assert len(made) == len(begun) > 0


def test_whether_a_cancel_comes_in_time_is_a_race(modelled: Any) -> None:
    def program() -> bool:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            return bool(pool.submit(lambda: None).cancel())

    assert modelled(program) == {True, False}


def test_a_worker_is_used_again_only_once_it_has_nothing_to_do(modelled: Any) -> None:
    def program() -> int:
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            return len({pool.submit(threading.get_ident).result(), pool.submit(threading.get_ident).result()})

    assert modelled(program) == {1, 2}


def test_futures_go_through_a_set_in_the_same_order_in_every_execution(modelled: Any) -> None:
    def program() -> tuple[int, ...]:
        made = [finished(number) for number in range(8)]
        return tuple(future.result() for future in concurrent.futures.wait(made).done)

    assert len(modelled(program)) == 1


# -- mutants ---------------------------------------------------------------------------------------------------------


def _sets_again(self: Any) -> None:
    pass


def _calls_nobody(self: Any) -> None:
    pass


def _cancels_anything(self: Any) -> bool:
    self._state = "CANCELLED"
    return True


def _leaves_the_rest(self: Any, wait: bool = True, *, cancel_futures: bool = False) -> None:
    self._shutdown = True


def _makes_no_thread(self: Any, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
    future = futures.Future()
    future.set_result(fn(*args, **kwargs))
    return future


def _in_front(self: Any, future: Any) -> None:
    self.ended.insert(0, future)


def _tells_nobody(self: Any, what: str) -> None:
    pass


@pytest.mark.parametrize(
    ("program", "owner", "name", "mutant"),
    [
        (a_future_ends_once, futures.Future, "_refuse_to_end_twice", _sets_again),
        (callbacks_are_called_in_their_order_with_the_future, futures.Future, "_call_back", _calls_nobody),
        (a_future_can_be_cancelled_until_it_runs, futures.Future, "cancel", _cancels_anything),
        (as_completed_gives_those_that_end_meanwhile_in_their_order, futures._Finishing, "add_result", _in_front),
        (as_completed_follows_those_that_end_while_it_waits, futures.Future, "_tell", _tells_nobody),
        (leaving_a_pool_waits_for_its_calls, pools.ThreadPoolExecutor, "shutdown", _leaves_the_rest),
        (two_calls_of_a_pool_run_side_by_side, pools.ThreadPoolExecutor, "submit", _makes_no_thread),
    ],
    ids=lambda value: value if isinstance(value, str) else getattr(value, "__name__", None),
)
def test_a_broken_stand_in_is_found(
    modelled: Any, broken: Any, monkeypatch: Any, program: Any, owner: Any, name: str, mutant: Any
) -> None:
    monkeypatch.setattr(owner, name, mutant)
    with pytest.raises(broken):
        modelled(program)
