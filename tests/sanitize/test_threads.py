"""The model under threads: no exception, no lost edge, no deadlock. A fixed number of operations, no timing."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Iterator

import pytest

from cpugpu.sanitize import Event, Model, Storage, Sync

THREADS, STREAMS, ROUNDS = 8, 16, 60


@pytest.fixture(autouse=True)
def quick_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def hammer(model: Model, *, right: bool) -> list[BaseException]:
    """Eight threads in a ring hand buffers on, each by an event and a queue; what they raised."""
    main = model.me()
    streams = [model.stream(f"cuda:{number % 2}", number // 2) for number in range(STREAMS)]
    boxes: list[queue.Queue[tuple[Event, Sync, Storage]]] = [queue.Queue() for _ in range(THREADS)]
    failures: list[BaseException] = []
    lock, guarded = threading.Lock(), Storage("guarded", host=True)
    guard = Sync("guard")

    def run(number: int, actor: object) -> None:
        try:
            model.adopt(actor)  # type: ignore[arg-type]
            me = model.me()
            for turn in range(ROUNDS):
                stream, other = streams[2 * number], streams[2 * number + 1]
                event, item, x = Event(), Sync(), Storage("x", size=64)
                model.launch(me, stream, [(x, (0, 64), True)], "fill")
                with event.lock:
                    model.record(me, event, stream)
                model.release(me, item, "queue.put")
                boxes[(number + 1) % THREADS].put((event, item, x))
                its, its_item, y = boxes[number].get()
                model.acquire(me, its_item)
                if right or turn != ROUNDS // 2:
                    with its.lock:
                        model.wait(me, its, other)
                model.launch(me, other, [(y, (0, 64), False)], "read")
                with lock:
                    model.acquire(me, guard)
                    model.host_access(me, [(guarded, (0, 8), True)], "write")
                    model.release(me, guard, "unlock")
            model.thread_ended(me)
        except BaseException as error:
            failures.append(error)

    actors = [model.thread(f"t{number}", main) for number in range(THREADS)]
    threads = [threading.Thread(target=run, args=(number, actor)) for number, actor in enumerate(actors)]
    for thread in threads:
        thread.start()
    for thread, actor in zip(threads, actors, strict=True):
        thread.join()
        model.joined(main, actor)
    model.host_access(main, [(guarded, (0, 8), False)], "read")
    return failures


def test_a_clean_program_stays_clean_under_8_threads() -> None:
    model = Model()
    assert hammer(model, right=True) == []
    assert [str(finding) for finding in model.findings] == []


def test_a_missing_wait_is_found_under_8_threads() -> None:
    model = Model()
    assert hammer(model, right=False) == []
    assert {finding.rule for finding in model.findings} == {"race"}


def test_what_a_finalizer_enters_in_the_midst_of_a_call_comes_after_it() -> None:
    model, x = Model(), Storage("x")
    main, one, other = model.thread("main"), model.stream("cuda:0", 1), model.stream("cuda:0", 2)

    class Accesses:
        """Iterated with the lock held, as a garbage collection may come."""

        def __iter__(self) -> Iterator[tuple[Storage, tuple[int, int], bool]]:
            model.launch(main, other, [(x, (0, 4), True)], "in the finalizer")
            assert x.cells == 0
            yield x, (0, 4), True

    model.launch(main, one, Accesses(), "outer")
    (finding,) = model.findings
    assert finding.first.what.startswith("in the finalizer")
    assert finding.second is not None
    assert finding.second.what.startswith("outer")


def test_an_error_in_a_call_leaves_the_model_usable() -> None:
    model, x = Model(), Storage("x")
    main, stream = model.thread("main"), model.stream("cuda:0", 1)
    with pytest.raises(AssertionError):
        model.launch(main, stream, [(x, None, True)])  # type: ignore[list-item]
    model.launch(main, stream, [(x, (0, 4), True)])
    assert x.cells == 1
