"""Lines as steps: what they show, and that the functions stay what they are."""

from __future__ import annotations

import itertools
import linecache
import threading
import traceback
from collections.abc import Callable, Hashable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

import pytest

from cpugpu import CpuGpuEvent, ProducerFailed, scenario
from cpugpu.device import using
from cpugpu.errors import DeviceError
from cpugpu.explore import attributes, lines
from cpugpu.explore.happens_before import Order
from cpugpu.explore.instrument import PROBES
from cpugpu.explore.lines import traced
from cpugpu.explore.operation import Operation
from cpugpu.explore.run import Run, execute
from cpugpu.explore.standins.patching import standing_in
from cpugpu.explore.strategies.dfs import DepthFirst
from cpugpu.explore.strategies.dpor import Dpor
from cpugpu.gate import Gate
from cpugpu.rig import HANG, Rig, Scenario
from stress.mutants import MUTANTS, small
from stress.subjects import SeedEvent
from tests import tricky


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
    monkeypatch.setattr(attributes.World, "_is_fixed", lambda *_: True)
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
SEED = pytest.mark.parametrize(("program", "outcome", "bound"), DEFECTS, ids=[each[0].name for each in DEFECTS])


@SEED
def test_the_seed_has_the_defect_within_few_preemptions(program: Scenario, outcome: str, bound: int) -> None:
    assert outcome in exploration(program, DepthFirst(bound), SeedEvent, stop_at=outcome).outcomes


@SEED
def test_the_seed_has_the_defect_in_a_trace(program: Scenario, outcome: str, bound: int) -> None:
    found = exploration(program, Dpor(), SeedEvent)
    assert found.exhausted
    assert found.redundant == 0
    assert outcome in found.outcomes


