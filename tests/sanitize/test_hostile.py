"""Correct programs over which the sanitizer once stumbled, and the twins that it has to see through all the same."""

from __future__ import annotations

import copy
import pickle
import queue
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from cpugpu.sanitize import Session, watching  # noqa: E402
from cpugpu.simulate import simulate  # noqa: E402
from tests.sanitize.test_watched import consume, produce, rules  # noqa: E402
from tests.threads import in_thread  # noqa: E402


@pytest.fixture
def session() -> Iterator[Session]:
    with simulate(), watching() as session:
        yield session


# -- queues ------------------------------------------------------------------------------------------------------------


class Unique(queue.Queue[Any]):
    """A queue that keeps its items in its own way, as the documentation of `queue` suggests."""

    def _init(self, maxsize: int) -> None:
        self.kept: dict[Any, None] = {}

    def _qsize(self) -> int:
        return len(self.kept)

    def _put(self, item: Any) -> None:
        self.kept[item] = None

    def _get(self) -> Any:
        return self.kept.popitem()[0]


def test_a_queue_that_keeps_its_items_in_its_own_way_is_an_edge(session: Session) -> None:
    items = Unique()
    with in_thread(lambda: produce(lambda *each: items.put(each))):
        while not items.qsize():
            pass
        consume(*items.get())
    assert rules(session) == set()


def test_items_after_a_queue_was_cleared_have_their_own_edges(session: Session) -> None:
    items: queue.Queue[Any] = queue.Queue()

    def producer() -> None:
        items.put("to be cleared")
        with items.mutex:
            items.queue.clear()
        produce(lambda *each: items.put(each))
        produce(lambda *each: items.put(each))

    with in_thread(producer):
        while items.qsize() < 2:
            pass
        consume(*items.get())
        consume(*items.get())
    assert rules(session) == set()


def test_an_item_that_was_put_before_anybody_looked_has_no_edge_of_the_next() -> None:
    items: queue.Queue[Any] = queue.Queue()
    items.put("before")
    slot: list[Any] = []

    def producer() -> None:
        produce(lambda *each: slot.append(each))
        items.put("after")

    with simulate(), watching() as session:
        with in_thread(producer):
            while items.qsize() < 2:
                pass
            assert items.get() == "before"
            consume(*slot[0])
        assert rules(session) == {"wait-not-ordered-after-record"}


class Numbered(queue.SimpleQueue[Any]):
    """Made before anybody looks."""


def test_a_simple_queue_is_a_class_still(session: Session) -> None:
    class Own(queue.SimpleQueue[Any]):
        def __init__(self, name: str) -> None:
            self.name = name

    items = Own("own")
    assert isinstance(queue.SimpleQueue(), queue.SimpleQueue)
    assert isinstance(Numbered(), queue.SimpleQueue)
    assert issubclass(Numbered, queue.SimpleQueue)
    assert isinstance(items, queue.SimpleQueue)
    assert not isinstance(Numbered(), Own)
    assert not isinstance(queue.Queue(), queue.SimpleQueue)
    with in_thread(lambda: produce(lambda *each: items.put(each))):
        consume(*items.get())
    assert rules(session) == set()


# -- locks -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy])
@pytest.mark.usefixtures("session")
def test_what_cannot_be_copied_says_so_as_ever(duplicate: Callable[[Any], Any]) -> None:
    for each in (threading.Lock(), threading.RLock(), queue.SimpleQueue()):
        with pytest.raises(TypeError, match="cannot pickle"):
            duplicate(each)


def test_a_module_whose_name_begins_as_one_of_ours_is_the_programs(session: Session) -> None:
    module: Any = types.ModuleType("logging_of_the_program")
    exec("import threading\nlock = threading.Lock()", module.__dict__)
    slot: list[Any] = []

    def hand(*each: Any) -> None:
        with module.lock:
            slot.append(each)

    def is_there() -> bool:
        with module.lock:
            return bool(slot)

    with in_thread(lambda: produce(hand)):
        while not is_there():
            pass
        consume(*slot[0])
    assert rules(session) == set()


# -- operations --------------------------------------------------------------------------------------------------------


def pinned_copy() -> tuple[Any, Any]:
    """Numbers on the device, and a copy of them on its way to the host."""
    x = torch.arange(4.0, device="cuda")
    return x, torch.zeros(4).pin_memory().copy_(x, non_blocking=True)


