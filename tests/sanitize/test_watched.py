"""Programs under the sanitizer, on the simulated device: the snippets of the corpus, what it says, how it ends."""

from __future__ import annotations

import _thread
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from cpugpu import CpuGpuEvent  # noqa: E402
from cpugpu.errors import BadInput, SanitizerError  # noqa: E402
from cpugpu.patches import Patches  # noqa: E402
from cpugpu.sanitize import Session, start, stop, watching  # noqa: E402
from cpugpu.simulate import simulate  # noqa: E402
from tests.corpus.registry import Snippet  # noqa: E402
from tests.corpus.test_corpus import each_snippet  # noqa: E402
from tests.threads import in_thread  # noqa: E402

FEW, MANY = 3, int(os.environ.get("SNIPPET_SEEDS", "100"))


def rules(session: Session) -> set[str]:
    return {finding.rule for finding in session.model.findings}


def watched(snippet: Snippet, seed: int, *, fixed: bool) -> set[str]:
    """The rules that it breaks in one run."""
    with simulate(snippet.devices, seed=seed, **snippet.options), watching() as session:  # type: ignore[arg-type]
        snippet.function(fixed, snippet.rounds)
    return rules(session)


@each_snippet
def test_a_single_run_shows_the_defect_whatever_the_seed(snippet: Snippet) -> None:
    for seed in range(FEW):
        assert watched(snippet, seed, fixed=False) != set(), seed


@each_snippet
def test_nothing_is_said_without_the_defect(snippet: Snippet) -> None:
    for seed in range(FEW):
        assert watched(snippet, seed, fixed=True) == set(), seed


@pytest.mark.slow
@pytest.mark.timeout(900)
@each_snippet
def test_in_many_runs_nothing_is_said_without_the_defect(snippet: Snippet) -> None:
    for seed in range(MANY):
        assert watched(snippet, seed, fixed=True) == set(), seed


# -- CPU threads -------------------------------------------------------------------------------------------------------


@pytest.fixture
def session() -> Iterator[Session]:
    with simulate(), watching() as session:
        yield session


def produce(handed: Any) -> None:
    """A tensor on a side stream, and the event behind it."""
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        x = torch.full((4,), 1.0, device="cuda")
        done = torch.cuda.Event()
        done.record()
    handed(x, done)


def consume(x: Any, done: Any) -> None:
    done.wait()
    (x + 1).tolist()


def by_queue() -> None:
    items: queue.Queue[Any] = queue.Queue()
    with in_thread(lambda: produce(lambda *each: items.put(each))):
        consume(*items.get())


def by_simple_queue() -> None:
    items: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with in_thread(lambda: produce(lambda *each: items.put(each))):
        consume(*items.get())


def by_event() -> None:
    slot: list[Any] = []
    ready = threading.Event()

    def producer() -> None:
        produce(lambda *each: slot.append(each))
        ready.set()

    with in_thread(producer):
        ready.wait()
        consume(*slot[0])


def by_condition() -> None:
    slot: list[Any] = []
    changed = threading.Condition()

    def hand(*each: Any) -> None:
        with changed:
            slot.append(each)
            changed.notify()

    with in_thread(lambda: produce(hand)):
        with changed:
            changed.wait_for(lambda: slot)
        consume(*slot[0])


def by_semaphore() -> None:
    slot: list[Any] = []
    filled = threading.Semaphore(0)

    def producer() -> None:
        produce(lambda *each: slot.append(each))
        filled.release()

    with in_thread(producer):
        filled.acquire()
        consume(*slot[0])


def by_barrier() -> None:
    slot: list[Any] = []
    barrier = threading.Barrier(2)

    def producer() -> None:
        produce(lambda *each: slot.append(each))
        barrier.wait()

    with in_thread(producer):
        barrier.wait()
        consume(*slot[0])


def by_join() -> None:
    slot: list[Any] = []
    with in_thread(lambda: produce(lambda *each: slot.append(each))) as producer:
        producer.join()
    consume(*slot[0])


def by_future() -> None:
    slot: list[Any] = []
    with ThreadPoolExecutor(1) as pool:
        pool.submit(produce, lambda *each: slot.append(each)).result()
        consume(*slot[0])


def by_event_loop() -> None:
    import asyncio

    async def main() -> None:
        loop, got = asyncio.get_running_loop(), asyncio.Event()
        slot: list[Any] = []

        def take(each: Any) -> None:
            slot.append(each)
            got.set()

        with in_thread(lambda: produce(lambda *each: loop.call_soon_threadsafe(take, each))):
            await got.wait()
        consume(*slot[0])

    asyncio.run(main())


