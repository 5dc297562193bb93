"""Steps that must wait for several things: the reduction tries one schedule of each trace of these programs, too.

What it takes: where the things are not in one order, a step races with several others together; and what a step that is
impossible would have stood for is explored all the same. Each test is checked against a reduction without that.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cpugpu import scenario
from cpugpu.explore import VerdictKind, explore
from cpugpu.explore.strategies import dpor as dpor_module
from cpugpu.rig import HANG, Rig, Scenario
from tests.small.oracle import measure
from tests.small.programs import random_program


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    return


@scenario
def either(rig: Rig) -> Hashable:
    """A thread waits for one of two cells. Which of them were set when it went on: either, or both."""
    first, second, seen = rig.cell(0), rig.cell(0), rig.cell((0, 0))

    def waits() -> None:
        rig.until(lambda: bool(first.get() or second.get()), first, second)
        seen.set((first.get(), second.get()))

    rig.run(waits, lambda: first.set(1), lambda: second.set(1))
    return seen.get()


@scenario
def two_of_three(rig: Rig) -> Hashable:
    """One waits for any two of three cells, another until the first is clear or the third set."""
    cells = [rig.cell(0) for _ in range(3)]
    setters: list[Callable[[], None]] = [lambda cell=cell: cell.set(1) for cell in cells]  # type: ignore[misc]
    rig.run(
        lambda: rig.until(lambda: sum(cell.get() for cell in cells) >= 2, *cells),
        lambda: rig.until(lambda: not cells[0].get() or bool(cells[2].get()), cells[0], cells[2]),
        *setters,
    )
    return tuple(cell.get() for cell in cells)


@scenario
def even(rig: Rig) -> Hashable:
    """A thread waits until the sum of two cells is even: each write makes that possible, or impossible."""
    first, second, seen = rig.cell(0), rig.cell(0), rig.cell(-1)

    def waits() -> None:
        rig.until(lambda: (first.get() + second.get()) % 2 == 0, first, second)
        seen.set(first.get())

    rig.run(lambda: first.set(1), lambda: second.set(1), waits)
    return seen.get()


@scenario
def late_and_reader(rig: Rig) -> Hashable:
    """A thread that sets a cell of its own, and only then waits for another cell, which a third one reads.

    When the wait is tried before the write, and is impossible, the read before the write is left.
    """
    own, cell, seen = rig.cell(0), rig.cell(0), rig.cell(-1)

    def late() -> None:
        own.set(1)
        rig.until(lambda: cell.get() >= 1, cell)

    rig.run(lambda: cell.set(1), late, lambda: seen.set(cell.get()))
    return seen.get()


@scenario
def nothing_to_be_had(rig: Rig) -> Hashable:
    """Tries, and acquisitions that block for ever, of a semaphore of zero."""
    semaphore = threading.Semaphore(0)

    def tries(times: int) -> Callable[[], None]:
        def body() -> None:
            for _ in range(times):
                assert not semaphore.acquire(blocking=False)

        return body

    def gives_and_takes() -> None:
        semaphore.acquire()
        semaphore.release()

    rig.run(tries(2), tries(1), gives_and_takes, semaphore.acquire)
    return "done"


PROGRAMS: list[Scenario] = [either, two_of_three, even, late_and_reader, nothing_to_be_had]
PROGRAMS += [random_program(seed).scenario for seed in (1037, 1016, 1067)]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda each: each.name)
def test_every_trace_is_explored_once(program: Scenario) -> None:
    figures = measure(program)
    verdict = explore(program, strategy="dpor", seconds=60, stop_at_first=False)
    if figures.traces is not None:
        assert (verdict.traces, verdict.failing) == (figures.traces, figures.failing_traces)
    assert verdict.schedules - verdict.failing == figures.passing_traces
    if figures.interleavings > 600:
        return
    every = explore(program, strategy="dfs", seconds=60, stop_at_first=False)
    assert (every.schedules, every.failing) == (figures.interleavings, figures.failing)


def test_an_outcome_of_which_only_both_writes_together_are_to_blame_is_found() -> None:
    late = scenario(forbid=[0])(even.function)  # it went on before both, though after one it could not
    verdict = explore(late, strategy="dpor", seconds=60)
    assert verdict.kind is VerdictKind.FAILED


def traces(program: Scenario) -> int | None:
    return explore(program, strategy="dpor", seconds=60, stop_at_first=False).traces


def test_a_reduction_that_takes_races_one_by_one_misses_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dpor_module, "_unordered", lambda _, steps: ((each,) for each in steps))
    assert traces(even) != measure(even).traces


def test_a_reduction_that_trusts_in_the_impossible_misses_some(monkeypatch: pytest.MonkeyPatch) -> None:
    insert = dpor_module._insert

    def forgetful(tree: Any, put: Any) -> None:
        insert(tree, put)
        for leaf in dpor_module._leaves(tree):
            leaf.otherwise.clear()

    monkeypatch.setattr(dpor_module, "_insert", forgetful)
    assert traces(late_and_reader) != measure(late_and_reader).traces


def test_a_minimal_schedule_has_the_fewest_preemptions_of_all_that_fail() -> None:
    """A scenario that fails in two ways: what is met first takes a preemption, the other one none."""

    @scenario(accept=["fine"])
    def two_ways(rig: Rig) -> str:
        first, second, outcome = rig.cell(0), rig.cell(0), rig.cell("fine")
        lock = threading.Lock()

        def one() -> None:
            first.set(1)
            if second.get() == 1:
                outcome.set("seen")
            lock.acquire()

        def other() -> None:
            second.set(1)
            if first.get() == 0:
                lock.acquire()  # nobody will get it

        rig.run(one, other)
        return outcome.get()

    for strategy in ("dpor", "dfs", "auto"):
        verdict = explore(two_ways, strategy=strategy, seconds=60, stop_at_first=False)
        assert verdict.failure is not None
        assert verdict.failure.preemptions == measure(two_ways).preemptions == 0
        assert verdict.failure.outcome in ("seen", HANG)
