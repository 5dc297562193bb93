"""What CPU threads synchronise by: who releases, who acquires, and what that orders."""

from __future__ import annotations

import pytest

from cpugpu.sanitize import Actor, Model, Storage, Sync


class Cell:
    def __init__(self, threads: int = 3) -> None:
        self.model, self.storage = Model(), Storage("cell", host=True)
        self.threads = [self.model.thread(f"t{number}") for number in range(threads)]

    def write(self, thread: Actor, at: int = 0) -> None:
        self.model.host_access(thread, [(self.storage, (at, at + 1), True)])

    @property
    def races(self) -> int:
        return len(self.model.findings)


def test_a_lock_orders_those_who_hold_it_one_after_the_other() -> None:
    cell, lock = Cell(), Sync("lock")
    for thread in cell.threads * 3:
        cell.model.acquire(thread, lock)
        cell.write(thread)
        cell.model.release(thread, lock)
    assert cell.races == 0


def test_a_lock_taken_without_a_release_orders_nothing() -> None:
    cell, lock = Cell(), Sync("lock")
    for thread in cell.threads[:2]:
        cell.model.acquire(thread, lock)
        cell.write(thread)
    assert cell.races == 1


def test_who_acquires_is_after_all_who_have_released() -> None:
    cell, done = Cell(), Sync("barrier")
    one, two, three = cell.threads
    for at, thread in enumerate((one, two, two)):
        cell.write(thread, at)
        cell.model.release(thread, done)
    cell.model.acquire(three, done)
    for at in range(3):
        cell.write(three, at)
    assert cell.races == 0


@pytest.mark.parametrize("after", [True, False])
def test_what_comes_after_a_release_is_not_ordered_by_it(after: bool) -> None:
    cell, flag = Cell(), Sync("flag")
    one, two, _ = cell.threads
    if not after:
        cell.write(one)
    cell.model.release(one, flag)
    if after:
        cell.write(one)
    cell.model.acquire(two, flag)
    cell.write(two)
    assert cell.races == after


def test_start_and_join_are_edges() -> None:
    cell = Cell(1)
    (main,) = cell.threads
    cell.write(main)
    child = cell.model.thread("child", main)
    cell.write(child)
    cell.model.thread_ended(child)
    cell.model.joined(main, child)
    cell.write(main)
    assert cell.races == 0


def test_what_the_parent_does_after_the_start_is_no_edge() -> None:
    cell = Cell(1)
    (main,) = cell.threads
    child = cell.model.thread("child", main)
    cell.write(main)
    cell.write(child)
    assert cell.races == 1