def by_a_bare_thread() -> None:
    slot: list[Any] = []
    produce(lambda *each: slot.append(each))
    ended = threading.Lock()
    ended.acquire()
    errors: list[BaseException] = []

    def work() -> None:
        try:
            consume(*slot[0])
        except BaseException as error:
            errors.append(error)
        ended.release()

    _thread.start_new_thread(work, ())
    ended.acquire()
    assert not errors


def by_a_future_of_torch() -> None:
    future: Any = torch.futures.Future()
    with in_thread(lambda: produce(lambda *each: future.set_result(each))):
        consume(*future.wait())


HAND_OFFS = [
    by_a_bare_thread,
    by_a_future_of_torch,
    by_queue,
    by_simple_queue,
    by_event,
    by_condition,
    by_semaphore,
    by_barrier,
    by_join,
    by_future,
    by_event_loop,
]


@pytest.mark.parametrize("hand_off", HAND_OFFS, ids=lambda each: each.__name__)
def test_what_orders_threads_is_an_edge(session: Session, hand_off: Any) -> None:
    hand_off()
    assert rules(session) == set()


@pytest.mark.parametrize("hand_off", HAND_OFFS, ids=lambda each: each.__name__)
def test_but_it_is_no_edge_between_streams(session: Session, monkeypatch: pytest.MonkeyPatch, hand_off: Any) -> None:
    monkeypatch.setitem(globals(), "consume", lambda x, done: (x + 1).tolist())
    hand_off()
    assert rules(session) == {"race"}


def test_to_give_tasks_to_the_same_pool_orders_nobody(session: Session) -> None:
    event, recorded = torch.cuda.Event(), _thread.allocate_lock()  # which nobody watches
    recorded.acquire()

    def record() -> None:
        event.record()
        pool.submit(int)
        recorded.release()

    def wait() -> None:
        recorded.acquire()
        pool.submit(int)
        event.wait(torch.cuda.Stream())

    with ThreadPoolExecutor(2) as pool, in_thread(wait), in_thread(record):
        pass
    assert rules(session) == {"wait-not-ordered-after-record"}


def test_a_lock_that_a_task_has_made_is_the_programs() -> None:
    with simulate(), watching() as session:
        with ThreadPoolExecutor(1) as pool:
            ended = pool.submit(threading.Lock).result()
        slot: list[Any] = []
        ended.acquire()

        def work() -> None:
            produce(lambda *each: slot.append(each))
            ended.release()

        with in_thread(work):
            ended.acquire()
            consume(*slot[0])
    assert rules(session) == set()


def submits_on(pool: ThreadPoolExecutor) -> None:
    while True:
        pool.submit(int)


def refused_by_its_end(pool: ThreadPoolExecutor) -> None:
    pool.shutdown(wait=False)


def refused_for_its_beginning(pool: ThreadPoolExecutor) -> None:
    pool._initializer_failed()  # type: ignore[attr-defined]


@pytest.mark.parametrize("end", [refused_by_its_end, refused_for_its_beginning])
def test_who_is_refused_by_a_pool_is_after_its_end(session: Session, end: Any) -> None:
    pool = ThreadPoolExecutor(1)
    slot: list[Any] = []

    def work() -> None:
        produce(lambda *each: slot.append(each))
        end(pool)

    with in_thread(work):
        with pytest.raises(RuntimeError):
            submits_on(pool)
        consume(*slot[0])
    pool.shutdown()
    assert rules(session) == set()


def test_a_second_start_is_refused(session: Session) -> None:
    thread = threading.Thread(target=produce, args=(lambda *each: slot.append(each),))
    slot: list[Any] = []
    thread.start()
    with pytest.raises(RuntimeError):
        thread.start()
    thread.join()
    consume(*slot[0])
    assert rules(session) == set()


def test_our_own_event_is_one() -> None:
    with simulate(), watching() as session:
        ready, slot = CpuGpuEvent(), []

        def producer() -> None:
            side = torch.cuda.Stream()
            with torch.cuda.stream(side):
                slot.append(torch.full((4,), 1.0, device="cuda"))
                ready.record(side)

        with in_thread(producer):
            ready.wait()
            (slot[0] + 1).tolist()
    assert rules(session) == set()


# -- beginning and end -------------------------------------------------------------------------------------------------


def race() -> None:
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        x = torch.full((4,), 1.0, device="cuda")
    (x + 1).tolist()


