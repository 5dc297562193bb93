"""What cannot be explored is inconclusive: the verdict says why and where, and `threading` is what it was.

Each scenario goes through `explore()`.
"""

# ruff: noqa: PLW0108 (what a function of the user's calls is what is looked for)

from __future__ import annotations

import concurrent.futures
import multiprocessing
import multiprocessing.process
import os
import queue
import random
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import _base
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from cpugpu import scenario
from cpugpu.explore import VerdictKind, explore
from cpugpu.rig import Rig

#: All that is replaced belongs to one of these.
PLACES: list[Any] = [
    *(
        signal,
        threading,
        threading.Thread,
        threading.BoundedSemaphore,
        queue,
        time,
        os,
        subprocess.Popen,
        socket.socket,
    ),
    *(
        concurrent.futures,
        concurrent.futures.thread,
        _base,
        multiprocessing.process.BaseProcess,
        sys.modules["_thread"],
    ),
]

LOCK, RLOCK, EVENT, CONDITION = threading.Lock(), threading.RLock(), threading.Event(), threading.Condition()
SEMAPHORE, BARRIER, QUEUE, SIMPLE_QUEUE = (
    threading.Semaphore(0),
    threading.Barrier(2),
    queue.Queue(),
    queue.SimpleQueue(),
)
sleep, nanoseconds = time.sleep, time.perf_counter_ns


@pytest.fixture(autouse=True)
def everything_is_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    before = [dict(vars(place)) for place in PLACES]
    handler = signal.getsignal(signal.SIGUSR1)
    yield
    for place, names in zip(PLACES, before, strict=True):
        now = dict(vars(place))
        assert [name for name in {*names, *now} if names.get(name) is not now.get(name)] == []
    assert signal.getsignal(signal.SIGUSR1) == handler


def inconclusive(function: Callable[[Rig], Any], *words: str) -> None:
    verdict = explore(scenario(accept=["done"])(function), seconds=30)
    assert verdict.kind is VerdictKind.INCONCLUSIVE, verdict
    for word in (*words, "test_explore_bad_input.py"):
        assert word in verdict.reason
    assert verdict.failure is None


def line_of(function: Callable[..., Any], text: str) -> str:
    """The file and the line of a scenario where `text` stands."""
    source = Path(__file__).read_text().splitlines()
    first = function.__code__.co_firstlineno
    return f"test_explore_bad_input.py:{next(n for n in range(first, first + 20) if text in source[n - 1])}"


# -- from before -------------------------------------------------------------------------------------------------------


def guarded(rig: Rig) -> str:
    def adds() -> None:
        with LOCK:
            pass

    rig.run(adds, adds)
    return "done"


def test_a_real_lock_although_nobody_ever_blocks_on_it() -> None:
    inconclusive(guarded, "LOCK (lock), which was made before", line_of(guarded, "with LOCK"))