def test_an_index_of_numbers_on_the_device_waits_for_nothing(session: Session) -> None:
    x, copied = pinned_copy()
    _ = x[torch.tensor([1, 2], device="cuda")]
    copied.tolist()
    assert rules(session) == {"host-read-early"}


@pytest.mark.parametrize("index", [lambda x: x > 1, lambda _: torch.tensor([1, 2])], ids=["a mask", "of the host"])
def test_another_index_is_waited_for(session: Session, index: Callable[[Any], Any]) -> None:
    x, copied = pinned_copy()
    _ = x[index(x)]
    copied.tolist()
    assert rules(session) == set()


@pytest.mark.parametrize(("size", "found"), [(4, {"host-read-early"}), (None, set())])
def test_repetitions_are_added_up_where_nobody_has(session: Session, size: int | None, found: set[str]) -> None:
    x, copied = pinned_copy()
    torch.repeat_interleave(x, torch.ones(4, dtype=torch.long, device="cuda"), output_size=size)
    copied.tolist()
    assert rules(session) == found


@pytest.mark.parametrize(("trains", "found"), [(True, {"race"}), (False, set())])
def test_statistics_of_a_norm_are_written_in_training(session: Session, trains: bool, found: set[str]) -> None:
    norm, side = torch.nn.BatchNorm1d(4).cuda().train(trains), torch.cuda.Stream()
    x = torch.ones(8, 4, device="cuda")
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        norm(x)
    assert norm.running_mean is not None
    _ = norm.running_mean + 1
    torch.cuda.current_stream().wait_stream(side)
    assert rules(session) == found


def test_a_pinned_number_is_taken_when_the_operation_is_called(session: Session) -> None:
    number, x = torch.tensor(2.0).pin_memory(), torch.ones(4, device="cuda")
    torch.cuda._sleep(1_000_000)
    doubled = x * number
    number.fill_(3)
    assert doubled.tolist() == [2.0] * 4
    assert rules(session) == set()


def test_a_pinned_index_is_taken_when_the_operation_is_called(session: Session) -> None:
    index, x = torch.tensor([0, 1]).pin_memory(), torch.ones(4, device="cuda")
    torch.cuda._sleep(1_000_000)
    x[index] = 0
    index.fill_(3)
    assert x.tolist() == [0, 0, 1, 1]
    assert rules(session) == set()


def test_a_function_with_a_stream_of_its_own_goes_back_on_its_callers(session: Session) -> None:
    side = torch.cuda.Stream()

    def there(x: Any) -> Any:
        here = torch.cuda.current_stream()
        assert here != side
        side.wait_stream(here)
        with torch.cuda.stream(side):
            made = x * 2
        x.record_stream(side)
        here.wait_stream(side)
        made.record_stream(here)
        return made

    class OnItsOwn(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return there(x)

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            return there(grads[0])

    x = torch.ones(4, device="cuda", requires_grad=True)
    OnItsOwn.apply(OnItsOwn.apply(x)).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [4.0] * 4
    assert rules(session) == set()


# -- one watch after another -------------------------------------------------------------------------------------------


def test_what_outlives_a_watch_is_new_to_the_next() -> None:
    with simulate():
        with watching():
            x, copied = pinned_copy()
            done = torch.cuda.Event()
            done.record()
        torch.cuda.synchronize()
        with watching() as session, torch.cuda.stream(torch.cuda.Stream()):
            done.wait()
            x.add_(1)
            copied.fill_(0)
            torch.cuda.current_stream().synchronize()
        assert rules(session) == set()


def test_a_flag_of_an_earlier_watch_is_no_edge_in_the_next() -> None:
    ready, slot = threading.Event(), list[Any]()

    def producer() -> None:
        produce(lambda *each: slot.append(each))
        if not ready.is_set():
            ready.set()

    for found in (set(), {"wait-not-ordered-after-record"}):
        slot.clear()
        with simulate(), watching() as session:
            with in_thread(producer):
                while not slot:
                    pass
                ready.wait()
                assert ready.is_set()
                consume(*slot[0])
            assert rules(session) == found


def test_a_graph_of_an_earlier_watch_is_named() -> None:
    with simulate():
        with watching():
            x, graph = torch.ones(4, device="cuda"), torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                x.add_(1)
        with watching() as session, torch.cuda.stream(torch.cuda.Stream()):
            graph.replay()
        assert rules(session) == set()
        assert "the replay of a CUDA graph whose capture was not seen" in session.model.blind_spots
