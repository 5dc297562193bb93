"""Who puts into a queue and dies, and who waits there: told, or not."""

from __future__ import annotations

import _thread
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from cpugpu.sanitize import Model, Session, Sync, watching  # noqa: E402
from cpugpu.sanitize.feeds import _KEPT, Feed  # noqa: E402
from cpugpu.simulate import simulate  # noqa: E402
from tests.sanitize.command import Run  # noqa: E402
from tests.threads import in_thread  # noqa: E402

QUEUES = [queue.Queue, queue.LifoQueue, queue.PriorityQueue]


def rules(session: Session) -> set[str]:
    return {finding.rule for finding in session.model.findings}


@pytest.fixture
def session() -> Iterator[Session]:
    with simulate(), watching() as session:
        yield session


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads die here."""
    monkeypatch.setattr(threading, "excepthook", lambda _: None)


class later:  # noqa: N801
    """A thread that goes on when it is told to, by a lock that nobody watches: it knows of nothing that came before."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self._go = _thread.allocate_lock()
        self._go.acquire()
        self._thread = in_thread(lambda: (self._go.acquire(), function(*arguments)))

    def __enter__(self) -> later:
        self._thread.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._go.release()
        self._thread.__exit__(kind, *rest)


def dies(items: Any) -> None:
    items.put(1)
    raise OSError("no such file")


def ends(items: Any) -> None:
    items.put(1)


def exits(items: Any) -> None:
    items.put(1)
    sys.exit()


def in_a_thread(function: Callable[..., object], *arguments: object) -> threading.Thread:
    thread = threading.Thread(target=function, args=arguments)
    thread.start()
    thread.join()
    return thread


def in_a_bare_thread(function: Callable[..., object], *arguments: object) -> None:
    ended, before = _thread.allocate_lock(), sys.unraisablehook
    ended.acquire()
    sys.unraisablehook = lambda _: ended.release()
    _thread.start_new_thread(function, arguments)
    ended.acquire()
    sys.unraisablehook = before


def in_a_pool(function: Callable[..., object], *arguments: object) -> Future[object]:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *arguments)


def takes(items: Any) -> None:
    """One, and waits for another in vain."""
    items.get()
    with pytest.raises(queue.Empty):
        items.get(timeout=0.001)


@pytest.mark.parametrize("kind", [*QUEUES, "SimpleQueue"])
@pytest.mark.parametrize("die", [in_a_thread, in_a_bare_thread, in_a_pool])
def test_nobody_tells_who_waits(session: Session, die: Callable[..., object], kind: Any) -> None:
    items = queue.SimpleQueue() if kind == "SimpleQueue" else kind()
    with later(takes, items):
        die(dies, items)
    (finding,) = session.model.findings
    assert finding.rule == "producer-died"
    assert finding.first.place.function == "takes"
    assert finding.second is not None
    assert finding.second.place.function == "dies"
    assert "has died: OSError('no such file')" in finding.missing


def test_who_waits_is_a_task_for_whose_end_somebody_waits(session: Session) -> None:
    items: queue.Queue[int] = queue.Queue()
    go = _thread.allocate_lock()  # which nobody watches
    go.acquire()

    def takes_later() -> None:
        go.acquire()
        takes(items)

    with ThreadPoolExecutor(1) as pool:
        task: Any = pool.submit(takes_later)
        with in_thread(task.result):
            while not task._condition._waiters:
                pass
            in_a_thread(dies, items)
            go.release()
    assert rules(session) == {"producer-died"}


@pytest.mark.parametrize("function", [ends, exits])
@pytest.mark.parametrize("end", [in_a_thread, in_a_pool])
def test_to_end_is_not_to_die(session: Session, end: Callable[..., object], function: Callable[..., object]) -> None:
    items: queue.Queue[int] = queue.Queue()
    with later(takes, items):
        end(function, items)
    assert rules(session) == set()


def test_another_one_is_still_at_work(session: Session) -> None:
    items: queue.Queue[int] = queue.Queue()
    with later(ends, items), later(takes, items):
        items.put(0)
        in_a_thread(dies, items)
    assert rules(session) == set()


def test_another_one_has_put_since(session: Session) -> None:
    items: queue.Queue[int] = queue.Queue()
    with later(takes, items):
        in_a_thread(dies, items)
        in_a_thread(ends, items)
    assert rules(session) == set()


@pytest.mark.parametrize("asks", [lambda items: items.get_nowait(), lambda items: items.get(False)])
def test_a_look_is_no_wait(session: Session, asks: Callable[[Any], object]) -> None:
    def looks(items: Any) -> None:
        items.get()
        with pytest.raises(queue.Empty):
            asks(items)

    items: queue.Queue[int] = queue.Queue()
    with later(looks, items):
        in_a_thread(dies, items)
    assert rules(session) == set()


def test_what_comes_after_all_is_an_answer(session: Session) -> None:
    items: queue.Queue[int] = queue.Queue()

    def takes_again() -> None:
        takes(items)
        items.put(2)
        items.get(timeout=1)

    with later(takes_again):
        in_a_thread(dies, items)
    assert rules(session) == set()


