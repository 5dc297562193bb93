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
