"""An event whose handle went to another process lives until something has come back."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from cpugpu.patches import Patches  # noqa: E402
from cpugpu.sanitize import Model  # noqa: E402
from cpugpu.sanitize.intercept import blind, processes  # noqa: E402
from cpugpu.sanitize.intercept.backend import Backend  # noqa: E402
from cpugpu.sanitize.intercept.watch import Watch  # noqa: E402


class Event:
    """As `torch.cuda.Event`, which only a real device has so that it can be shared."""

    cuda_event = 1

    def ipc_handle(self) -> bytes:
        return b"handle"


@pytest.fixture
def watch() -> Iterator[Watch]:
    watch, patches = Watch(Model(), Backend("cuda", SimpleNamespace(device_count=lambda: 1))), Patches()
    before = dict(vars(Event)), dict(vars(multiprocessing.connection.Connection.__mro__[1]))
    patches.apply([*processes.patches(watch, Event), *blind.patches(watch)])
    yield watch
    patches.undo()
    assert (dict(vars(Event)), dict(vars(multiprocessing.connection.Connection.__mro__[1]))) == before


def rules(watch: Watch) -> list[str]:
    return [finding.rule for finding in watch.model.findings]


def test_it_is_destroyed_at_once(watch: Watch) -> None:
    event = Event()
    event.ipc_handle()
    del event
    assert rules(watch) == ["event-destroyed-early"]


def from_a_pipe() -> None:
    mine, theirs = multiprocessing.Pipe()
    theirs.send("opened")
    mine.recv()


def from_a_queue() -> None:
    queue: Any = multiprocessing.get_context("spawn").SimpleQueue()
    queue.put("opened")
    queue.get()


def from_a_flag() -> None:
    flag = multiprocessing.get_context("spawn").Event()
    flag.set()
    flag.wait()


def by_its_end() -> None:
    process = multiprocessing.get_context("spawn").Process(target=int)
    process.start()
    process.join()


def by_a_collective() -> None:
    hook, store = sys.excepthook, torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        torch.distributed.all_reduce(torch.zeros(1))
    finally:
        torch.distributed.destroy_process_group()
        sys.excepthook = hook  # which torch has replaced


@pytest.mark.parametrize("answer", [from_a_pipe, from_a_queue, from_a_flag, by_its_end, by_a_collective])
def test_the_other_process_has_answered(watch: Watch, answer: Callable[[], None]) -> None:
    event = Event()
    event.ipc_handle()
    answer()
    del event
    assert rules(watch) == []


def test_what_came_before_the_handle_was_made_is_no_answer(watch: Watch) -> None:
    event = Event()
    from_a_pipe()
    event.ipc_handle()
    del event
    assert rules(watch) == ["event-destroyed-early"]


def test_an_event_that_stays_in_the_process(watch: Watch) -> None:
    event = Event()
    del event
    assert rules(watch) == []
