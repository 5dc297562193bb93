"""Lines as steps: what they show, and that the functions stay what they are."""

from __future__ import annotations

import asyncio
import functools
import inspect
import itertools
import linecache
import threading
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

import pytest

from cpugpu import CpuGpuEvent, HandoffClosed, ProducerFailed, scenario
from cpugpu.device import using
from cpugpu.explore import lines
from cpugpu.explore.execution import Execution, Thread
from cpugpu.explore.instrument import PROBES
from cpugpu.explore.lines import traced
from cpugpu.explore.operation import Operation
from cpugpu.explore.run import Run, execute
from cpugpu.explore.standins.patching import standing_in
from cpugpu.explore.strategies.dfs import DepthFirst
from cpugpu.explore.strategies.dpor import Dpor
from cpugpu.gate import Gate
from cpugpu.rig import HANG, Rig, Scenario
from stress.mutants import MUTANTS
from stress.subjects import SeedEvent


class Found(NamedTuple):
    """What an exploration has seen."""

    traces: int  # or schedules
    outcomes: set[Hashable]
    exhausted: bool
    redundant: int
    runs: list[Run]


def exploration(
    program: Scenario | Callable[[Rig], Hashable],
    strategy: Dpor | DepthFirst,
    *classes: type,
    stop_at: Hashable = None,
    limit: int = 20_000,
) -> Found:
    """Run the loop; `limit` is the number of executions."""
    each = program if isinstance(program, Scenario) else scenario(accept={"fine": "as it should be"})(program)
    traces, outcomes, runs = 0, set(), []
    with standing_in(), traced(classes):
        for _ in range(limit):
            if not strategy.begin():
                return Found(traces, outcomes, True, getattr(strategy, "redundant", 0), runs)
            run = execute(each, strategy.choose, to_the_end=strategy.to_the_end)
            strategy.end(run)
            if run.complete and not getattr(strategy, "vain", False):
                traces += 1
                outcomes.add(run.outcome)
                runs.append(run)
                if stop_at is not None and run.outcome == stop_at:
                    break
    return Found(traces, outcomes, False, getattr(strategy, "redundant", 0), runs)


# -- what lines show -------------------------------------------------------------------------------------------------


class Counter:
    def __init__(self) -> None:
        self.value = 0
        self.items: list[int] = []
        self._lock = threading.Lock()

    def plain(self) -> None:
        value = self.value
        self.value = value + 1

    def augmented(self) -> None:
        self.value += 1

    def locked(self) -> None:
        with self._lock:
            value = self.value
            self.value = value + 1

    def last(self) -> None:
        number = len(self.items)
        self.items.append(number)

    def across(self) -> None:
        self.value = self.value + (self._lock.acquire(False) and 10)


def twice(method: Callable[[Counter], None], seen: Callable[[Counter], Hashable]) -> Callable[[Rig], Hashable]:
    def program(rig: Rig) -> Hashable:
        counter = Counter()
        rig.run(lambda: method(counter), lambda: method(counter))
        return seen(counter)

    return program


STRATEGIES = pytest.mark.parametrize("strategy", [Dpor, DepthFirst], ids=["dpor", "dfs"])


@STRATEGIES
def test_a_lost_update_of_a_plain_attribute_is_seen(strategy: Any) -> None:
    program = twice(Counter.plain, lambda counter: counter.value)
    found = exploration(program, strategy(), Counter)
    assert found.exhausted
    assert found.outcomes == {1, 2}


def test_without_lines_it_is_not() -> None:
    assert exploration(twice(Counter.plain, lambda counter: counter.value), DepthFirst()).outcomes == {2}


@STRATEGIES
def test_a_line_is_one_step(strategy: Any) -> None:
    assert exploration(twice(Counter.augmented, lambda counter: counter.value), strategy(), Counter).outcomes == {2}


@STRATEGIES
def test_a_lock_orders_lines(strategy: Any) -> None:
    found = exploration(twice(Counter.locked, lambda counter: counter.value), strategy(), Counter)
    assert found.exhausted
    assert found.outcomes == {2}


@STRATEGIES
def test_a_list_is_changed_through_the_attribute_that_holds_it(strategy: Any) -> None:
    found = exploration(twice(Counter.last, lambda counter: tuple(counter.items)), strategy(), Counter)
    assert found.outcomes == {(0, 1), (0, 0)}


def test_a_footprint_that_takes_every_load_for_a_read_misses_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines._World, "_is_fixed", lambda *_: True)
    found = exploration(twice(Counter.last, lambda counter: tuple(counter.items)), Dpor(), Counter)
    assert found.outcomes == {(0, 1)}


def test_an_operation_within_a_line_touches_what_the_line_touches() -> None:
    program = twice(Counter.across, lambda counter: counter.value)
    found = exploration(program, Dpor(), Counter)
    assert found.exhausted
    assert found.outcomes == exploration(program, DepthFirst(), Counter).outcomes == {0, 10}


def test_operations_without_their_lines_miss_a_race(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines._Lines, "__call__", own_only)

    def program(rig: Rig) -> Hashable:
        counter = Counter()
        rig.run(lambda: Counter.across(counter), lambda: Counter.plain(counter))
        return counter.value

    assert len(exploration(program, Dpor(), Counter).outcomes) < len(
        exploration(program, DepthFirst(), Counter).outcomes
    )


