"""Thread, Timer, local, and what tells of threads do what CPython's do; time passes for the stand-ins alone."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from cpugpu.explore.standins import clock, local, threads

PROGRAMS: list[Callable[[], Any]] = []


def behaviour(program: Callable[[], Any]) -> Callable[[], Any]:
    PROGRAMS.append(program)
    return program


@behaviour
def a_thread_runs_its_target_with_its_arguments() -> None:
    seen: list[Any] = []
    thread = threading.Thread(target=lambda *args, **kwargs: seen.append((args, kwargs)), args=(1, 2), kwargs={"a": 3})
    assert not seen
    thread.start()
    thread.join()
    assert seen == [((1, 2), {"a": 3})]


@behaviour
def a_subclass_may_override_run() -> None:
    class Mine(threading.Thread):
        def __init__(self) -> None:
            super().__init__(name="mine")
            self.seen: list[str] = []

        def run(self) -> None:
            self.seen.append(threading.current_thread().name)

    thread = Mine()
    thread.start()
    thread.join()
    assert thread.seen == ["mine"]


@behaviour
def a_thread_without_a_target_does_nothing() -> None:
    thread = threading.Thread()
    thread.start()
    thread.join()
    assert not thread.is_alive()


@behaviour
def a_thread_lives_from_its_start_to_its_end() -> None:
    go = threading.Event()
    thread = threading.Thread(target=go.wait)
    assert not thread.is_alive()
    thread.start()
    assert thread.is_alive()
    thread.join(0)
    thread.join(0.01)
    thread.join(-1)
    assert thread.is_alive()
    go.set()
    assert thread.join() is None  # type: ignore[func-returns-value]
    assert not thread.is_alive()
    thread.join()


@behaviour
def a_join_sees_what_the_thread_has_done() -> None:
    lock, cell = threading.Lock(), [0]

    def add() -> None:
        for _ in range(2):
            with lock:
                cell[0] += 1

    workers = [threading.Thread(target=add) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert cell == [6]


@behaviour
def a_thread_starts_once() -> None:
    thread = threading.Thread(target=lambda: None)
    thread.start()
    with pytest.raises(RuntimeError, match="threads can only be started once"):
        thread.start()
    thread.join()
    with pytest.raises(RuntimeError, match="threads can only be started once"):
        thread.start()


@behaviour
def of_two_who_start_a_thread_one_is_refused() -> None:
    lock, ran, refused = threading.Lock(), [], []
    thread = threading.Thread(target=lambda: ran.append(None))

    def start() -> None:
        with lock:
            pass
        with lock:
            try:
                thread.start()
            except RuntimeError:
                refused.append(None)

    starters = [threading.Thread(target=start) for _ in range(2)]
    for starter in starters:
        starter.start()
    for starter in starters:
        starter.join()
    thread.join()
    assert len(ran) == len(refused) == 1


@behaviour
def a_thread_is_joined_after_its_start_and_not_by_itself() -> None:
    with pytest.raises(RuntimeError, match="cannot join thread before it is started"):
        threading.Thread().join()
    with pytest.raises(RuntimeError, match="cannot join current thread"):
        threading.current_thread().join()
    seen: list[str] = []

    def join_myself() -> None:
        try:
            threading.current_thread().join()
        except RuntimeError as error:
            seen.append(str(error))

    thread = threading.Thread(target=join_myself)
    thread.start()
    thread.join()
    assert seen == ["cannot join current thread"]


@behaviour
def a_subclass_must_call_the_constructor() -> None:
    class Mine(threading.Thread):
        def __init__(self) -> None:
            pass

    with pytest.raises(RuntimeError, match=r"thread.__init__\(\) not called"):
        Mine().start()
    with pytest.raises(RuntimeError, match=r"Thread.__init__\(\) not called"):
        Mine().join()


@behaviour
def daemons_beget_daemons() -> None:
    seen: list[bool] = []

    def beget() -> None:
        seen.append(threading.Thread().daemon)

    for daemon in (True, False, None):
        thread = threading.Thread(target=beget, daemon=daemon)
        assert thread.daemon is (daemon or False)
        thread.start()
        thread.join()
    assert seen == [True, False, False]


@behaviour
def who_is_a_daemon_is_settled_at_the_start() -> None:
    thread = threading.Thread()
    thread.daemon = True
    assert thread.daemon
    thread.start()
    with pytest.raises(RuntimeError, match="cannot set daemon status of active thread"):
        thread.daemon = False
    thread.join()


@behaviour
def a_thread_has_a_name() -> None:
    def work() -> None:
        pass

    assert threading.Thread(name="a").name == "a"
    assert threading.Thread(name=7).name == "7"  # type: ignore[arg-type]
    thread = threading.Thread(target=work)
    assert thread.name.startswith("Thread-")
    assert thread.name.endswith(" (work)")
    assert threading.Thread().name != threading.Thread().name
    thread.name = "b"
    assert thread.name == "b"
    with pytest.warns(DeprecationWarning, match="name attribute"):
        assert thread.getName() == "b"
    assert "b, initial" in repr(thread)


@behaviour
def a_thread_knows_itself_and_its_number() -> None:
    seen: list[Any] = []

    def look() -> None:
        seen.append((threading.current_thread(), threading.get_ident(), threading.get_native_id()))

    one, other = threading.Thread(target=look), threading.Thread(target=look)
    assert one.ident is one.native_id is None
    for thread in (one, other):
        thread.start()
        assert thread.ident
        thread.join()
    assert seen == [(one, one.ident, one.native_id), (other, other.ident, other.native_id)]
    assert threading.get_ident() == threading.current_thread().ident == threading.main_thread().ident


@behaviour
def the_first_thread_is_the_main_thread() -> None:
    seen: list[Any] = []
    thread = threading.Thread(target=lambda: seen.append(threading.main_thread()))
    thread.start()
    thread.join()
    assert seen == [threading.current_thread()]
    main = threading.main_thread()
    assert main.name == "MainThread"
    assert main.is_alive()
    assert not main.daemon
    assert isinstance(main, threading.Thread)
    assert isinstance(main, threading._MainThread)  # type: ignore[attr-defined]


@behaviour
def the_threads_that_live_are_counted() -> None:
    go, before = threading.Event(), threading.active_count()
    thread = threading.Thread(target=go.wait)
    assert thread not in threading.enumerate()
    thread.start()
    assert thread in threading.enumerate()
    assert threading.current_thread() in threading.enumerate()
    assert threading.active_count() == before + 1
    go.set()
    thread.join()
    assert thread not in threading.enumerate()
    assert threading.active_count() == before


@behaviour
def a_thread_that_raises_tells_the_hook_and_ends() -> None:
    seen: list[Any] = []
    before = threading.excepthook
    threading.excepthook = seen.append
    try:

        def fail() -> None:
            raise KeyError("gone")

        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
    finally:
        threading.excepthook = before
    assert not thread.is_alive()
    (told,) = seen
    assert told.exc_type is KeyError
    assert told.exc_value.args == ("gone",)
    assert told.exc_traceback is not None
    assert told.thread is thread


@behaviour
def a_thread_may_exit() -> None:
    thread = threading.Thread(target=sys.exit)
    thread.start()
    thread.join()
    assert not thread.is_alive()


@behaviour
def a_timer_calls_when_it_is_time() -> None:
    seen: list[Any] = []
    timer = threading.Timer(0.01, lambda *args, **kwargs: seen.append((args, kwargs)), [1], {"a": 2})
    timer.start()
    timer.join()
    assert seen == [((1,), {"a": 2})]
    assert timer.finished.is_set()


@behaviour
def a_timer_that_is_cancelled_never_calls() -> None:
    seen: list[None] = []
    timer = threading.Timer(0, lambda: seen.append(None))
    timer.cancel()
    timer.start()
    timer.join()
    assert seen == []


@behaviour
def each_thread_has_its_own_locals() -> None:
    mine, seen = threading.local(), []
    mine.value = "main"

    def look() -> None:
        seen.append(hasattr(mine, "value"))
        mine.value = "other"
        seen.append(mine.__dict__)

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [False, {"value": "other"}]
    assert mine.value == "main"
    del mine.value
    with pytest.raises(AttributeError):
        mine.value  # noqa: B018
    with pytest.raises(AttributeError):
        mine.__dict__ = {}


@behaviour
def a_subclass_of_local_is_made_for_each_thread() -> None:
    class Mine(threading.local):
        kind = "shared"

        def __init__(self, value: int, more: int = 0) -> None:
            self.value = value + more

    mine, seen = Mine(1, more=2), []
    mine.value = 7

    def look() -> None:
        seen.append(mine.value)
        seen.append(mine.kind)

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [3, "shared"]
    assert mine.value == 7
    with pytest.raises(TypeError, match="Initialization arguments are not supported"):
        threading.local(1)


@behaviour
def clocks_go_on_and_sleep_takes_as_long_as_it_says() -> None:
    for clock_, unit in (
        (time.monotonic, 1),
        (time.perf_counter, 1),
        (time.time, 1),
        (time.monotonic_ns, 10**9),
        (time.perf_counter_ns, 10**9),
        (time.time_ns, 10**9),
    ):
        before = clock_()
        time.sleep(0.002)
        assert clock_() - before >= 0.0019 * unit
    deadline = time.monotonic() + 0.002
    while time.monotonic() < deadline:
        pass


@behaviour
def sleep_refuses_what_makes_no_sense() -> None:
    with pytest.raises(ValueError, match="sleep length must be non-negative"):
        time.sleep(-1)
    with pytest.raises(ValueError, match="NaN"):
        time.sleep(float("nan"))
    for nonsense in ("1", None):
        with pytest.raises(TypeError):
            time.sleep(nonsense)  # type: ignore[arg-type]
    time.sleep(0)
    time.sleep(False)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_behaviour(run: Any, program: Callable[[], Any]) -> None:
    run(program)


# -- of the stand-ins alone ------------------------------------------------------------------------------------------


def test_an_exception_of_a_thread_is_the_explorers_to_see(modelled: Any) -> None:
    def program() -> None:
        def fail() -> None:
            raise KeyError("gone")

        threading.Thread(target=fail).start()

    with pytest.raises(KeyError, match="gone"):
        modelled(program)


def test_nobody_waits_for_a_daemon(modelled: Any, deadlock: type[Exception]) -> None:
    def program(daemon: bool) -> None:
        threading.Thread(target=threading.Event().wait, daemon=daemon).start()

    modelled(lambda: program(True))
    with pytest.raises(deadlock):
        modelled(lambda: program(False))


def test_a_timer_may_be_cancelled_too_late(modelled: Any) -> None:
    def program() -> int:
        seen: list[None] = []
        timer = threading.Timer(1000, lambda: seen.append(None))
        timer.start()
        timer.cancel()
        timer.join()
        return len(seen)

    assert modelled(program) == {0, 1}


def test_a_sleep_takes_no_time_of_ours_and_orders_nothing(modelled: Any) -> None:
    def program() -> tuple[str, ...]:
        order: list[str] = []

        def sleep(name: str) -> None:
            time.sleep(10_000)
            order.append(name)

        sleepers = [threading.Thread(target=sleep, args=(name,)) for name in "ab"]
        for sleeper in sleepers:
            sleeper.start()
        for sleeper in sleepers:
            sleeper.join()
        assert time.monotonic() >= 10_000
        return tuple(order)

    assert modelled(program) == {("a", "b"), ("b", "a")}


def test_time_is_the_same_in_every_execution(modelled: Any) -> None:
    assert modelled(lambda: (time.time(), time.monotonic(), time.perf_counter_ns())) == {
        (clock.EPOCH + clock.MOMENT, 2 * clock.MOMENT, 3000)
    }


def test_idents_and_names_are_the_same_in_every_execution(modelled: Any) -> None:
    def program() -> tuple[Any, ...]:
        made: list[Any] = []

        def make() -> None:
            inner = threading.Thread(target=lambda: None, name="inner")
            inner.start()
            made.append((threading.current_thread().name, inner.ident))

        workers = [threading.Thread(target=make) for _ in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return tuple(sorted(made))

    assert len(modelled(program)) == 1


def test_an_execution_that_is_closed_unwinds(modelled: Any, deadlock: type[Exception]) -> None:
    unwound: list[str] = []

    def program() -> None:
        condition, lock, semaphore = threading.Condition(), threading.RLock(), threading.BoundedSemaphore()

        def wait() -> None:
            try:
                with semaphore, lock, condition:
                    condition.wait()
            except BaseException as exception:
                unwound.append(type(exception).__name__)
                raise

        waiter = threading.Thread(target=wait)
        waiter.start()
        waiter.join()

    with pytest.raises(deadlock):
        modelled(program)
    assert unwound == ["GreenletExit"]


# -- mutants ---------------------------------------------------------------------------------------------------------


def _joins_nobody(self: Any, timeout: float | None = None) -> None:
    clock.sleep(0)


def _starts_again(self: Any) -> None:
    clock.sleep(0)
    threads.launch(self)


def _always_calls(self: Any) -> None:
    self.function(*self.args, **self.kwargs)
    self.finished.set()


def _shares(self: Any) -> None:
    pass


def _lives(self: Any) -> bool:
    return self.actor is not None


def _no_time(seconds: float) -> None:
    pass


@pytest.mark.parametrize(
    ("program", "owner", "name", "mutant"),
    [
        (a_join_sees_what_the_thread_has_done, threads.Thread, "join", _joins_nobody),
        (a_thread_starts_once, threads.Thread, "start", _starts_again),
        (of_two_who_start_a_thread_one_is_refused, threads.Thread, "start", _starts_again),
        (a_timer_that_is_cancelled_never_calls, threads.Timer, "run", _always_calls),
        (each_thread_has_its_own_locals, local, "_mine", _shares),
        (a_thread_lives_from_its_start_to_its_end, threads.Thread, "is_alive", _lives),
        (clocks_go_on_and_sleep_takes_as_long_as_it_says, clock, "sleep", _no_time),
    ],
    ids=lambda value: value if isinstance(value, str) else getattr(value, "__name__", None),
)
def test_a_broken_stand_in_is_found(
    modelled: Any, broken: Any, monkeypatch: Any, program: Any, owner: Any, name: str, mutant: Any
) -> None:
    monkeypatch.setattr(owner, name, mutant)
    with pytest.raises(broken):
        modelled(program)
