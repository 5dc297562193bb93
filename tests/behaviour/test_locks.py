"""Lock, RLock, Condition, Event, Semaphore and Barrier do what CPython's do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from cpugpu.explore.standins import events, locks

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


def until(condition: Any, predicate: Callable[[], Any]) -> None:
    """Look again and again, under the lock of `condition`."""
    while True:
        with condition:
            if predicate():
                return


def racy_increment(cell: list[int], between: Any) -> None:
    value = cell[0]
    between.locked() if hasattr(between, "locked") else threading.enumerate()
    cell[0] = value + 1


# -- Lock ------------------------------------------------------------------------------------------------------------


@behaviour
def a_lock_excludes() -> None:
    lock, other, cell = threading.Lock(), threading.Lock(), [0]

    def add() -> None:
        for _ in range(3):
            with lock:
                racy_increment(cell, other)

    together(add, add, add)
    assert cell == [9]


@behaviour
def a_lock_is_held_until_it_is_released() -> None:
    lock = threading.Lock()
    assert lock.acquire() is True
    assert lock.locked()
    assert lock.acquire(False) is False
    assert lock.acquire(timeout=0.01) is False
    assert lock.acquire(True, 0) is False
    lock.release()
    assert not lock.locked()
    assert lock.acquire(blocking=False) is True
    lock.release()
    with lock as entered:
        assert entered is True


@behaviour
def a_lock_is_released_when_its_block_raises() -> None:
    lock = threading.Lock()
    with pytest.raises(KeyError), lock:
        raise KeyError
    assert lock.acquire(False)


@behaviour
def anybody_may_release_a_lock() -> None:
    lock = threading.Lock()
    lock.acquire()
    other = threading.Thread(target=lock.release)
    other.start()
    assert lock.acquire()
    other.join()


@behaviour
def a_lock_that_is_free_cannot_be_released() -> None:
    lock = threading.Lock()
    with pytest.raises(RuntimeError, match="release unlocked lock"):
        lock.release()
    assert lock.acquire(False)


@behaviour
def a_lock_refuses_timeouts_that_make_no_sense() -> None:
    for lock in (threading.Lock(), threading.RLock()):
        with pytest.raises(ValueError, match="can't specify a timeout for a non-blocking call"):
            lock.acquire(False, 1)
        with pytest.raises(ValueError, match="timeout value must be "):
            lock.acquire(timeout=-2)
        with pytest.raises(OverflowError, match="timestamp"):
            lock.acquire(timeout=1e100)
        with pytest.raises(ValueError, match="NaN"):
            lock.acquire(timeout=float("nan"))
        with pytest.raises(TypeError):
            lock.acquire(timeout=None)  # type: ignore[arg-type]
        assert lock.acquire(timeout=-1)


# -- RLock -----------------------------------------------------------------------------------------------------------


@behaviour
def an_rlock_may_be_taken_again_by_its_owner() -> None:
    lock, seen = threading.RLock(), []

    def try_it() -> None:
        seen.append(lock.acquire(False))
        seen.append(lock.acquire(timeout=0.01))

    with lock:
        with lock:
            together(try_it)
        together(try_it)
    assert seen == [False] * 4
    assert lock.acquire(False)


@behaviour
def an_rlock_excludes() -> None:
    lock, other, cell = threading.RLock(), threading.Lock(), [0]

    def add() -> None:
        for _ in range(2):
            with lock, lock:
                racy_increment(cell, other)

    together(add, add, add)
    assert cell == [6]


@behaviour
def an_rlock_is_released_by_its_owner_only() -> None:
    lock, seen = threading.RLock(), []

    def release() -> None:
        try:
            lock.release()
        except RuntimeError as error:
            seen.append(str(error))

    release()
    with lock:
        together(release)
    assert seen == ["cannot release un-acquired lock"] * 2


# -- Condition -------------------------------------------------------------------------------------------------------


@behaviour
def who_waits_first_is_notified_first() -> None:
    condition, waiting, woken = threading.Condition(), [], []

    def wait(number: int) -> None:
        with condition:
            waiting.append(number)
            condition.wait()
            woken.append(number)

    threads = []
    for number in range(3):
        threads.append(threading.Thread(target=wait, args=(number,)))
        threads[-1].start()
        until(condition, lambda number=number: len(waiting) == number + 1)
    for number in range(3):
        with condition:
            condition.notify()
        until(condition, lambda number=number: len(woken) == number + 1)
    for thread in threads:
        thread.join()
    assert woken == [0, 1, 2]


@behaviour
def notify_all_wakes_all() -> None:
    condition, waiting, woken = threading.Condition(), [], []

    def wait() -> None:
        with condition:
            waiting.append(None)
            assert condition.wait() is True
            woken.append(None)

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    until(condition, lambda: len(waiting) == 3)
    with condition:
        condition.notify_all()
        assert not woken
    for thread in threads:
        thread.join()
    assert len(woken) == 3


@behaviour
def notify_of_n_wakes_no_more_than_n() -> None:
    condition, waiting, woken = threading.Condition(threading.Lock()), [], []

    def wait() -> None:
        with condition:
            waiting.append(None)
            condition.wait()
            woken.append(None)

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    until(condition, lambda: len(waiting) == 3)
    with condition:
        condition.notify(2)
    until(condition, lambda: len(woken) == 2)
    with condition:
        assert len(woken) == 2
        condition.notify(0)
        condition.notify(1)
    for thread in threads:
        thread.join()


@behaviour
def a_wait_releases_an_rlock_altogether_and_takes_it_back_as_deep() -> None:
    condition, state = threading.Condition(), []

    def wait() -> None:
        with condition, condition:
            state.append("waits")
            condition.wait()
            state.append("woken")
            condition.release()
            state.append("still held")
            condition.acquire()

    thread = threading.Thread(target=wait)
    thread.start()
    until(condition, lambda: state)
    with condition:
        condition.notify()
        state.append("notified")
    thread.join()
    assert state == ["waits", "notified", "woken", "still held"]
    assert condition.acquire(False)


@behaviour
def a_wait_in_vain_returns_false_with_the_lock_held() -> None:
    for condition in (threading.Condition(), threading.Condition(threading.Lock())):
        with condition:
            assert condition.wait(0.01) is False
            assert condition.wait(0) is False
            assert condition.wait(-1) is False
            seen: list[bool] = []
            together(lambda condition=condition, seen=seen: seen.append(condition.acquire(False)))
            assert seen == [False]


@behaviour
def who_timed_out_is_not_notified_instead_of_another() -> None:
    condition, waiting, woken = threading.Condition(), [], []
    with condition:
        condition.wait(0.001)

    def wait() -> None:
        with condition:
            waiting.append(None)
            woken.append(condition.wait())

    thread = threading.Thread(target=wait)
    thread.start()
    until(condition, lambda: waiting)
    with condition:
        condition.notify()
    thread.join()
    assert woken == [True]


@behaviour
def a_condition_is_used_with_its_lock_held() -> None:
    for condition in (threading.Condition(), threading.Condition(threading.Lock())):
        with pytest.raises(RuntimeError, match="cannot wait on un-acquired lock"):
            condition.wait()
        with pytest.raises(RuntimeError, match="cannot notify on un-acquired lock"):
            condition.notify()
        with pytest.raises(RuntimeError, match="cannot notify on un-acquired lock"):
            condition.notify_all()
        assert condition.acquire(False)


@behaviour
def a_condition_of_an_rlock_knows_its_owner() -> None:
    condition, seen = threading.Condition(), []

    def notify() -> None:
        try:
            condition.notify()
        except RuntimeError:
            seen.append("refused")

    with condition:
        together(notify)
    assert seen == ["refused"]


@behaviour
def wait_for_waits_until_its_predicate_holds() -> None:
    condition, items, got = threading.Condition(), [], []

    def take() -> None:
        with condition:
            got.append(condition.wait_for(lambda: len(items) if len(items) > 1 else 0))

    def put() -> None:
        for _ in range(2):
            with condition:
                items.append(None)
                condition.notify_all()

    together(take, put)
    assert got == [2]


@behaviour
def wait_for_gives_up_in_time() -> None:
    condition = threading.Condition()
    with condition:
        assert condition.wait_for(lambda: 0, timeout=0.01) == 0
        assert condition.wait_for(lambda: 7, timeout=0) == 7


@behaviour
def a_condition_over_a_lock_of_ones_own_making() -> None:
    class Mine:
        def __init__(self) -> None:
            self.inner = threading.Lock()
            self.acquire, self.release = self.inner.acquire, self.inner.release

        def __enter__(self) -> bool:
            return self.acquire()

        def __exit__(self, *exception: object) -> None:
            self.release()

    condition, items = threading.Condition(Mine()), []  # type: ignore[arg-type]

    def take() -> None:
        with condition:
            while not items:
                condition.wait()

    def put() -> None:
        with condition:
            items.append(None)
            condition.notify()

    together(take, put)
    with pytest.raises(RuntimeError, match="cannot wait"):
        condition.wait()


@behaviour
def a_bounded_buffer_neither_loses_nor_doubles() -> None:
    lock = threading.Lock()
    room, some = threading.Condition(lock), threading.Condition(lock)
    buffer: list[int] = []
    got: list[int] = []

    def put() -> None:
        for number in range(3):
            with room:
                while len(buffer) == 1:
                    room.wait()
                buffer.append(number)
                some.notify()

    def take() -> None:
        for _ in range(3):
            with some:
                while not buffer:
                    some.wait()
                got.append(buffer.pop())
                room.notify()

    together(put, put, take, take)
    assert sorted(got) == [0, 0, 1, 1, 2, 2]


# -- Event -----------------------------------------------------------------------------------------------------------


@behaviour
def an_event_holds_all_until_it_is_set() -> None:
    event, passed = threading.Event(), []

    def wait() -> None:
        assert event.wait() is True
        passed.append(event.is_set())

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert not passed
    event.set()
    for thread in threads:
        thread.join()
    assert passed == [True] * 3


@behaviour
def an_event_tells_whether_it_was_set_in_time() -> None:
    event = threading.Event()
    assert event.wait(0.01) is False
    assert event.wait(0) is False
    assert event.wait(-1) is False
    event.set()
    assert event.wait(0) is True
    event.clear()
    assert not event.is_set()
    assert event.wait(0.001) is False


def a_pulse() -> bool:
    """Set and clear at once. Was it seen by who waits?"""
    event, seen = threading.Event(), []
    thread = threading.Thread(target=lambda: seen.append(event.wait(1)))
    thread.start()
    event.set()
    event.clear()
    thread.join()
    return bool(seen[0])


def test_who_waits_when_an_event_is_set_wakes_though_it_is_cleared_again(modelled: Any) -> None:
    assert modelled(a_pulse) == {True, False}  # False for who has not waited yet


def test_who_is_late_for_a_pulse_waits_for_ever(modelled: Any, deadlock: type[Exception]) -> None:
    def program() -> None:
        event = threading.Event()
        thread = threading.Thread(target=event.wait)
        thread.start()
        event.set()
        event.clear()
        thread.join()

    with pytest.raises(deadlock, match="wake event"):
        modelled(program)


# -- Semaphore -------------------------------------------------------------------------------------------------------


@behaviour
def a_semaphore_lets_as_many_in_as_it_has() -> None:
    semaphore, lock, inside, most = threading.Semaphore(2), threading.Lock(), [0], [0]

    def enter() -> None:
        with semaphore:
            with lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
            with lock:
                inside[0] -= 1

    together(*[enter] * 5)
    assert most[0] <= 2
    assert semaphore.acquire(False)
    assert semaphore.acquire(False)
    assert not semaphore.acquire(False)


@behaviour
def a_semaphore_counts_what_is_given_back() -> None:
    semaphore = threading.Semaphore(0)
    assert semaphore.acquire(timeout=0.01) is False
    assert semaphore.acquire(timeout=-1) is False
    semaphore.release(2)
    assert semaphore.acquire() is True
    assert semaphore.acquire(timeout=1) is True
    assert semaphore.acquire(blocking=False) is False


@behaviour
def a_semaphore_refuses_what_makes_no_sense() -> None:
    with pytest.raises(ValueError, match="initial value must be >= 0"):
        threading.Semaphore(-1)
    with pytest.raises(ValueError, match="n must be one or more"):
        threading.Semaphore().release(0)
    with pytest.raises(ValueError, match="can't specify timeout for non-blocking acquire"):
        threading.Semaphore().acquire(False, 1)


@behaviour
def a_bounded_semaphore_takes_no_more_back_than_it_gave() -> None:
    semaphore = threading.BoundedSemaphore(2)
    semaphore.acquire()
    semaphore.release()
    with pytest.raises(ValueError, match="Semaphore released too many times"):
        semaphore.release()
    semaphore.acquire()
    with pytest.raises(ValueError, match="Semaphore released too many times"):
        semaphore.release(2)
    assert semaphore.acquire(False)
    assert not semaphore.acquire(False)


# -- Barrier ---------------------------------------------------------------------------------------------------------


@behaviour
def a_barrier_lets_nobody_pass_before_all_have_come() -> None:
    barrier, lock, came, wrong, numbers = threading.Barrier(3), threading.Lock(), [0], [], []

    def go() -> None:
        for turn in range(1, 3):
            with lock:
                came[0] += 1
            number = barrier.wait()
            with lock:
                numbers.append(number)
                if came[0] < 3 * turn:
                    wrong.append(turn)

    together(go, go, go)
    assert not wrong
    assert sorted(numbers) == [0, 0, 1, 1, 2, 2]
    assert barrier.n_waiting == 0
    assert barrier.parties == 3


@behaviour
def the_action_of_a_barrier_runs_once_before_anybody_passes() -> None:
    done: list[str] = []
    barrier = threading.Barrier(2, action=lambda: done.append("action"))

    def go() -> None:
        barrier.wait()
        done.append("passed")

    together(go, go)
    assert done == ["action", "passed", "passed"]


@behaviour
def nobody_gets_at_a_barrier_while_its_action_runs() -> None:
    lock, done = threading.Lock(), []

    def act() -> None:
        for _ in range(2):
            with lock:
                done.append("action")

    barrier = threading.Barrier(2, act)

    def go() -> None:
        barrier.wait()
        done.append("passed")

    def reset() -> None:
        barrier.reset()
        done.append("reset")

    def attempt() -> None:
        try:
            go()
        except threading.BrokenBarrierError:
            barrier.abort()

    together(attempt, attempt, reset)
    if "action" in done:
        first = done.index("action")
        assert done[first : first + 2] == ["action", "action"]


@behaviour
def an_action_that_raises_breaks_the_barrier() -> None:
    seen: list[str] = []

    def fail() -> None:
        raise KeyError

    barrier = threading.Barrier(2, action=fail)

    def go() -> None:
        try:
            barrier.wait()
        except (threading.BrokenBarrierError, KeyError) as error:
            seen.append(type(error).__name__)

    together(go, go)
    assert sorted(seen) == ["BrokenBarrierError", "KeyError"]
    assert barrier.broken


@behaviour
def a_barrier_that_is_aborted_is_broken_until_it_is_reset() -> None:
    barrier = threading.Barrier(2)
    seen: list[object] = []

    def go() -> None:
        try:
            barrier.wait()
        except threading.BrokenBarrierError:
            seen.append("broken")

    thread = threading.Thread(target=go)
    thread.start()
    barrier.abort()
    thread.join()
    assert seen == ["broken"]
    assert barrier.broken
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait()
    barrier.reset()
    assert not barrier.broken
    together(go, go)
    assert seen == ["broken"]


@behaviour
def a_reset_breaks_the_wait_of_those_who_are_there() -> None:
    barrier = threading.Barrier(2)
    seen: list[str] = []

    def go() -> None:
        try:
            barrier.wait()
        except threading.BrokenBarrierError:
            seen.append("broken")

    thread = threading.Thread(target=go)
    thread.start()
    while not barrier.n_waiting:
        pass
    barrier.reset()
    thread.join()
    assert seen == ["broken"]
    assert not barrier.broken


@behaviour
def who_waits_too_long_breaks_the_barrier_for_all() -> None:
    barrier = threading.Barrier(3, timeout=0.01)
    seen: list[str] = []

    def go() -> None:
        try:
            barrier.wait()
        except threading.BrokenBarrierError:
            seen.append("broken")

    together(go, go)
    assert seen == ["broken"] * 2
    assert barrier.broken


@behaviour
def a_barrier_of_one_holds_nobody() -> None:
    barrier = threading.Barrier(1)
    assert [barrier.wait(), barrier.wait()] == [0, 0]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_behaviour(run: Any, program: Callable[[], Any]) -> None:
    run(program)


# -- of the stand-ins alone ------------------------------------------------------------------------------------------


def test_two_locks_in_opposite_order_are_a_deadlock(modelled: Any, deadlock: type[Exception]) -> None:
    def program() -> None:
        a, b = threading.Lock(), threading.Lock()

        def one() -> None:
            with a, b:
                pass

        def other() -> None:
            with b, a:
                pass

        together(one, other)

    with pytest.raises(deadlock, match="acquire lock"):
        modelled(program)


def test_a_notification_before_the_wait_is_lost(modelled: Any, deadlock: type[Exception]) -> None:
    def program() -> None:
        condition = threading.Condition()

        def wait() -> None:
            with condition:
                condition.wait()

        thread = threading.Thread(target=wait)
        thread.start()
        with condition:
            condition.notify()
        thread.join()

    with pytest.raises(deadlock, match="wake condition"):
        modelled(program)


def waits_without_a_loop() -> bool:
    condition, items = threading.Condition(), []

    def put() -> None:
        with condition:
            items.append(None)
            condition.notify()

    with condition:
        thread = threading.Thread(target=put)
        thread.start()
        condition.wait()
        found = bool(items)
    thread.join()
    return found


def test_a_wait_without_a_loop_is_wrong_where_wake_ups_may_be_spurious(modelled: Any) -> None:
    assert modelled(waits_without_a_loop) == {True}
    assert modelled(waits_without_a_loop, spurious=True) == {True, False}


def test_wait_for_stands_spurious_wake_ups(modelled: Any) -> None:
    modelled(wait_for_waits_until_its_predicate_holds, spurious=True)


def test_a_notification_may_be_lost_on_who_times_out(modelled: Any) -> None:
    def program() -> tuple[bool, bool]:
        condition, waiting, woken = threading.Condition(), [], {}

        def wait(name: str, timeout: float) -> None:
            with condition:
                waiting.append(name)
                woken[name] = condition.wait(timeout)

        hasty = threading.Thread(target=wait, args=("hasty", 1))
        hasty.start()
        until(condition, lambda: waiting)
        patient = threading.Thread(target=wait, args=("patient", 1))
        patient.start()
        until(condition, lambda: len(waiting) == 2)
        with condition:
            condition.notify()
        hasty.join()
        patient.join()
        return woken["hasty"], woken["patient"]

    assert (False, False) in modelled(program)


# -- mutants: a stand-in that is broken fails the suite --------------------------------------------------------------


def _always(self: Any) -> bool:
    return True


def _acquires_at_once(self: Any, blocking: bool = True, timeout: float = -1) -> bool:
    self.held = True
    return True


def _wakes_the_last(self: Any, n: int) -> None:
    while self._waiters and n > 0:
        self._waiters.pop().notified = True
        n -= 1


def _wakes_one_only(self: Any, n: int) -> None:
    if self._waiters:
        self._waiters.popleft().notified = True


def _lets_go_of_one(self: Any) -> Any:
    held = (1, self.owner)
    self.count -= 1
    if not self.count:
        self.owner = None
    return held


def _sets_without_waking(self: Any) -> None:
    self._flag = True


def _takes_any_back(self: Any, n: int = 1) -> None:
    self._value += n


def _forgets_the_action(self: Any) -> None:
    self._state = 1


def _resets_nobody(self: Any) -> None:
    self._state = 0


@pytest.mark.parametrize(
    ("program", "owner", "name", "mutant"),
    [
        (a_lock_excludes, locks.Lock, "acquire", _acquires_at_once),
        (a_lock_excludes, locks.Lock, "free", _always),
        (an_rlock_excludes, locks.RLock, "free", _always),
        (who_waits_first_is_notified_first, locks.Condition, "rouse", _wakes_the_last),
        (notify_all_wakes_all, locks.Condition, "rouse", _wakes_one_only),
        (a_wait_releases_an_rlock_altogether_and_takes_it_back_as_deep, locks.RLock, "let_go", _lets_go_of_one),
        (an_event_holds_all_until_it_is_set, events.Event, "set", _sets_without_waking),
        (a_semaphore_lets_as_many_in_as_it_has, events.Semaphore, "_some", _always),
        (a_bounded_semaphore_takes_no_more_back_than_it_gave, events.BoundedSemaphore, "release", _takes_any_back),
        (a_barrier_lets_nobody_pass_before_all_have_come, events.Barrier, "_open", _always),
        (the_action_of_a_barrier_runs_once_before_anybody_passes, events.Barrier, "_trip", _forgets_the_action),
        (a_reset_breaks_the_wait_of_those_who_are_there, events.Barrier, "reset", _resets_nobody),
    ],
    ids=lambda value: value if isinstance(value, str) else getattr(value, "__name__", None),
)
def test_a_broken_stand_in_is_found(
    modelled: Any, broken: Any, monkeypatch: Any, program: Any, owner: Any, name: str, mutant: Any
) -> None:
    monkeypatch.setattr(owner, name, mutant)
    with pytest.raises(broken):
        modelled(program)