def test_a_real_rlock_which_would_let_all_threads_in() -> None:
    def program(rig: Rig) -> str:
        cell = rig.cell(0)

        def adds() -> None:
            with RLOCK:
                cell.set(cell.get() + 1)

        rig.run(adds, adds)
        return "done" if cell.get() == 2 else "lost"

    inconclusive(program, "RLOCK (RLock), which was made before")


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: LOCK.acquire(timeout=0.1), "LOCK (lock)"),
        (lambda: EVENT.wait(timeout=0.1), "EVENT (Event)"),
        (lambda: EVENT.set(), "EVENT (Event)"),
        (lambda: SEMAPHORE.acquire(), "SEMAPHORE (Semaphore)"),
        (lambda: BARRIER.wait(), "BARRIER (Barrier)"),
        (lambda: QUEUE.put(1), "QUEUE (Queue)"),
        (lambda: QUEUE.get(timeout=0.1), "QUEUE (Queue)"),
        (lambda: SIMPLE_QUEUE.get(), "SIMPLE_QUEUE (SimpleQueue)"),
        (lambda: CONDITION.acquire(), "CONDITION (Condition)"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_what_was_made_before(call: Callable[[], Any], name: str) -> None:
    def program(rig: Rig) -> str:
        rig.run(call)
        return "done"

    inconclusive(program, f"{name}, which was made before")


class Service:
    lock_of_the_class = threading.Lock()

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def use(self) -> None:
        with self._lock:
            pass

    @classmethod
    def use_class(cls) -> None:
        with cls.lock_of_the_class:
            pass


service = Service()


def test_a_lock_in_an_object_from_before_or_in_its_class() -> None:
    def of_an_object(rig: Rig) -> str:
        rig.run(service.use, service.use)
        return "done"

    def of_a_class(rig: Rig) -> str:
        rig.run(Service.use_class, Service.use_class)
        return "done"

    def by_way_of_a_function(rig: Rig) -> str:
        rig.run(helper)
        return "done"

    def helper() -> None:
        LOCK.acquire()

    inconclusive(of_an_object, "service._lock (lock), which was made before")
    inconclusive(of_a_class, "Service.lock_of_the_class (lock), which was made before")
    inconclusive(by_way_of_a_function, "LOCK (lock), which was made before")


def test_a_lock_that_nobody_finds_and_that_blocks() -> None:
    hidden = {"lock": threading.Lock()}

    def program(rig: Rig) -> str:
        cell = rig.cell(0)

        def adds() -> None:
            with hidden["lock"]:
                cell.set(1)

        rig.run(adds, adds)
        return "done"

    inconclusive(program, "more than 2 s", line_of(program, 'with hidden["lock"]'))


def test_a_bound_method_of_what_was_made_before() -> None:
    call = EVENT.set

    def program(rig: Rig) -> str:
        rig.run(call)
        return "done"

    inconclusive(program, "call (Event), which was made before")


class Clean:
    def __init__(self) -> None:
        self._lock = threading.Lock()

    def use(self) -> None:
        with self._lock:
            pass


def test_what_is_made_within_is_explored() -> None:
    def program(rig: Rig) -> str:
        inner = Clean()
        inner.use()
        rig.run(inner.use, inner.use)
        return "done"

    assert explore(scenario(accept=["done"])(program), seconds=30).kind is VerdictKind.PROVED


# -- what blocks, or never ends ----------------------------------------------------------------------------------------


def test_a_real_socket() -> None:
    def program(rig: Rig) -> str:
        def asks() -> None:
            with socket.socket() as connection:
                connection.connect(("127.0.0.1", 9))

        rig.run(asks)
        return "done"

    inconclusive(program, "socket.connect() cannot be explored", line_of(program, "connection.connect"))


def test_a_pair_of_sockets_and_a_pipe() -> None:
    def pair(rig: Rig) -> str:
        one, other = socket.socketpair()
        with one, other:
            rig.run(lambda: one.recv(1))
        return "done"

    def pipe(rig: Rig) -> str:
        reads, writes = os.pipe()
        try:
            rig.run(lambda: select.select([reads], [], []))
        finally:
            os.close(reads)
            os.close(writes)
        return "done"

    inconclusive(pair, "socket.recv()", line_of(pair, "one.recv"))
    inconclusive(pipe, "more than 2 s", line_of(pipe, "select.select"))


def test_a_real_sleep() -> None:
    def program(rig: Rig) -> str:
        rig.run(lambda: sleep(60))
        return "done"

    inconclusive(program, "more than 2 s", line_of(program, "sleep(60)"))


def test_a_loop_without_steps() -> None:
    def in_a_thread(rig: Rig) -> str:
        def for_ever() -> None:
            while True:
                pass

        rig.run(for_ever)
        return "done"

    def in_the_set_up(rig: Rig) -> str:
        while True:
            pass

    inconclusive(in_a_thread, "more than 2 s")
    inconclusive(in_the_set_up, "more than 2 s")


def test_a_loop_of_steps_that_change_something() -> None:
    def program(rig: Rig) -> str:
        cell = rig.cell(0)

        def for_ever() -> None:
            while True:
                cell.update(lambda number: number + 1)

        rig.run(for_ever)
        return "done"

    inconclusive(program, "more than 5,000 steps", "for_ever goes on", line_of(program, "cell.update"))


def test_a_thread_that_spins() -> None:
    def program(rig: Rig) -> str:
        flag = rig.cell(False)

        def spins() -> None:
            while not flag.get():
                pass

        rig.run(spins, lambda: flag.set(True))
        return "done"

    inconclusive(program, "spins, while", line_of(program, "while not flag"))


# -- chance ------------------------------------------------------------------------------------------------------------


def by_chance(chance: Callable[[], bool]) -> Callable[[Rig], str]:
    def program(rig: Rig) -> str:
        left, right = rig.cell(0), rig.cell(0)

        def sets() -> None:
            (left if chance() else right).set(1)

        rig.run(*[sets] * 4)
        return "done"

    return program


kept: list[object] = []


def where_an_object_lies() -> bool:
    kept.append(object())  # so that no two of them lie at one place
    return hash(kept[-1]) % 7 < 3


@pytest.mark.parametrize(
    "chance",
    [lambda: random.random() < 0.5, where_an_object_lies, lambda: nanoseconds() // 100 % 2 == 0],
    ids=["random", "hash", "time"],
)
def test_what_a_thread_does_depends_on_chance(chance: Callable[[], bool]) -> None:
    inconclusive(by_chance(chance), "the scenario is not deterministic: after the same")


@pytest.mark.parametrize("odds", [0.0, 0.5, 1.0])
def test_an_outcome_depends_on_chance(odds: float) -> None:
    def program(rig: Rig) -> object:
        rig.run(lambda: None)
        return random.random() if random.random() < odds else "done"

    verdict = explore(scenario(accept=["done"])(program), seconds=30)
    if odds == 0:
        assert verdict.kind is VerdictKind.PROVED
    else:
        assert verdict.kind in (VerdictKind.INCONCLUSIVE, VerdictKind.PROVED)
        assert verdict.kind is VerdictKind.INCONCLUSIVE or odds < 1  # four times "done" has happened
        assert verdict.failure is None


# -- set-up, processes -------------------------------------------------------------------------------------------------


def test_what_raises_in_the_set_up() -> None:
    def program(rig: Rig) -> str:
        raise KeyError("no such model")

    inconclusive(program, "it raised before it had a thread", "no such model")


PROCESSES: dict[str, Callable[[], Any]] = {
    "subprocess.Popen()": lambda: subprocess.run([sys.executable, "-c", ""], check=True),
    "os.fork()": lambda: os.fork(),
    "os.system()": lambda: os.system("true"),
    "os.posix_spawn()": lambda: os.posix_spawn("/bin/true", ["true"], {}),
    "signal.pthread_kill()": lambda: signal.pthread_kill(threading.get_ident(), signal.SIGUSR2),
    "multiprocessing.Process.start()": lambda: multiprocessing.Process(target=print).start(),
    "_thread.start_new_thread()": lambda: sys.modules["_thread"].start_new_thread(print, ()),
}


@pytest.mark.parametrize("name", PROCESSES)
def test_what_runs_beside_the_explorer(name: str) -> None:
    def in_a_thread(rig: Rig) -> str:
        rig.run(PROCESSES[name])
        return "done"

    def in_the_set_up(rig: Rig) -> str:
        PROCESSES[name]()
        return "done"

    def caught(rig: Rig) -> str:
        def catches_all() -> None:
            with suppress(BaseException):
                PROCESSES[name]()

        rig.run(catches_all)
        return "done"

    for program in (in_a_thread, in_the_set_up, caught):
        inconclusive(program, f"{name} cannot be explored")


def test_what_no_code_of_the_user_s_has_called_is_placed_at_the_scenario() -> None:
    def program(rig: Rig) -> str:
        rig.run(os.fork)
        return "done"

    inconclusive(program, "os.fork() cannot be explored", line_of(program, "def program"))


@pytest.mark.usefixtures("control_c")
def test_ctrl_c_ends_the_exploration_and_not_a_thread_of_it() -> None:
    def program(rig: Rig) -> str:
        rig.run(lambda: signal.raise_signal(signal.SIGINT))
        return "done"

    with pytest.raises(KeyboardInterrupt):
        explore(scenario(accept=["done"])(program), seconds=30)
