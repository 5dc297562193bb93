"""Who puts into a queue and dies, and who waits there: told, or not."""

from __future__ import annotations

import _thread
import asyncio
import gc
import pickle
import queue
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from cpugpu.sanitize import Model, Session, Sync, watching  # noqa: E402
from cpugpu.sanitize.feeds import _KEPT, _MOST, Feed  # noqa: E402
from cpugpu.simulate import simulate  # noqa: E402
from tests.sanitize.command import run_apart  # noqa: E402
from tests.threads import in_thread  # noqa: E402

QUEUES = [queue.Queue, queue.LifoQueue, queue.PriorityQueue]


def rules(session: Session) -> set[str]:
    session.model.watch_ended()
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
        if kind is None:
            self._thread.join()  # which raises what it has raised


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


def takes(items: Any, number: int = 1) -> None:
    """So many, and waits for another in vain."""
    for _ in range(number):
        items.get()
    with pytest.raises(queue.Empty):
        items.get(timeout=0.001)


@pytest.mark.parametrize("kind", [*QUEUES, "SimpleQueue"])
@pytest.mark.parametrize("die", [in_a_thread, in_a_bare_thread, in_a_pool])
def test_nobody_tells_who_waits(session: Session, die: Callable[..., object], kind: Any) -> None:
    items = queue.SimpleQueue() if kind == "SimpleQueue" else kind()
    with later(takes, items):
        die(dies, items)
    assert rules(session) == {"death-not-told"}
    (finding,) = session.model.findings
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
    assert rules(session) == {"death-not-told"}


@pytest.mark.parametrize("function", [ends, exits])
@pytest.mark.parametrize("end", [in_a_thread, in_a_pool])
def test_to_end_is_not_to_die(session: Session, end: Callable[..., object], function: Callable[..., object]) -> None:
    items: queue.Queue[int] = queue.Queue()
    with later(takes, items):
        end(function, items)
    assert rules(session) == set()


def test_another_one_is_still_at_work(session: Session) -> None:
    items: queue.Queue[int] = queue.Queue()
    with later(takes, items, 2):
        items.put(0)  # this thread
        in_a_thread(dies, items)
    assert rules(session) == set()


def test_another_one_has_put_since(session: Session) -> None:
    items: queue.Queue[int] = queue.Queue()
    with later(takes, items, 2), later(ends, items):
        in_a_thread(dies, items)
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
    assert rules(session) == (set() if told else {"death-not-told"})


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
    assert rules(session) == (set() if how == "set" else {"death-not-told"})


def test_a_thread_of_a_pool_that_waits_for_tasks_waits_for_nobody() -> None:
    with simulate(), watching() as session:
        pool = ThreadPoolExecutor(1)

        def submits() -> None:
            pool.submit(int).result()
            raise OSError("no such file")

        in_a_thread(submits)
        session.program_ended()
        pool.shutdown()
    assert rules(session) == set()


HANGS = """
import os, queue, threading
items = queue.Queue()
def produce():
    items.put(1)
    raise OSError("no such file")
def consume():
    items.get()
    items.get()
threading.Thread(target=consume).start()
producer = threading.Thread(target=produce)
producer.start()
producer.join()
while not items.not_empty._waiters:  # it waits for the second one
    pass
os._exit(0)  # who waits for it would wait for ever
"""


