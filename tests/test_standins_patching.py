"""The stand-ins are put in place as a whole and taken back as a whole; what has no model says so."""

from __future__ import annotations

import concurrent.futures
import concurrent.futures._base
import concurrent.futures.thread
import multiprocessing
import multiprocessing.process
import os
import pickle
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from contextlib import contextmanager
from queue import Queue
from threading import Barrier, BoundedSemaphore, Condition, Event, RLock, Semaphore, Timer
from typing import Any

import pytest

from cpugpu.explore.execution import Execution, OutsideExploration, set_current
from cpugpu.explore.standins import clock, events, futures, locks, patching, pools, queues, threads
from cpugpu.explore.standins.patching import standing_in
from cpugpu.explore.unmodelled import Unmodelled

MODULES = (threading, queue, time, concurrent.futures, concurrent.futures._base, concurrent.futures.thread)
OTHERS = (
    os,
    sys.modules["_thread"],
    socket.socket,
    subprocess.Popen,
    multiprocessing.process.BaseProcess,
    threading.Thread,
    threading.BoundedSemaphore,
)


def attributes() -> dict[tuple[int, str], object]:
    return {(at, name): value for at, owner in enumerate((*MODULES, *OTHERS)) for name, value in vars(owner).items()}


def differences(before: dict[tuple[int, str], object]) -> list[tuple[int, str]]:
    after = attributes()
    names = [*before, *(name for name in after if name not in before)]
    return [name for name in names if before.get(name, names) is not after.get(name, names)]


def explored(program: Callable[[], Any]) -> Any:
    """What `program` returns or raises, as the first thread of an execution in which the eldest goes on."""
    returned: list[Any] = []
    execution = Execution()
    set_current(execution)
    try:
        main = execution.spawn("main", lambda: returned.append(program()))
        execution.come_up()
        while main.alive and execution.unmodelled is None:
            able = execution.enabled()
            execution.take(able[len(execution.steps) % len(able)], able)
        if execution.unmodelled is not None:
            raise execution.unmodelled
        if main.exception is not None:
            raise main.exception
    finally:
        execution.close()
        set_current(None)
    return returned[0]


# -- in place and back -----------------------------------------------------------------------------------------------


def test_every_attribute_is_the_same_afterwards() -> None:
    before = attributes()
    with standing_in():
        assert {name for at, name in differences(before) if at == 0} >= {"Lock", "Thread", "Event", "local"}
    assert differences(before) == []


def test_every_attribute_is_the_same_after_an_exception() -> None:
    before = attributes()
    with pytest.raises(KeyError), standing_in():
        raise KeyError
    with pytest.raises(Unmodelled), standing_in():
        explored(lambda: os.system("true"))
    assert differences(before) == []


def test_every_attribute_is_the_same_after_the_program_has_changed_some() -> None:
    before = attributes()
    with standing_in():
        threading.excepthook = print
        threading.Lock = None  # type: ignore[assignment, misc]
        del socket.socket.recv
    assert differences(before) == []


def test_a_failure_half_way_takes_back_what_was_done(monkeypatch: pytest.MonkeyPatch) -> None:
    def half() -> Iterator[tuple[Any, str, object]]:
        yield threading, "Lock", locks.Lock
        yield int, "bit_length", None  # which Python refuses

    monkeypatch.setattr(patching, "_modelled", half)
    before = attributes()
    with pytest.raises(TypeError), standing_in():
        pass
    assert differences(before) == []
    monkeypatch.undo()
    with standing_in():
        pass