def test_a_finding_has_both_places_and_the_missing_edge(session: Session) -> None:
    race()
    (finding,) = session.model.findings
    assert finding.second is not None
    assert {finding.first.place.function, finding.second.place.function} == {"race"}
    assert finding.second.place.line == finding.first.place.line - 1
    assert "has waited for nothing of" in finding.missing
    assert "wait_stream()" in finding.fix
    assert __file__ in session.text()


def test_raise_raises_in_the_thread() -> None:
    with simulate(), watching("raise"), pytest.raises(SanitizerError, match="race: add reads") as caught:
        race()
    assert caught.value.rule == "race"


def test_raise_raises_in_the_call_that_shows_it_and_once() -> None:
    with simulate(), watching("raise") as session:
        side = torch.cuda.Stream()
        x = torch.ones(4, device="cuda")
        y = torch.ones(4, device="cuda")
        with pytest.raises(SanitizerError, match="race"), torch.cuda.stream(side):
            torch.add(x, y)  # two races at once
        torch.cuda.synchronize()
        assert len(session.model.findings) == 2


def test_what_another_thread_has_shown_is_not_raised_here() -> None:
    shown, looked = threading.Event(), threading.Event()

    def racy() -> None:
        try:
            side = torch.cuda.Stream()
            with torch.cuda.stream(side):
                tell(lambda: x + 1)
        except SanitizerError as error:
            raised.append(error.rule)

    def tell(operation: Any) -> None:
        """Between what shows a race and its being raised another thread makes a call."""
        told, session.watch.told = session.watch.told, lambda: None  # type: ignore[method-assign]
        operation()
        session.watch.told = told  # type: ignore[method-assign]
        shown.set()
        looked.wait()
        session.watch.told()

    raised: list[Any] = []
    with simulate(), watching("raise") as session:
        x = torch.ones(4, device="cuda")
        with in_thread(racy):
            shown.wait()
            torch.cuda.synchronize()
            looked.set()
    assert raised == ["race"]


def test_what_is_suppressed_is_not_said(tmp_path: Path) -> None:
    file = tmp_path / "suppressions"
    file.write_text(f"# known\nrace:{__file__}:race\n")
    with simulate(), watching(suppressions=file) as session:
        race()
    assert rules(session) == set()
    assert session.model.findings.suppressed == 1


def test_a_wrong_line_of_a_suppression_file(tmp_path: Path) -> None:
    file = tmp_path / "suppressions"
    file.write_text("race\nno-such-rule:*.py\n")
    with simulate(), pytest.raises(BadInput, match=r"line 2: .* begins with no rule; rules are .*race"):
        start(suppressions=file)


def test_an_event_that_was_recorded_before_anybody_looked() -> None:
    with simulate():
        recorded, side = torch.cuda.Event(), torch.cuda.Stream()
        recorded.record()
        with watching() as session:
            with in_thread(lambda: side.wait_event(recorded)):
                recorded.query()
            assert rules(session) == set()
            side.wait_event(torch.cuda.Event())
        assert rules(session) == {"unrecorded-wait"}


def test_twice() -> None:
    with simulate(), watching(), pytest.raises(RuntimeError, match="the sanitizer is on already"):
        start()
    with pytest.raises(RuntimeError, match="the sanitizer is not on"):
        stop()


def test_beside_torchs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_CUDA_SANITIZER", "1")
    with simulate(), pytest.raises(RuntimeError, match="TORCH_CUDA_SANITIZER is set"):
        start()


def test_afterwards_everything_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    apply = Patches.apply

    def noted(self: Patches, patches: Any) -> None:
        table = list(patches)
        seen.extend((owner, name, vars(owner).get(name)) for owner, name, _ in table)
        apply(self, table)

    with simulate():
        monkeypatch.setattr(Patches, "apply", noted)
        with watching():
            race()
        assert len(seen) > 20
        assert all(vars(owner).get(name) is value for owner, name, value in seen)


WATCHED = """
import torch
from cpugpu.simulate import simulate
context = simulate()
context.__enter__()
import cpugpu.sanitize
side = torch.cuda.Stream()
with torch.cuda.stream(side):
    x = torch.ones(4, device="cuda")
(x + 1).tolist()
"""


@pytest.mark.parametrize(("mode", "status"), [("1", 0), ("raise", 1)])
def test_the_environment_asks_for_it(mode: str, status: int) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WATCHED],
        env={**os.environ, "CPUGPU_SANITIZE": mode},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stderr
    assert "race: add reads" in done.stderr