def joins(died: Any) -> None:
    died.join()


def sees_that_it_is_not_alive(died: Any) -> None:
    assert not died.is_alive()


def looks_at_the_future(died: Any) -> None:
    assert died.done()


def takes_the_exception(died: Any) -> None:
    assert isinstance(died.exception(), OSError)


@pytest.mark.parametrize(
    ("die", "hears"),
    [
        (in_a_thread, joins),
        (in_a_thread, sees_that_it_is_not_alive),
        (in_a_pool, looks_at_the_future),
        (in_a_pool, takes_the_exception),
    ],
)
def test_who_waits_hears_of_it(session: Session, die: Callable[..., object], hears: Callable[[Any], None]) -> None:
    items: queue.Queue[int] = queue.Queue()
    died: list[Any] = []

    def told() -> None:
        takes(items)
        hears(died[0])

    with later(told):
        died.append(die(dies, items))
    assert rules(session) == set()


@pytest.mark.parametrize("told", [True, False])
def test_by_a_flag(session: Session, told: bool) -> None:
    items: queue.Queue[int] = queue.Queue()
    stop = threading.Event()

    def produce() -> None:
        items.put(1)
        try:
            raise OSError("no such file")
        finally:
            if told:
                stop.set()

    def consume() -> None:
        takes(items)
        while told and not stop.is_set():
            pass

    with later(consume):
        in_a_thread(produce)
    assert rules(session) == (set() if told else {"producer-died"})


@pytest.mark.parametrize("how", ["set", "attribute"])
def test_who_is_told_to_stop_need_not_know_why(session: Session, how: str) -> None:
    items: queue.Queue[int] = queue.Queue()
    stop, stopped = threading.Event(), [how == "attribute"]

    def serve() -> None:
        takes(items)
        while not (stop.is_set() or stopped[0]):
            with pytest.raises(queue.Empty):
                items.get(timeout=0.001)

    def stops() -> None:
        """Knows nothing of who has died."""
        if how == "set":
            stop.set()

    with later(serve), later(stops):
        in_a_thread(dies, items)
    assert rules(session) == (set() if how == "set" else {"producer-died"})


def test_a_thread_of_a_pool_that_waits_for_tasks_waits_for_nobody() -> None:
    with simulate(), watching() as session:
        pool = ThreadPoolExecutor(1)

        def submits() -> None:
            pool.submit(int).result()
            raise OSError("no such file")

        in_a_thread(submits)
        session.model.program_ended()
        pool.shutdown()
    assert rules(session) == set()


HANGS = """
import queue, threading
items = queue.Queue()
def produce():
    items.put(1)
    raise OSError("no such file")
def consume():
    items.get()
    items.get()
threading.Thread(target=consume, daemon=True).start()
producer = threading.Thread(target=produce)
producer.start()
producer.join()
while not items.not_empty._waiters:  # it waits for the second one
    pass
"""


def test_the_program_ends_while_it_waits(run: Run) -> None:
    Path("program.py").write_text(HANGS)
    assert "program.py:9: producer-died: get() from a queue" in run("program.py").stderr


# -- the model ---------------------------------------------------------------------------------------------------------


def test_a_feed_keeps_those_that_are_at_work() -> None:
    model, feed = Model(), Feed()
    main = model.thread("main")
    steady = model.thread("steady", main)
    model.put(steady, feed)
    for number in range(1000):
        thread = model.thread(f"t{number}", main)
        model.put(thread, feed)
        model.work_ended(thread)
        model.thread_ended(thread)
        assert len(feed.puts) <= _KEPT
    assert steady.work in feed.puts


@pytest.mark.parametrize("told", [True, False])
def test_what_it_put_is_not_what_it_did_next(told: bool) -> None:
    model, feed, item, flag = Model(), Feed(), Sync(), Sync()
    producer, consumer = model.thread("producer"), model.thread("consumer")
    model.release(producer, item)
    model.put(producer, feed)
    model.acquire(consumer, item)
    model.release(producer, flag)
    model.work_ended(producer, "OSError()")
    model.asks(consumer, feed)
    if told:
        model.acquire(consumer, flag)
    model.work_ended(consumer)
    assert [finding.rule for finding in model.findings] == ([] if told else ["producer-died"])


def test_the_next_work_of_the_same_thread_is_another() -> None:
    model, feed = Model(), Feed()
    pool, consumer = model.thread("pool"), model.thread("consumer")
    model.put(pool, feed)
    model.work_ended(pool, "OSError()")
    model.put(pool, feed)
    model.asks(consumer, feed)
    model.work_ended(consumer)
    assert not model.findings
    model.work_ended(pool, "OSError()")
    model.asks(consumer, feed)
    model.work_ended(consumer)
    assert [finding.rule for finding in model.findings] == ["producer-died"]


def test_a_forked_child_judges_no_other_thread() -> None:
    model, feed = Model(), Feed()
    producer, consumer = model.thread("producer"), model.thread("consumer")
    model.put(producer, feed)
    model.work_ended(producer, "OSError()")
    model.asks(consumer, feed)
    model.forked()
    model.program_ended()
    assert not model.findings