def test_a_patch_that_forgets_one_attribute_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant of this file: the comparison sees what is left behind."""

    @contextmanager
    def careless() -> Iterator[None]:
        real = threading.Barrier
        with standing_in():
            yield
        monkeypatch.setattr(threading, "Barrier", type("Barrier", (real,), {}))

    before = attributes()
    with careless():
        pass
    assert [name for _, name in differences(before)] == ["Barrier"]


def test_it_is_not_entered_twice() -> None:
    before = attributes()
    with standing_in():
        with pytest.raises(RuntimeError, match="active already"), standing_in():
            pass
        assert threading.Lock is locks.Lock
    assert differences(before) == []
    with standing_in():
        assert threading.Lock is locks.Lock


@pytest.mark.parametrize(
    ("module", "name", "stand_in"),
    [
        *[(threading, name, getattr(locks, name)) for name in ("Lock", "RLock", "Condition")],
        *[(threading, name, getattr(events, name)) for name in ("Event", "Semaphore", "BoundedSemaphore", "Barrier")],
        *[(threading, name, getattr(threads, name)) for name in ("Thread", "Timer", "get_ident", "current_thread")],
        *[(queue, name, getattr(queues, name)) for name in ("Queue", "LifoQueue", "PriorityQueue", "SimpleQueue")],
        *[(time, name, getattr(clock, name)) for name in ("sleep", "monotonic", "perf_counter", "time", "time_ns")],
        *[(concurrent.futures, name, getattr(futures, name)) for name in ("Future", "wait", "as_completed")],
        (concurrent.futures, "ThreadPoolExecutor", pools.ThreadPoolExecutor),
        (concurrent.futures.thread, "ThreadPoolExecutor", pools.ThreadPoolExecutor),
        (concurrent.futures._base, "Future", futures.Future),
    ],
)
def test_what_stands_in(module: Any, name: str, stand_in: object) -> None:
    assert getattr(module, name) is not stand_in
    with standing_in():
        assert getattr(module, name) is stand_in


def test_the_exceptions_are_the_real_ones() -> None:
    names = [(threading, "BrokenBarrierError"), (queue, "Empty"), (queue, "Full")]
    names += [(concurrent.futures, name) for name in ("CancelledError", "TimeoutError", "InvalidStateError")]
    before = [getattr(module, name) for module, name in names]
    with standing_in():
        assert [getattr(module, name) for module, name in names] == before


# -- names that were imported before ---------------------------------------------------------------------------------


def with_names_from_before() -> list[Any]:
    seen: list[Any] = []
    event, barrier, lock, condition = Event(), Barrier(2), RLock(), Condition()
    semaphore, bounded, tasks = Semaphore(0), BoundedSemaphore(1), Queue(1)  # type: ignore[var-annotated]

    def work() -> None:
        event.wait()
        with lock, lock, bounded:
            semaphore.release()
        barrier.wait()
        with condition:
            seen.append("worked")
            condition.notify_all()
        for number in range(3):
            tasks.put(number)

    thread = threading.Thread(target=work)
    thread.start()
    event.set()
    semaphore.acquire()
    barrier.wait()
    with condition:
        while not seen:
            condition.wait(1)
    seen += [tasks.get(timeout=100) for _ in range(3)]
    thread.join()
    return seen


def test_classes_that_were_imported_before_are_explored_too() -> None:
    with standing_in():
        assert explored(with_names_from_before) == ["worked", 0, 1, 2]


def test_pools_that_were_imported_before_are_explored_too() -> None:
    def program() -> Any:
        with ThreadPoolExecutor(2) as pool:
            calls = [pool.submit(lambda n: n * n, n) for n in range(3)]
            ended = {call.result() for call in as_completed(calls)}
            return ended, len(wait(calls).done), list(pool.map(abs, [-1, -2]))

    with standing_in():
        assert explored(program) == ({0, 1, 4}, 3, [1, 2])


class Worker(threading.Thread):
    def __init__(self, cell: list[Any]) -> None:
        super().__init__(name="worker", daemon=True)
        self.cell = cell

    def run(self) -> None:
        self.cell.append((threading.current_thread(), self.ident == threading.get_ident(), self.is_alive()))


class OldWorker(threading.Thread):
    def __init__(self, cell: list[Any]) -> None:
        threading.Thread.__init__(self, target=lambda: cell.append((threading.current_thread(), True, True)))


@pytest.mark.parametrize("kind", [Worker, OldWorker])
def test_thread_classes_that_were_derived_before_are_explored_too(kind: Any) -> None:
    def program() -> None:
        cell: list[Any] = []
        worker = kind(cell)
        assert not worker.is_alive()
        assert worker.daemon is (kind is Worker)
        worker.start()
        with pytest.raises(RuntimeError, match="threads can only be started once"):
            worker.start()
        worker.join()
        assert cell == [(worker, True, True)]
        assert not worker.is_alive()
        assert worker in threading.enumerate() or "stopped" in repr(worker)

    with standing_in():
        explored(program)
    before = threading.active_count()
    cell: list[Any] = []
    worker = kind(cell)
    worker.start()
    worker.join()
    assert cell[0][1:] == (True, True)
    assert threading.active_count() == before


def test_a_timer_class_that_was_imported_before_is_explored_too() -> None:
    def program() -> list[int]:
        seen: list[int] = []
        timer = Timer(5, seen.append, [1])
        timer.start()
        timer.join()
        return seen

    with standing_in():
        assert explored(program) == [1]


def test_a_real_thread_that_was_made_before_says_so() -> None:
    thread = threading.Thread(target=print)
    with standing_in(), pytest.raises(Unmodelled, match="a thread that was made before cannot be explored"):
        explored(thread.start)
    assert thread not in threading.enumerate()


def test_a_lock_that_was_made_before_is_no_lock_of_a_condition() -> None:
    lock = threading.Lock()
    with standing_in(), pytest.raises(Unmodelled, match="a Condition over a lock that was made before"):
        explored(lambda: threading.Condition(lock))


# -- what has no model -----------------------------------------------------------------------------------------------


def raw_thread() -> None:
    sys.modules["_thread"].start_new_thread(print, ())


def process() -> None:
    multiprocessing.Process(target=print).start()


def popen() -> None:
    subprocess.run(["true"], check=False)


def fork() -> None:
    os.fork()


def kill() -> None:
    signal.pthread_kill(threading.get_ident(), 0)


def receive() -> None:
    one, other = socket.socketpair()
    with one, other:
        one.recv(1)


UNMODELLED = [
    (raw_thread, "_thread.start_new_thread()"),
    (process, "multiprocessing.Process.start()"),
    (popen, "subprocess.Popen()"),
    (fork, "os.fork()"),
    (kill, "signal.pthread_kill()"),
    (receive, "socket.recv()"),
]


@pytest.mark.parametrize(("program", "what"), UNMODELLED, ids=[what for _, what in UNMODELLED])
def test_what_starts_something_real_is_refused(program: Callable[[], None], what: str) -> None:
    with standing_in(), pytest.raises(Unmodelled) as caught:
        explored(program)
    assert caught.value.what == what
    assert caught.value.place == f"{__file__}:{program.__code__.co_firstlineno + (3 if program is receive else 1)}"
    assert str(caught.value).startswith(f"{caught.value.place}: {what} cannot be explored: ")


def test_the_program_does_not_take_it_for_an_error_of_its_own() -> None:
    def program() -> None:
        try:
            fork()
        except Exception:
            return

    assert not issubclass(Unmodelled, Exception)
    with standing_in(), pytest.raises(Unmodelled):
        explored(program)


def test_it_is_not_kept_in_a_future() -> None:
    def program() -> None:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            pool.submit(fork)

    with standing_in(), pytest.raises(Unmodelled):
        explored(program)


def test_it_can_be_sent_to_another_process() -> None:
    error = Unmodelled("os.fork()", "do not")
    again = pickle.loads(pickle.dumps(error))
    assert (again.what, again.place, str(again)) == (error.what, error.place, str(error))


def test_a_socket_that_does_not_block_is_let_go() -> None:
    def program() -> None:
        one, other = socket.socketpair()
        with one, other:
            one.setblocking(False)
            with pytest.raises(BlockingIOError):
                one.recv(1)

    with standing_in():
        explored(program)


def test_whoever_is_no_thread_of_an_exploration_goes_on_as_before() -> None:
    with standing_in():
        assert subprocess.run(["true"], check=False).returncode == 0
        before = time.perf_counter()
        time.sleep(0)
        assert time.perf_counter() - before > 0
        assert threading.current_thread() is threading.main_thread()
        assert threading.get_ident() == threading.main_thread().ident
        assert threading.active_count() == len(threading.enumerate()) >= 1
        one, other = socket.socketpair()
        with one, other:
            other.send(b"x")
            assert one.recv(1) == b"x"


# -- outside an exploration ------------------------------------------------------------------------------------------


def everything() -> dict[str, Any]:
    """One of each, made by whoever calls."""
    return {
        "lock": threading.Lock(),
        "rlock": threading.RLock(),
        "condition": threading.Condition(),
        "event": threading.Event(),
        "semaphore": threading.Semaphore(),
        "barrier": threading.Barrier(1),
        "queue": queue.Queue(1),
        "simple": queue.SimpleQueue(),
        "future": concurrent.futures.Future(),
        "local": threading.local(),
        "thread": threading.Thread(name="later"),
        "pool": concurrent.futures.ThreadPoolExecutor(1),
    }


@pytest.mark.parametrize("where", ["made in an exploration", "made outside"])
def test_a_stand_in_that_is_used_outside_does_what_it_can_and_refuses_to_block(where: str) -> None:
    with standing_in():
        made = explored(everything) if where == "made in an exploration" else everything()
    for name in ("lock", "rlock", "semaphore"):
        with made[name]:
            pass
    made["lock"].acquire()
    assert made["lock"].acquire(timeout=100) is False
    assert made["lock"].acquire(False) is False
    with made["rlock"], made["rlock"]:
        pass
    with pytest.raises(OutsideExploration, match="would block"):
        made["lock"].acquire()
    with made["condition"] as condition:
        made["condition"].notify()
        assert condition
        assert made["condition"].wait(100) is False
        with pytest.raises(OutsideExploration, match="would block"):
            made["condition"].wait()
    assert made["event"].wait(100) is False
    with pytest.raises(OutsideExploration, match="would block"):
        made["event"].wait()
    made["event"].set()
    assert made["event"].wait() is True
    assert made["barrier"].wait() == 0
    made["queue"].put(1)
    with pytest.raises(OutsideExploration, match="would block"):
        made["queue"].put(2)
    with pytest.raises(queue.Full):
        made["queue"].put(2, timeout=100)
    assert made["queue"].get() == 1
    made["simple"].put(1)
    assert made["simple"].get() == 1
    with pytest.raises(OutsideExploration, match="would block"):
        made["simple"].get()
    with pytest.raises(concurrent.futures.TimeoutError):
        made["future"].result(100)
    with pytest.raises(OutsideExploration, match="would block"):
        made["future"].result()
    made["future"].set_result(3)
    assert made["future"].result() == 3
    assert list(futures.as_completed([made["future"]])) == [made["future"]]
    made["local"].value = 1
    assert made["local"].value == 1
    assert made["thread"].is_alive() is False
    for start in (made["thread"].start, lambda: made["pool"].submit(print)):
        with pytest.raises(OutsideExploration):
            start()
    made["pool"].shutdown()
