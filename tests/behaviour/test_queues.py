"""The queues do what CPython's do."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from cpugpu.explore.standins import queues

PROGRAMS: list[Callable[[], Any]] = []
SHUTS_DOWN = hasattr(queue, "ShutDown")


def behaviour(program: Callable[[], Any]) -> Callable[[], Any]:
    PROGRAMS.append(program)
    return program


def together(*functions: Callable[[], Any]) -> None:
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@behaviour
def what_is_first_in_is_first_out() -> None:
    for kind in (queue.Queue, queue.SimpleQueue):
        q = kind()
        for number in range(3):
            q.put(number)
        assert [q.get(), q.get(), q.get()] == [0, 1, 2]


@behaviour
def a_lifo_queue_gives_the_last_first() -> None:
    q: Any = queue.LifoQueue()
    for number in range(3):
        q.put(number)
    assert [q.get(), q.get(), q.get()] == [2, 1, 0]


@behaviour
def a_priority_queue_gives_the_least_first() -> None:
    q: Any = queue.PriorityQueue()
    for item in ((3, "c"), (1, "a"), (2, "b"), (1, "A")):
        q.put(item)
    assert [q.get() for _ in range(4)] == [(1, "A"), (1, "a"), (2, "b"), (3, "c")]
    q.put(1)
    with pytest.raises(TypeError):
        q.put("not to be compared")


@behaviour
def who_gets_waits_for_who_puts() -> None:
    for kind in (queue.Queue, queue.SimpleQueue, queue.LifoQueue, queue.PriorityQueue):
        q, got = kind(), []
        together(lambda q=q, got=got: got.append(q.get()), lambda q=q: q.put(7))
        assert got == [7]


@behaviour
def who_puts_waits_for_room() -> None:
    q: Any = queue.Queue(1)
    got: list[int] = []

    def put() -> None:
        for number in range(4):
            q.put(number)

    def get() -> None:
        for _ in range(4):
            got.append(q.get())
            assert q.qsize() <= 1

    together(put, get)
    assert got == [0, 1, 2, 3]


@behaviour
def nothing_is_lost_and_nothing_got_twice() -> None:
    for kind in (queue.Queue, queue.SimpleQueue):
        q, got, lock = kind(), [], threading.Lock()

        def put(first: int, q: Any = q) -> None:
            for number in range(first, first + 3):
                q.put(number)

        def get(q: Any = q, got: list[int] = got, lock: Any = lock) -> None:
            for _ in range(3):
                item = q.get()
                with lock:
                    got.append(item)

        together(lambda put=put: put(0), lambda put=put: put(10), get, get)
        assert sorted(got) == [0, 1, 2, 10, 11, 12]


@behaviour
def an_empty_queue_says_so() -> None:
    for kind in (queue.Queue, queue.SimpleQueue, queue.LifoQueue):
        q: Any = kind()
        assert q.empty()
        assert q.qsize() == 0
        for get in (
            q.get_nowait,
            lambda q=q: q.get(False),
            lambda q=q: q.get(timeout=0),
            lambda q=q: q.get(True, 0.01),
            lambda q=q: q.get(block=False, timeout=-1),
        ):
            with pytest.raises(queue.Empty):
                get()
        q.put(None)
        assert not q.empty()
        assert q.qsize() == 1
        assert q.get(timeout=1) is None


@behaviour
def a_full_queue_says_so() -> None:
    q: Any = queue.Queue(2)
    assert not q.full()
    q.put(1)
    q.put(2, timeout=1)
    assert q.full()
    assert q.maxsize == 2
    for put in (
        lambda: q.put_nowait(3),
        lambda: q.put(3, False),
        lambda: q.put(3, timeout=0),
        lambda: q.put(3, True, 0.01),
        lambda: q.put(3, block=False, timeout=-1),
    ):
        with pytest.raises(queue.Full):
            put()
    assert q.get() == 1
    q.put_nowait(3)


@behaviour
def a_queue_without_a_limit_is_never_full() -> None:
    for limit in (0, -1):
        q: Any = queue.Queue(limit)
        for number in range(5):
            q.put(number, timeout=-1)  # which only matters where there is a limit
        assert not q.full()
        assert q.qsize() == 5


@behaviour
def a_queue_refuses_timeouts_that_make_no_sense() -> None:
    limited: Any = queue.Queue(1)
    simple: Any = queue.SimpleQueue()
    for attempt in (
        lambda: limited.put(1, timeout=-1),
        lambda: limited.get(timeout=-1),
        lambda: simple.get(timeout=-1),
    ):
        with pytest.raises(ValueError, match="'timeout' must be a non-negative number"):
            attempt()
    limited.put(1)
    with pytest.raises(ValueError, match="'timeout' must be a non-negative number"):
        limited.get(timeout=-1)
    assert limited.qsize() == 1


@behaviour
def join_waits_until_all_is_done() -> None:
    q: Any = queue.Queue()
    lock, done = threading.Lock(), []

    def work() -> None:
        while (item := q.get()) is not None:
            with lock:
                done.append(item)
            q.task_done()

    workers = [threading.Thread(target=work) for _ in range(2)]
    q.join()
    for number in range(4):
        q.put(number)
    for worker in workers:
        worker.start()
    q.join()
    assert sorted(done) == [0, 1, 2, 3]
    for _ in workers:
        q.put(None)
    for worker in workers:
        worker.join()


@behaviour
def no_more_can_be_done_than_was_put() -> None:
    q: Any = queue.Queue()
    q.put(1)
    q.get()
    q.task_done()
    with pytest.raises(ValueError, match=r"task_done\(\) called too many times"):
        q.task_done()
    assert q.unfinished_tasks == 0


@behaviour
def a_simple_queue_ignores_how_it_is_put() -> None:
    q: Any = queue.SimpleQueue()
    q.put(1, False, -1)
    q.put_nowait(2)
    assert q.get_nowait() == 1
    assert q.get() == 2
    assert not hasattr(q, "task_done")


@behaviour
def a_subclass_may_order_its_items_otherwise() -> None:
    class Distinct(queue.Queue):  # type: ignore[type-arg]
        def _init(self, maxsize: int) -> None:
            self.queue = set()  # type: ignore[assignment]

        def _put(self, item: Any) -> None:
            self.queue.add(item)  # type: ignore[attr-defined]

        def _get(self) -> Any:
            return self.queue.pop()

    q: Any = Distinct(2)
    q.put(1)
    q.put(1)
    assert q.qsize() == 1
    q.put(2)
    assert q.full()
    assert {q.get(), q.get()} == {1, 2}


@behaviour
def an_order_that_takes_steps_of_its_own_is_not_disturbed() -> None:
    lock, compared = threading.Lock(), []

    class Item:
        def __init__(self, rank: int) -> None:
            self.rank = rank

        def __lt__(self, other: Item) -> bool:
            compared.append("begin")
            lock.locked()
            compared.append("end")
            return self.rank < other.rank

    q: Any = queue.PriorityQueue()
    together(*[lambda rank=rank: q.put(Item(rank)) for rank in (3, 1, 2)])
    assert [q.get().rank for _ in range(3)] == [1, 2, 3]
    assert compared == ["begin", "end"] * (len(compared) // 2)


@behaviour
def the_mutex_of_a_queue_keeps_others_out() -> None:
    q: Any = queue.Queue()
    together(lambda: q.put(1), lambda: q.put(2))
    with q.mutex:
        q.queue.clear()
        q.queue.append("mine")
    assert q.get_nowait() == "mine"
    assert q.empty()


@behaviour
def the_conditions_of_a_queue_are_notified() -> None:
    q: Any = queue.Queue()
    q.put(1)

    def work() -> None:
        q.get()
        q.task_done()

    worker = threading.Thread(target=work)
    with q.all_tasks_done:
        worker.start()
        while q.unfinished_tasks:
            q.all_tasks_done.wait()
    worker.join()
    putter = threading.Thread(target=q.put, args=(2,))
    with q.not_empty:
        putter.start()
        while not q.queue:
            q.not_empty.wait()
    putter.join()
    assert q.get() == 2


@behaviour
def a_kind_of_queue_can_be_named_with_its_items() -> None:
    assert queue.Queue[int].__origin__ is queue.Queue
    assert queue.SimpleQueue[int].__origin__ is queue.SimpleQueue


@behaviour
def a_queue_can_be_shut_down_where_python_has_that() -> None:
    assert hasattr(queue.Queue, "shutdown") is (sys.version_info >= (3, 13))
    if not SHUTS_DOWN:
        return
    q: Any = queue.Queue(2)
    q.put(1)
    q.put(2)
    q.shutdown()
    assert q.is_shutdown
    for put in (lambda: q.put(3), lambda: q.put_nowait(3), lambda: q.put(3, timeout=1)):
        with pytest.raises(queue.ShutDown):
            put()
    assert [q.get(), q.get_nowait()] == [1, 2]
    for get in (q.get, q.get_nowait, lambda: q.get(timeout=1)):
        with pytest.raises(queue.ShutDown):
            get()


@behaviour
def a_shutdown_wakes_who_waits() -> None:
    if not SHUTS_DOWN:
        return
    empty: Any = queue.Queue()
    full: Any = queue.Queue(1)
    full.put(0)
    left: Any = queue.Queue()
    left.put(0)
    seen: list[str] = []

    def attempt(function: Callable[[], Any]) -> None:
        try:
            function()
        except queue.ShutDown:
            seen.append("shut down")

    def shut_down() -> None:
        empty.shutdown()
        full.shutdown()
        left.shutdown(immediate=True)

    together(lambda: attempt(empty.get), lambda: attempt(lambda: full.put(1)), left.join, shut_down)
    assert seen == ["shut down"] * 2
    assert left.empty()


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_behaviour(run: Any, program: Callable[[], Any]) -> None:
    run(program)


# -- of the stand-ins alone ------------------------------------------------------------------------------------------


def test_to_put_and_to_get_are_one_step_each(steps: Any) -> None:
    def program() -> None:
        q: Any = queue.Queue(1)
        q.put(1)
        q.get()

    assert [label.split()[0] for label in steps(program)] == ["put", "get"]


def test_who_gets_from_a_queue_that_nobody_fills_is_found(modelled: Any, deadlock: type[Exception]) -> None:
    with pytest.raises(deadlock, match="get from queue"):
        modelled(lambda: queue.Queue().get())
    with pytest.raises(deadlock, match="put into queue"):
        modelled(lambda: together(*[lambda q=q: q.put(1) for q in [queue.Queue(1)] * 2]))


def test_the_look_before_the_get_is_a_race(modelled: Any) -> None:
    def program() -> bool:
        q: Any = queue.Queue()
        q.put(1)
        failed: list[None] = []

        def get() -> None:
            if not q.empty():
                try:
                    q.get_nowait()
                except queue.Empty:
                    failed.append(None)

        together(get, get)
        return bool(failed)

    assert modelled(program) == {True, False}


# -- mutants ---------------------------------------------------------------------------------------------------------


def _always(self: Any) -> bool:
    return True


def _puts_in_front(self: Any, item: Any) -> None:
    self.queue.insert(0, item) if isinstance(self.queue, list) else self.queue.appendleft(item)


def _does_all(self: Any) -> None:
    self.unfinished_tasks = 0


def _peeks(self: Any) -> Any:
    return self.queue[0]


def _unguarded(self: Any, function: Any, *arguments: Any) -> Any:
    return function(*arguments)


@pytest.mark.parametrize(
    ("program", "owner", "name", "mutant"),
    [
        (what_is_first_in_is_first_out, queues.Queue, "_put", _puts_in_front),
        (a_priority_queue_gives_the_least_first, queues.PriorityQueue, "_put", _puts_in_front),
        (who_puts_waits_for_room, queues.Queue, "_room", _always),
        (who_gets_waits_for_who_puts, queues.Queue, "_some", _always),
        (join_waits_until_all_is_done, queues.Queue, "_finished", _always),
        (no_more_can_be_done_than_was_put, queues.Queue, "task_done", _does_all),
        (nothing_is_lost_and_nothing_got_twice, queues.Queue, "_get", _peeks),
        (an_order_that_takes_steps_of_its_own_is_not_disturbed, queues.Queue, "_guarded", _unguarded),
    ],
    ids=lambda value: value if isinstance(value, str) else getattr(value, "__name__", None),
)
def test_a_broken_stand_in_is_found(
    modelled: Any, broken: Any, monkeypatch: Any, program: Any, owner: Any, name: str, mutant: Any
) -> None:
    monkeypatch.setattr(owner, name, mutant)
    with pytest.raises((*broken, queue.Full, queue.Empty)):
        modelled(program)