def own_only(self: Any, operation: Operation) -> Operation:
    """A line touches something when it begins, and its operations do not."""
    if operation.footprint:
        return operation
    return lines._Within(operation, self._lines[-1:], self._world)


# -- P1 to P6 --------------------------------------------------------------------------------------------------------


class Noted:
    """A device without streams: a record is a number, 0 before the first, and a wait notes which it was for.

    Streams would be actors too, and depth-first search would try their turns as well. `broken`: so many calls fail.
    """

    name = "noted"

    def __init__(self, rig: Rig) -> None:
        self.waits = rig.cell(())
        self.broken = 0
        self._numbers = itertools.count(1)

    def event(self) -> NotedEvent:
        return NotedEvent(self)

    def next(self) -> int:
        if self.broken:
            self.broken -= 1
            raise OSError("the driver call failed")
        return next(self._numbers)

    def check(self, stream: Any) -> None:
        pass

    def record(self, stream: Any, spare: NotedEvent | None) -> NotedEvent:
        event = spare or self.event()
        event.record(stream)
        return event

    def wait(self, event: NotedEvent, stream: Any) -> None:
        event.wait(stream)


class NotedEvent:
    def __init__(self, device: Noted) -> None:
        self._device = device
        self.number = 0

    def record(self, stream: Any = None) -> None:
        self.number = self._device.next()

    def wait(self, stream: Any = None) -> None:
        if self._device.broken:
            self._device.next()
        self._device.waits.update(lambda before: (*before, self.number))


def made(rig: Rig, make_event: Any) -> tuple[Any, Noted]:
    device = Noted(rig)
    with using(device):  # type: ignore[arg-type]
        return make_event(), device


@scenario(accept={"fine": "the record went through"}, forbid={"P1": "a legal record was refused"})
def p1(rig: Rig, make_event: Any = SeedEvent) -> str:
    """The second record comes when the device has the wait for the first."""
    ready, device = made(rig, make_event)
    outcome = rig.cell("fine")
    ready.record()

    def producer() -> None:
        rig.until(lambda: device.waits.get() != (), device.waits)
        try:
            ready.record()
        except RuntimeError:
            outcome.set("P1")

    rig.run(producer, ready.wait)
    return outcome.get()


@scenario(accept={"fine": "the consumer was told"}, forbid={HANG: "P2: the consumer waits for ever"})
def p2(rig: Rig, make_event: Any = SeedEvent) -> str:
    """The record raises."""
    ready, device = made(rig, make_event)
    device.broken = 1

    def producer() -> None:
        with suppress(OSError):
            ready.record()

    def consumer() -> None:
        with suppress(ProducerFailed):
            ready.wait()

    rig.run(producer, consumer)
    return "fine"


@scenario(accept={"fine": "the producer went on"}, forbid={"P3": "every later record is refused"})
def p3(rig: Rig, make_event: Any = SeedEvent) -> str:
    """The wait raises; then comes the next record."""
    ready, device = made(rig, make_event)
    outcome, failed = rig.cell("fine"), rig.cell(False)
    ready.record()
    device.broken = 1

    def producer() -> None:
        rig.until(failed.get, failed)
        try:
            ready.record()
        except RuntimeError:
            outcome.set("P3")

    def consumer() -> None:
        with suppress(OSError):
            ready.wait()
        failed.set(True)

    rig.run(producer, consumer)
    return outcome.get()


def two_waits(rig: Rig, make_event: Any) -> tuple[Any, tuple[int, ...], bool]:
    """Two records, the second when the first has been waited for, and two waits. Which they were for."""
    ready, device = made(rig, make_event)
    refused, through = rig.cell(False), rig.cell(False)
    ready.record()

    def producer() -> None:
        rig.until(through.get, through)
        try:
            ready.record()
        except RuntimeError:
            refused.set(True)

    def consumer() -> None:
        ready.wait()
        through.set(True)

    rig.run(producer, consumer, consumer)
    return ready, device.waits.get(), refused.get()


@scenario(accept={"fine": "each wait was for a record"}, forbid={"P4": "a wait was for nothing"})
def p4(rig: Rig, make_event: Any = SeedEvent) -> str:
    """Two consumers."""
    _, waits, _ = two_waits(rig, make_event)
    return "P4" if 0 in waits else "fine"


@scenario(accept={"fine": "each record had a wait"}, forbid={HANG: "P5: a record was erased"})
def p5(rig: Rig, make_event: Any = SeedEvent) -> str:
    """If neither wait was for the second record, that has to be there still."""
    ready, waits, refused = two_waits(rig, make_event)
    if waits == (1, 1) and not refused:
        ready.wait()
    return "fine"


@scenario(accept={"fine": "each record had a wait"}, forbid={HANG: "P6: two records, and one wait returns"})
def p6(rig: Rig, make_event: Any = SeedEvent) -> str:
    """Two producers; so many waits as records went through."""
    ready, _ = made(rig, make_event)
    accepted = rig.cell(0)

    def producer() -> None:
        try:
            ready.record()
        except RuntimeError:
            return
        accepted.update(lambda before: before + 1)

    rig.run(producer, producer)
    for _ in range(accepted.get()):
        ready.wait()
    return "fine"


DEFECTS = [(p1, "P1", 1), (p2, HANG, 0), (p3, "P3", 0), (p4, "P4", 2), (p5, HANG, 2), (p6, HANG, 1)]