def test_the_program_ends_while_it_waits(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(HANGS)
    done = run_apart("program.py", cwd=tmp_path)
    assert "program.py:9: death-not-told: get() from a queue" in done.stderr


IDLES = """
import logging.handlers, queue, threading
from concurrent.futures import ThreadPoolExecutor
tasks, logged = queue.Queue(), queue.Queue()
def work():
    while True:
        tasks.get()
        tasks.task_done()
threading.Thread(target=work, daemon=True).start()
logging.handlers.QueueListener(logged).start()
def give():
    tasks.put(1)
    logged.put(None)
    raise OSError("no such file")
threading.excepthook = lambda _: None
giver = threading.Thread(target=give)
giver.start()
giver.join()
tasks.join()
"""


def test_who_is_idle_at_the_end_of_the_program_waits_for_nobody(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(IDLES)
    done = run_apart("--check", "program.py", cwd=tmp_path)
    assert "no findings" in done.stderr


def test_the_time_is_out_in_the_block_of_the_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CPUGPU_TRACE", "trace")
    (tmp_path / "program.py").write_text(
        """
import queue
from concurrent.futures import ThreadPoolExecutor
items = queue.Queue()
def produce():
    items.put(1)
    raise OSError("no such file")
with ThreadPoolExecutor(1) as pool:
    pool.submit(produce)
    while True:
        items.get(timeout=0.2)
"""
    )
    done = run_apart("program.py", cwd=tmp_path)
    assert done.returncode == 1
    assert "program.py:11: death-not-told" in done.stderr
    assert b"death-not-told" in b"".join(each.read_bytes() for each in tmp_path.glob("trace*"))


# -- what is no silent death, and no wait in vain ----------------------------------------------------------------------


def puts_it(items: Any) -> None:
    try:
        raise OSError("no such file")
    except OSError as error:
        items.put(error)
        raise


def puts_at_the_end(items: Any) -> None:
    try:
        raise OSError("no such file")
    finally:
        items.put(None)


def puts_another(items: Any) -> None:
    try:
        raise KeyError
    except KeyError:
        items.put(1)
    raise OSError("no such file")


@pytest.mark.parametrize("die", [in_a_thread, in_a_bare_thread, in_a_pool])
@pytest.mark.parametrize(("function", "tells"), [(puts_it, True), (puts_at_the_end, True), (puts_another, False)])
def test_the_last_item_may_tell(
    session: Session, die: Callable[..., object], function: Callable[..., object], tells: bool
) -> None:
    items: queue.Queue[object] = queue.Queue()
    with later(takes, items):
        die(function, items)
    assert rules(session) == (set() if tells else {"death-not-told"})


@pytest.mark.parametrize("looks", ["result", "exception"])
def test_somebody_takes_the_exception(session: Session, looks: str) -> None:
    items: queue.Queue[int] = queue.Queue()
    with later(takes, items):
        died: Any = in_a_pool(dies, items)
    with suppress(OSError):
        getattr(died, looks)()
    assert rules(session) == set()


def test_who_has_sent_it_to_wait_knows(session: Session) -> None:
    """The one that waits is told by nobody, and need not be."""

    async def main() -> None:
        items: queue.Queue[int] = queue.Queue()
        producer = asyncio.create_task(asyncio.to_thread(dies, items))
        await asyncio.sleep(0)
        await asyncio.to_thread(takes, items)
        with pytest.raises(OSError, match="no such file"):
            await producer

    asyncio.run(main())
    assert rules(session) == set()


def test_what_is_put_after_the_wait_is_not_what_was_waited_for(session: Session) -> None:
    items: queue.Queue[int] = queue.Queue()
    with later(takes, items):
        in_a_thread(dies, items)
    assert items.empty()
    in_a_thread(ends, items)
    assert rules(session) == set()


def test_who_dies_after_the_wait_was_not_waited_for(session: Session) -> None:
    items: queue.Queue[int] = queue.Queue()

    def looks_first() -> None:
        with pytest.raises(queue.Empty):
            items.get(timeout=0.001)

    with in_thread(looks_first) as looker:
        looker.join()
    in_a_thread(dies, items)
    assert rules(session) == set()


# -- the program is as it was ------------------------------------------------------------------------------------------


def test_what_a_task_has_raised_is_not_kept(session: Session) -> None:
    class Thing:
        pass

    alive: list[weakref.ref[Thing]] = []

    def fails() -> None:
        thing = Thing()
        alive.append(weakref.ref(thing))
        queue.Queue[int]().put(1)
        raise OSError

    gc.disable()
    try:
        with ThreadPoolExecutor(1) as pool:
            for _ in range(5):
                with suppress(OSError):
                    pool.submit(fails).result()
            pool.submit(int).result()
    finally:
        gc.enable()
    assert [each() for each in alive] == [None] * 5


def test_the_program_is_not_asked_what_it_has_raised(session: Session) -> None:
    asked: list[str] = []

    class Odd(Exception):
        def __repr__(self) -> str:
            asked.append("repr")
            raise SystemExit

        __str__ = __repr__

    def fails(items: Any) -> None:
        items.put(1)
        raise Odd(session, "of two")

    items: queue.Queue[int] = queue.Queue()
    with later(takes, items):
        died: Any = in_a_pool(fails, items)
    assert rules(session) == {"death-not-told"}
    assert asked == []
    (finding,) = session.model.findings
    assert finding.missing.endswith("has died: Odd('of two')")
    assert type(died.exception()) is Odd


def test_a_queue_may_have_any_names(session: Session) -> None:
    class Mine(queue.SimpleQueue):  # type: ignore[type-arg]
        def __init__(self) -> None:
            self._feed: list[int] = []

        def feed(self) -> None: ...

    items = Mine()
    items.put(1)
    assert items.get() == 1
    assert rules(session) == set()


def test_a_queue_may_be_copied_and_pickled(session: Session) -> None:
    class Copied(queue.Queue):  # type: ignore[type-arg]
        def __reduce__(self) -> Any:
            bare = {name: value for name, value in self.__dict__.items() if name.startswith(("_cpugpu", "queue"))}
            return dict, (bare,)

    items = Copied(2)
    items.put(1)
    items.get()
    assert pickle.loads(pickle.dumps(items)).keys() == {"queue", "_cpugpu_syncs"}
    assert rules(session) == set()


def test_a_queue_that_has_no_room_to_tell_of(session: Session) -> None:
    class Source(queue.Queue):  # type: ignore[type-arg]
        def __init__(self) -> None:
            self.not_empty = threading.Condition()
            self.not_full = self.not_empty

        def _qsize(self) -> int:
            return 1

        def _get(self) -> int:
            return 7

    assert Source().get() == 7


def test_a_simple_queue_may_be_built_upon(session: Session) -> None:
    class Mine(queue.SimpleQueue):  # type: ignore[type-arg]
        def get(self) -> Any:  # type: ignore[override]
            return super().get_nowait()

        def put(self, item: Any) -> None:  # type: ignore[override]
            super().put_nowait(item)

    items = Mine()
    items.put(1)
    assert items.get() == 1


def test_a_queue_that_is_shut_down_is_an_answer(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `Queue.shutdown` does from 3.13 on."""

    class ShutDown(Exception):
        pass

    class Closed(queue.Queue):  # type: ignore[type-arg]
        closed = False

        def _qsize(self) -> int:
            if self.closed:
                raise ShutDown
            return super()._qsize()

    items = Closed()

    def consume() -> None:
        takes(items)
        items.closed = True
        with pytest.raises(ShutDown):
            items.get(timeout=1)

    with later(consume):
        in_a_thread(dies, items)
    assert rules(session) == set()


def test_it_is_raised_in_no_other_thread() -> None:
    with simulate(), watching("raise") as session:
        items: queue.Queue[int] = queue.Queue()
        with later(takes, items):
            in_a_thread(dies, items)
        with in_thread(lambda: torch.ones(4, device="cuda").tolist()) as innocent:
            innocent.join()
    assert rules(session) == {"death-not-told"}


# -- the model ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("other", [True, False])
def test_what_comes_by_another_queue_is_no_answer(other: bool) -> None:
    model, feed, second = Model(), Feed(), Feed()
    producer, consumer = model.thread("producer"), model.thread("consumer")
    model.put(producer, feed)
    model.work_ended(producer, "OSError()")
    model.asks(consumer, feed)
    model.in_vain(consumer)
    model.got(consumer, second if other else feed)
    model.work_ended(consumer)
    model.watch_ended()
    assert len(model.findings) == other


def waits_in_vain(model: Model, consumer: Any, feed: Feed) -> None:
    model.asks(consumer, feed)
    model.in_vain(consumer)
    model.work_ended(consumer)
    model.watch_ended()


def test_of_a_queue_of_very_many_it_is_not_known_when_all_have_ended() -> None:
    model, feed = Model(), Feed()
    for number in range(3 * _MOST):
        model.put(model.thread(f"t{number}"), feed)
        assert len(feed.puts) <= _MOST
    for work in list(feed.puts):
        work.ended, work.error = True, "OSError()"
    assert feed.dead() is None


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
    model.release(producer, flag)  # of which the consumer may know before; it says nothing of the end
    model.acquire(consumer, flag)
    model.work_ended(producer, "OSError()")
    if told:
        model.joined(consumer, producer)
    waits_in_vain(model, consumer, feed)
    assert [finding.rule for finding in model.findings] == ([] if told else ["death-not-told"])


def test_the_next_work_of_the_same_thread_is_another() -> None:
    model, feed = Model(), Feed()
    pool, consumer = model.thread("pool"), model.thread("consumer")
    model.put(pool, feed)
    model.work_ended(pool, "OSError()")
    model.put(pool, feed)
    waits_in_vain(model, consumer, feed)
    assert not model.findings
    model.work_ended(pool, "OSError()")
    waits_in_vain(model, consumer, feed)
    assert [finding.rule for finding in model.findings] == ["death-not-told"]


def test_a_forked_child_judges_no_other_thread() -> None:
    model, feed = Model(), Feed()
    producer, consumer = model.thread("producer"), model.thread("consumer")
    model.put(producer, feed)
    model.work_ended(producer, "OSError()")
    model.asks(consumer, feed)
    model.forked()
    model.program_ended([consumer])
    assert not model.findings