@SEED
def test_our_event_has_it_in_no_trace(
    program: Scenario, outcome: str, bound: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CPUGPU_STALL_SECONDS", "off")
    found = exploration(program.on(CpuGpuEvent), Dpor(), CpuGpuEvent)
    assert found.exhausted
    assert found.redundant == 0
    assert found.outcomes == {"fine"}


@scenario(accept={"fresh": "the copy saw the fill"}, forbid={"stale": "the copy came first"})
def hand_off(rig: Rig, make_event: Any = CpuGpuEvent) -> str:
    """Fill, record; wait, copy. On the simulated device: streams are actors."""
    ready, cell, seen = make_event(), rig.buffer(0), rig.buffer(0)

    def producer() -> None:
        stream = rig.stream()
        rig.fill(cell, 1, stream)
        ready.record(stream)

    def consumer() -> None:
        stream = rig.stream()
        ready.wait(stream)
        rig.copy(cell, seen, stream)

    rig.run(producer, consumer)
    return "fresh" if rig.read(seen) == 1 else "stale"


def test_a_hand_off_is_proved_line_by_line() -> None:
    found = exploration(hand_off, Dpor(), CpuGpuEvent)
    assert found.exhausted
    assert found.redundant == 0
    assert found.outcomes == {"fresh"}
    labels = {step.label for run in found.runs for step in run.steps}
    assert any(label.startswith("CpuGpuEvent.record:") and label.endswith("self._generation += 1") for label in labels)


def test_a_mutant_runs_line_by_line() -> None:
    with MUTANTS["no-gpu-wait"].applied():
        found = exploration(hand_off, Dpor(), CpuGpuEvent)
    assert "stale" in found.outcomes


# -- the reduction ---------------------------------------------------------------------------------------------------


class Peer:
    def __init__(self, other: Peer | None) -> None:
        self.other = other
        self.count = 0
        self.seen: list[int] = []

    def push(self) -> None:
        if self.other is not None:
            self.other.count += 1
            self.seen.append(self.other.count)

    def pull(self) -> int:
        self.count -= 1
        for each in self.seen:
            self.count += each
        return self.count

    def drop(self) -> None:
        self.other, other = None, self.other
        if other is not None:
            other.count = 7


@pytest.mark.parametrize(
    "names", list(itertools.combinations_with_replacement(["push", "pull", "drop"], 2)), ids="-".join
)
def test_each_trace_of_two_threads_is_explored_once(names: tuple[str, str]) -> None:
    def program(rig: Rig) -> Hashable:
        first = Peer(None)
        second = Peer(first)
        first.other = second

        def body(peer: Peer, name: str) -> Callable[[], None]:
            return getattr(peer, name)

        rig.run(body(first, names[0]), body(second, names[1]))
        return first.count, second.count, tuple(first.seen), tuple(second.seen)

    every = exploration(program, DepthFirst(), Peer)
    reduced = exploration(program, Dpor(), Peer)
    assert every.exhausted
    assert reduced.exhausted
    assert reduced.outcomes == every.outcomes
    assert reduced.redundant == 0
    assert reduced.traces == len({trace(run) for run in every.runs})
    assert reduced.traces == len({trace(run) for run in reduced.runs})


def trace(run: Run) -> Hashable:
    """The partial order: each step, and all that come before it."""
    order = Order(run.steps)
    names = [(step.actor.key, order.position[index]) for index, step in enumerate(run.steps)]
    return frozenset(
        (names[second], frozenset(names[first] for first in range(second) if order.before(first, second)))
        for second in range(len(names))
    )


# -- the functions stay what they are --------------------------------------------------------------------------------


HERE = (tricky.Whole, tricky.Tricky, tricky.Room, tricky.Shy)


def outcome_of(make: Callable[[], Any], name: str) -> Any:
    """What a call returns or raises, and the lines that the traceback names."""
    tricky.total = 0
    thing = make()
    try:
        return repr(getattr(thing, name)()), []
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        return repr(error), [(frame.name, frame.lineno) for frame in frames if frame.filename == tricky.__file__]


@pytest.mark.parametrize("name", tricky.NAMES.split())
@pytest.mark.parametrize("inside", [False, True], ids=["outside", "in a thread"])
def test_a_function_does_the_same(name: str, inside: bool) -> None:
    if inside and name == "asynchronous":
        pytest.skip("an event loop has sockets, which are not modelled")
    expected = outcome_of(tricky.Whole, name)
    if not inside:
        with traced(HERE):
            assert outcome_of(tricky.Whole, name) == expected
        return
    found: list[Any] = []

    def program(rig: Rig) -> str:
        rig.run(lambda: found.append(outcome_of(tricky.Whole, name)), lambda: outcome_of(tricky.Whole, name))
        return "fine"

    exploration(program, DepthFirst(0), *HERE, limit=1)
    if name == "uses_global":
        return  # two threads add to one number
    assert found == [expected]


def test_private_names_are_those_of_the_class() -> None:
    with traced(HERE):
        assert tricky.Shy().reveal() == (6, ["_Shy__hidden"], 6)


def test_coroutines_go_on_in_the_step_of_who_drives_them() -> None:
    def program(rig: Rig) -> Hashable:
        owner = tricky.Whole()

        def drive() -> None:
            with suppress(StopIteration):
                tricky.Room(owner).__aenter__().send(None)

        rig.run(drive, drive)
        return tuple(owner.log)

    found = exploration(program, Dpor(), *HERE)
    assert found.outcomes == {("in", "in")}
    assert found.traces == 2


def functions() -> dict[Any, Any]:
    kinds = (tricky.Base, tricky.Tricky, tricky.Whole, tricky.Room, tricky.Shy, Gate, CpuGpuEvent)
    return {function: function.__code__ for kind in kinds for function in lines._functions(kind)}


def test_everything_is_restored() -> None:
    before = functions()
    with traced((*HERE, CpuGpuEvent)):
        assert all(function.__code__ is not code for function, code in before.items())
        assert all(PROBES in function.__globals__ for function in before)
        assert all(function.__code__.co_freevars == code.co_freevars for function, code in before.items())
    assert functions() == before
    assert not any(PROBES in function.__globals__ for function in before)


def test_everything_is_restored_after_an_exception() -> None:
    before = functions()
    with pytest.raises(KeyError), traced((*HERE, CpuGpuEvent)):
        raise KeyError
    assert functions() == before
    with traced((CpuGpuEvent,)):
        pass


def test_a_reference_that_somebody_holds_runs_the_lines() -> None:
    bump = Counter.plain

    def program(rig: Rig) -> Hashable:
        counter = Counter()
        rig.run(lambda: bump(counter), lambda: bump(counter))
        return counter.value

    assert exploration(program, Dpor(), Counter).outcomes == {1, 2}


@pytest.mark.parametrize("kind", [list, int])
def test_a_class_without_source_is_refused(kind: type) -> None:
    with pytest.raises(ValueError, match=f"{kind.__name__} has no source; a class can be traced if"), traced((kind,)):
        pass


def test_a_class_that_was_typed_in_is_refused() -> None:
    namespace: dict[str, Any] = {"__name__": "typed"}
    exec("class Typed:\n    def method(self):\n        self.x = 1\n", namespace)
    with pytest.raises(ValueError, match=r"typed\.Typed has no source"), traced((namespace["Typed"],)):
        pass


def test_source_that_was_changed_since_is_refused(tmp_path: Any) -> None:
    path = tmp_path / "changing.py"
    path.write_text("class Changing:\n    def method(self):\n        return 1\n")
    namespace: dict[str, Any] = {"__name__": "changing"}
    exec(compile(path.read_text(), str(path), "exec"), namespace)
    path.write_text("\n\nclass Changing:\n    def method(self):\n        return 1\n")
    linecache.checkcache()
    with pytest.raises(ValueError, match="does not fit what runs"), traced((namespace["Changing"],)):
        pass


def test_only_one_at_a_time() -> None:
    with traced((Counter,)), pytest.raises(RuntimeError, match="active already"), traced((Peer,)):
        pass


# -- what lines touch ------------------------------------------------------------------------------------------------


@dataclass
class Point:
    x: int = 0

    def move(self) -> None:
        x = self.x
        self.x = x + 1


class Talks(Protocol):
    def talk(self) -> str: ...


_shared = 0


class Corners(Talks):
    slots: ClassVar[int] = 0

    def __init__(self) -> None:
        self.points = [Point()]
        self.table = {"n": 0}

    def in_a_list(self) -> None:
        x = self.points[0].x
        self.points[0].x = x + 1

    def by_name(self) -> None:
        value = getattr(self, "held", 0)
        setattr(self, "held", value + 1)  # noqa: B010

    def of_the_class(self) -> None:
        value = type(self).slots
        Corners.slots = value + 1

    def of_the_class_through_an_instance(self) -> None:
        value = self.slots
        Corners.slots = value + 1

    def of_the_module(self) -> None:
        global _shared
        value = _shared
        _shared = value + 1

    def of_a_generator(self) -> None:
        for each in (number for number in self.table.values()):
            self.table["n"] = each + 1

    def of_a_yield(self) -> None:
        def writes() -> Iterator[None]:
            self.table = {"n": self.table["n"] + (yield)}  # type: ignore[func-returns-value]

        running = writes()
        next(running)
        self.between = 1
        with suppress(StopIteration):
            running.send(1)  # type: ignore[arg-type]

    def of_a_cell(self) -> Any:
        total = 0

        def add() -> int:
            nonlocal total
            value = total
            total = value + 1
            return total

        return add

    def talk(self) -> str:
        return "corners"


def check_corner(method: Callable[[Corners], object], result: Callable[[Corners], Hashable]) -> None:
    def program(rig: Rig) -> Hashable:
        global _shared
        corners = Corners()
        Corners.slots = _shared = 0
        rig.run(lambda: method(corners), lambda: method(corners))
        return result(corners)

    every = exploration(program, DepthFirst(), Corners, Point)
    assert every.exhausted
    assert every.outcomes == {1, 2}
    reduced = exploration(program, Dpor(), Corners, Point)
    assert reduced.exhausted
    assert reduced.outcomes == {1, 2}
    assert reduced.redundant == 0
    assert reduced.traces == len({trace(run) for run in every.runs})


@pytest.mark.parametrize(
    ("method", "result"),
    [
        (Corners.in_a_list, lambda corners: corners.points[0].x),
        (lambda corners: corners.points[0].move(), lambda corners: corners.points[0].x),
        (Corners.by_name, lambda corners: corners.held),
        (Corners.of_the_class, lambda corners: corners.slots),
        (Corners.of_the_class_through_an_instance, lambda corners: corners.slots),
        (Corners.of_the_module, lambda corners: _shared),
        (Corners.of_a_generator, lambda corners: corners.table["n"]),
        (Corners.of_a_yield, lambda corners: corners.table["n"]),
    ],
    ids=["list", "data class", "name", "class", "class-instance", "module", "generator", "yield"],
)
def test_a_lost_update_is_seen_in(method: Callable[[Corners], object], result: Callable[[Corners], Hashable]) -> None:
    check_corner(method, result)


class Plain:
    """Not traced."""

    def __init__(self) -> None:
        self.number = 0

    def get(self) -> int:
        return self.number

    def put(self, number: int) -> None:
        self.number = number


_everybodys: list[int] = []


class Aliases:
    """What an attribute holds is changed through a variable of the function."""

    of_the_class: ClassVar[list[int]] = []

    def __init__(self) -> None:
        self.items: list[int] = []
        self.table: dict[str, list[int]] = {"items": []}
        self.plain = Plain()
        Aliases.of_the_class = []
        _everybodys.clear()

    def of_a_list(self) -> int:
        items = self.items
        number = len(items)
        items.append(number)
        return items[-1]

    def of_a_list_in_a_dictionary(self) -> int:
        items = self.table["items"]
        number = len(items)
        items.append(number)
        return items[-1]

    def of_a_bound_method(self) -> int:
        append = self.items.append
        number = len(self.items)
        append(number)
        return self.items[-1]

    def of_a_parameter(self) -> int:
        return self.helper(self.items)

    def helper(self, items: list[int]) -> int:
        number = len(items)
        items.append(number)
        return items[-1]

    def of_a_view(self) -> int:
        values = self.table.values()
        number = sum(map(len, values))
        self.table["items"].append(number)
        return self.table["items"][-1]

    def of_an_object(self) -> int:
        plain = self.plain
        number = plain.get()
        plain.put(number + 1)
        return plain.get() - 1

    def of_an_attribute_of_an_object(self) -> int:
        plain = self.plain
        number = plain.number
        plain.number = number + 1
        return plain.get() - 1

    def of_a_class_attribute(self) -> int:
        items = self.of_the_class
        number = len(items)
        items.append(number)
        return items[-1]

    def of_a_global_variable(self) -> int:
        items = _everybodys
        number = len(items)
        items.append(number)
        return items[-1]

    def fresh(self) -> int:
        items: list[int] = []
        items.append(len(items))
        return items[0]


ALIASES = [getattr(Aliases, name) for name in vars(Aliases) if name.startswith("of_a")]


@pytest.mark.parametrize("method", ALIASES, ids=lambda each: each.__name__)
def test_a_lost_update_is_seen_through_a_variable_of_the_function(method: Callable[[Aliases], int]) -> None:
    def program(rig: Rig) -> Hashable:
        aliases, last = Aliases(), [0, 0]

        def body(me: int) -> Callable[[], None]:
            return lambda: last.__setitem__(me, method(aliases))

        rig.run(body(0), body(1))
        return max(last)

    every = exploration(program, DepthFirst(), Aliases)
    assert every.exhausted
    assert every.outcomes == {0, 1}
    reduced = exploration(program, Dpor(), Aliases)
    assert reduced.exhausted
    assert reduced.redundant == 0
    assert reduced.outcomes == every.outcomes


def test_what_nobody_else_can_reach_is_no_step() -> None:
    def program(rig: Rig) -> Hashable:
        aliases = Aliases()
        rig.run(aliases.fresh, aliases.fresh)
        return "fine"

    assert exploration(program, DepthFirst(), Aliases).traces == 1  # neither thread has a step


def test_a_lost_update_is_seen_in_a_variable_of_a_closure() -> None:
    def program(rig: Rig) -> Hashable:
        add = Corners().of_a_cell()
        rig.run(add, add)
        return add()

    assert exploration(program, Dpor(), Corners).outcomes == {2, 3}


def test_a_line_of_constants_and_locals_is_no_step() -> None:
    def program(rig: Rig) -> Hashable:
        return Corners().talk()

    found = exploration(program, Dpor(), Corners)
    assert not [step.label for run in found.runs for step in run.steps if ".talk:" in step.label]


def test_a_predicate_looks_at_what_its_lines_touch() -> None:
    class Flag:
        def __init__(self) -> None:
            self.up = False

        def raise_it(self) -> None:
            self.up = True

        def is_up(self) -> bool:
            return self.up

    def program(rig: Rig) -> Hashable:
        flag = Flag()
        rig.run(flag.raise_it, lambda: rig.until(flag.is_up))
        return "up"

    found = exploration(program, Dpor(), Flag)
    assert found.outcomes == {"up"}
    until = next(step for step in found.runs[0].steps if step.label == "until")
    assert any(resource.name.endswith(".up") for resource, _ in until.footprint)


def test_a_wait_that_puts_its_record_back_never_has_the_next_record_refused() -> None:
    """The producer looks when the wait has the record, and records when the wait is about to put it back."""

    def program(rig: Rig) -> str:
        device, failed = small.NumberingDevice(), rig.cell(False)
        ready = CpuGpuEvent(device)
        ready.record()

        def producer() -> None:
            rig.until(lambda: failed.get() or not ready.pending, failed)
            ready.record()

        def consumer() -> None:
            device.fail("wait")
            failed.set(small.refused(ready.wait, DeviceError))

        rig.run(producer, consumer)
        return "fine"

    found = exploration(program, Dpor(), CpuGpuEvent)
    assert found.exhausted
    assert found.outcomes == {"fine"}
