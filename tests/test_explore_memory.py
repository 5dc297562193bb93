"""The explorer does not grow with the number of schedules, and an execution leaves nothing behind."""

from __future__ import annotations

import contextlib
import gc
import threading
import tracemalloc
from collections.abc import Hashable, Sequence
from contextvars import ContextVar

import greenlet
import pytest

from cpugpu import scenario
from cpugpu.explore import explore
from cpugpu.explore.carriers import Carriers
from cpugpu.explore.execution import Actor
from cpugpu.explore.run import execute
from cpugpu.explore.standins.patching import standing_in
from cpugpu.explore.strategies.coverage import Coverage, trace_of
from cpugpu.explore.strategies.dfs import DepthFirst
from cpugpu.explore.strategies.random_walk import RandomWalk
from cpugpu.rig import Rig, Scenario
from tests.small.programs import updates


@scenario(accept=[1, 2])
def two_producers(rig: Rig) -> Hashable:
    event, passed = threading.Event(), []

    def producer() -> None:
        if not event.is_set():
            event.set()
            passed.append(1)

    rig.run(producer, producer)
    return len(passed)


@scenario(accept=[2])
def locked(rig: Rig) -> Hashable:
    lock, cell = threading.Lock(), rig.cell(0)

    def count() -> None:
        with lock:
            cell.set(cell.get() + 1)

    rig.run(count, count)
    return cell.get()


@scenario(accept=["raises ZeroDivisionError"])
def raising(rig: Rig) -> Hashable:
    cell = rig.cell(0)

    def divide() -> None:
        cell.set(1 // cell.get())

    rig.run(divide, cell.get)
    return cell.get()


# -- memory -----------------------------------------------------------------------------------------------------------


class _Enough(Exception):
    """So many schedules were wanted."""


def _used(program: Scenario, strategy: str, at: tuple[int, int]) -> list[int]:
    """The bytes that are allocated after so many schedules."""
    used = []

    def tell(_strategy: str, schedules: int, _failing: int) -> None:
        if schedules in at:
            gc.collect()
            used.append(tracemalloc.get_traced_memory()[0])
        if schedules == at[-1]:
            raise _Enough

    tracemalloc.start()
    try:
        with contextlib.suppress(_Enough):
            explore(program, strategy=strategy, seconds=300, seed=0, tell=tell, stop_at_first=False)
    finally:
        tracemalloc.stop()
    return used


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["random", "pct", "pos", "urw", "dfs", "dpor"])
def test_an_exploration_does_not_grow(strategy: str) -> None:
    program = updates(2, 8) if strategy in ("dfs", "dpor") else two_producers
    before, after = _used(program, strategy, (400, 1600))
    assert after - before < 8000  # 7 bytes a schedule


@pytest.mark.parametrize("program", [two_producers, locked, updates(3)], ids=["event", "lock", "cell"])
def test_an_execution_leaves_nothing_to_the_garbage_collector(program: Scenario) -> None:
    strategy = RandomWalk(0)
    with standing_in(), Carriers() as carriers:
        execute(program, strategy.choose, carriers=carriers)
        gc.collect()
        gc.disable()
        try:
            for _ in range(20):
                execute(program, strategy.choose, carriers=carriers)
            assert gc.collect() == 0
        finally:
            gc.enable()


# -- greenlets that carry several threads -----------------------------------------------------------------------------


def _greenlets() -> int:
    gc.collect()
    return sum(isinstance(each, greenlet.greenlet) for each in gc.get_objects())


@pytest.mark.parametrize("program", [two_producers, locked, raising], ids=["clean", "lock", "raising"])
def test_an_exploration_leaves_no_greenlets(program: Scenario) -> None:
    before = _greenlets()
    explore(program, seconds=0.2, strategy="random")
    assert _greenlets() == before


def test_greenlets_are_used_again_after_threads_that_were_ended() -> None:
    def give_up_after(steps: int) -> None:
        def choose(enabled: Sequence[Actor], _current: Actor | None) -> Actor | None:
            nonlocal steps
            steps -= 1
            return enabled[0] if steps >= 0 else None

        execute(locked, choose, carriers=carriers)

    with standing_in(), Carriers() as carriers:
        give_up_after(1)
        before = _greenlets()
        for steps in range(6):
            give_up_after(steps)
            assert _greenlets() == before


def test_a_thread_starts_without_the_context_variables_of_those_before() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="none")
    seen = set()

    @scenario(accept=["done"])
    def sets(rig: Rig) -> Hashable:
        def body() -> None:
            seen.add(variable.get())
            variable.set("mine")
            rig.pause()
            assert variable.get() == "mine"

        rig.run(body, body)
        rig.run(body)
        return "done"

    assert explore(sets, strategy="dfs").failing == 0
    assert seen == {"none"}


# -- coverage of more traces than are remembered ----------------------------------------------------------------------


def test_more_traces_than_are_remembered_are_estimated() -> None:
    exact, bounded = Coverage(), Coverage(remembers=256)
    with standing_in(), Carriers() as carriers:
        search = DepthFirst()
        while search.begin():
            run = execute(updates(2, 6), search.choose, carriers=carriers)  # of 924 traces
            search.end(run)
            exact.add(run)
            bounded.add(run)
    assert exact.exact
    assert not bounded.exact
    assert exact.seen == 924
    assert bounded.seen == pytest.approx(924, rel=4 * (2 / 256) ** 0.5)  # four standard deviations
    assert bounded.executions == 924


@pytest.mark.slow
@pytest.mark.parametrize("executions", [400, 1500, 3000])
def test_the_interval_holds_what_is_missing_of_a_sample_too(executions: int) -> None:
    # Every order is a trace. Which one is as likely as a half to the power of the choices that the walk had.
    missed = 1.0
    seen = set()
    coverage, walk = Coverage(remembers=128), RandomWalk(1)
    with standing_in(), Carriers() as carriers:
        for _ in range(executions):
            run = execute(updates(2, 6), walk.choose, carriers=carriers)
            coverage.add(run)
            trace = trace_of(run.steps)
            if trace not in seen:
                seen.add(trace)
                missed -= 0.5 ** sum(len(step.enabled) == 2 for step in run.steps)
    estimate, low, high = coverage.missing_mass
    assert not coverage.exact
    assert low <= missed <= high
    assert low <= estimate <= high
    assert coverage.seen == pytest.approx(len(seen), rel=4 * (2 / 128) ** 0.5)


@pytest.mark.parametrize("remembers", [1, 2, 10])
def test_never_more_than_those_are_remembered(remembers: int) -> None:
    coverage, walk = Coverage(remembers=remembers), RandomWalk(1)
    with standing_in(), Carriers() as carriers:
        for _ in range(300):
            coverage.add(execute(updates(2, 3), walk.choose, carriers=carriers))
            assert len(coverage._times) <= remembers
            assert len(coverage._first) <= remembers
