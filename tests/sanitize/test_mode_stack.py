"""Where no simulation is on the sanitizer has a dispatch mode in each thread, and the program may have its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack  # noqa: E402

from cpugpu.sanitize import watching  # noqa: E402
from cpugpu.sanitize.intercept.real import Mode  # noqa: E402
from tests.threads import in_thread  # noqa: E402


class Mine(TorchDispatchMode):
    """Notes what it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.append(func.__name__)
        return func(*args, **(kwargs or {}))


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    yield
    assert _get_current_dispatch_mode_stack() == []


def kinds() -> list[type]:
    return [type(each) for each in _get_current_dispatch_mode_stack()]


def test_a_mode_of_the_programs_that_is_there_before_stays_on_top() -> None:
    with Mine() as mine:
        with watching():
            assert kinds() == [Mode, Mine]
            torch.ones(4) + 1
        assert kinds() == [Mine]
    assert "add.Tensor" in mine.seen


def test_one_that_the_program_leaves_entered_stays() -> None:
    with watching():
        mine = Mine()
        mine.__enter__()
        assert kinds() == [Mode, Mine]
    assert kinds() == [Mine]
    torch.ones(4) + 1
    assert "add.Tensor" in mine.seen
    mine.__exit__(None, None, None)


def test_one_that_the_program_leaves_while_we_watch_is_its_own() -> None:
    """A thread from before, which we meet at its first event: within its `with`."""
    begun, go, found = threading.Event(), threading.Event(), []

    def old() -> None:
        with Mine():
            begun.set()
            go.wait()
            session.watch.enter_thread()
            found.append(kinds())
        found.append(kinds())

    with in_thread(old) as thread:
        begun.wait()
        with watching() as session:
            go.set()
            thread.join()
    assert found == [[Mode, Mine], [Mode]]


def test_a_mode_that_the_program_has_taken_away_is_not_taken_twice() -> None:
    with watching():
        (ours,) = _get_current_dispatch_mode_stack()
        ours.__exit__(None, None, None)
        mine = Mine()
        mine.__enter__()
    assert kinds() == [Mine]
    mine.__exit__(None, None, None)
