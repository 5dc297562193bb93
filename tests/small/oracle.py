"""The ground truth of small programs: every order of their steps, counted without any of the explorer's code.

A program is a scenario over `rig.cell`, `rig.until`, `rig.run` and `threading.Lock`, `Condition` and `Semaphore`. A
`World` is one execution of it, taken step by step; its threads are greenlets, and what they share is modelled here. A
step is one get, set, update, until, acquire, release, condition wait, wake or notify, together with the thread-local
code that follows it. Starting threads and joining them are no steps. A run ends when a thread has raised, when nobody
can go on, or when all are done. An exception that passes a `with lock` on its way out releases it, which is a step.

There are two counters, of different make, so that each can check the other:

- `interleavings` runs the program anew for each order. It is as plain as can be. `trace_of` then compares runs by the
  ordered pairs of steps that conflict, which is the definition of a trace.
- `measure` walks the graph of trace *prefixes*: all orders that lead to one prefix lead to one state, so it is visited
  once, and the orders are counted as paths. It has the same figures for programs with billions of interleavings.

Two steps *conflict* if they touch one object and one of them writes it: get and until read cells, everything else
writes. A condition wait, and a wake, write the condition and its lock.

What threads share must be cells or primitives. A thread may leave results in a plain list or dictionary of its own for
the main thread. A thread polls with `until`, as an endless loop of gets has endlessly many runs.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple, TypeAlias

import greenlet

from cpugpu.rig import HANG, Grade, Scenario, raised

Name: TypeAlias = "tuple[int, int]"  # the maker (-1 is the main thread), and a count of the maker's
Touches: TypeAlias = "tuple[tuple[Name, bool], ...]"  # objects, and whether they are written


class TooLarge(RuntimeError):
    """The program has more trace prefixes than the caller cares to look at."""


class Step(NamedTuple):
    thread: int
    index: int  # in its thread
    operation: str
    touches: Touches


class _Pending(NamedTuple):
    operation: str
    touches: Touches
    possible: Callable[[], bool]


def _always() -> bool:
    return True


class _Thread:
    def __init__(self, function: Callable[[], object]) -> None:
        self.pending: _Pending | None = None
        self.steps = 0
        self.exception: BaseException | None = None
        self._function = function
        self.greenlet = greenlet.greenlet(self._run)

    def _run(self) -> None:
        try:
            self._function()
        except greenlet.GreenletExit:
            raise
        except BaseException as exception:
            self.exception = exception


class World:
    """One execution: `pending` and `enabled` say what can come next, `take` does it, `outcome` is how it ended."""

    def __init__(self, scenario: Scenario) -> None:
        self.threads: list[_Thread] = []
        self.steps: list[Step] = []
        self.running = -1
        self.over = False
        self._made: Counter[int] = Counter()
        self._result: Hashable = None
        self._hub = greenlet.getcurrent()
        self._main = greenlet.greenlet(self._run_main)
        self._stand_ins = {
            "Lock": lambda: _Lock(self),
            "Condition": lambda lock=None: _Condition(self, lock or _Lock(self)),
            "Semaphore": lambda value=1: _Semaphore(self, value),
        }
        self._switch(self._main, scenario)

    # -- for the driver ----------------------------------------------------------------------------------------------

    def pending(self, thread: int) -> _Pending | None:
        return self.threads[thread].pending

    def enabled(self) -> list[int]:
        """The threads that can take a step, none where a thread has raised."""
        if self.raised is not None:
            return []
        return self.able()

    def able(self) -> list[int]:
        """The threads that could take a step, whatever has been raised."""
        return [i for i, thread in enumerate(self.threads) if thread.pending is not None and thread.pending.possible()]

    @property
    def raised(self) -> BaseException | None:
        return next((thread.exception for thread in self.threads if thread.exception is not None), None)

    def take(self, number: int) -> None:
        thread = self.threads[number]
        assert thread.pending is not None
        assert thread.pending.possible()
        self.steps.append(Step(number, thread.steps, thread.pending.operation, thread.pending.touches))
        thread.steps += 1
        thread.pending = None
        self._resume(number)

    def outcome(self) -> Hashable:
        """Nobody can go on: how did it end?"""
        assert not self.enabled()
        if self.raised is not None:
            return raised(self.raised)
        if any(thread.pending is not None for thread in self.threads):
            return HANG
        self.over = True
        self._switch(self._main)
        return self._result

    def close(self) -> None:
        """End the greenlets where they stand."""
        self.over = True
        for ended in (*(thread.greenlet for thread in self.threads), self._main):
            if ended:
                ended.parent = greenlet.getcurrent()
                ended.throw()

    # -- for the program ---------------------------------------------------------------------------------------------

    def cell(self, value: Any) -> _Cell:
        return _Cell(self, value)

    def until(self, predicate: Callable[[], bool], *cells: _Cell) -> None:
        self.step("until", [(cell, False) for cell in cells], predicate)

    def run(self, *functions: Callable[[], object]) -> None:
        assert not self.threads, "one rig.run per program"
        self.threads = [_Thread(function) for function in functions]
        for number in range(len(functions)):
            self._resume(number)
        self._hub.switch()

    def name(self) -> Name:
        """A name for an object that is being made: the same one whatever other threads have done."""
        self._made[self.running] += 1
        return (self.running, self._made[self.running])

    def step(
        self, operation: str, touches: Iterable[tuple[_Object, bool]], possible: Callable[[], bool] = _always
    ) -> None:
        """Wait until it is this thread's turn. The main thread, and threads that are being ended, do not wait."""
        if self.running < 0 or self.over:
            assert self.over or possible(), f"the main thread would block in {operation}"
            return
        thread = self.threads[self.running]
        thread.pending = _Pending(operation, tuple((thing.name, writes) for thing, writes in touches), possible)
        self._back.switch()

    def _resume(self, number: int) -> None:
        self._back = greenlet.getcurrent()
        thread, before = self.threads[number], self.running
        thread.greenlet.parent = self._back
        self.running = number
        self._switch(thread.greenlet)
        self.running = before

    def _switch(self, to: greenlet.greenlet, *arguments: Any) -> None:
        real = {name: getattr(threading, name) for name in self._stand_ins}
        vars(threading).update(self._stand_ins)
        try:
            to.switch(*arguments)
        finally:
            vars(threading).update(real)

    def _run_main(self, scenario: Scenario) -> None:
        self._result = scenario(self)


class _Object:
    def __init__(self, world: World) -> None:
        self.world = world
        self.name = world.name()


class _Cell(_Object):
    def __init__(self, world: World, value: Any) -> None:
        super().__init__(world)
        self._value = value

    def get(self) -> Any:
        self.world.step("get", [(self, False)])
        return self._value

    def set(self, value: Any) -> None:
        self.world.step("set", [(self, True)])
        self._value = value

    def update(self, function: Callable[[Any], Any]) -> Any:
        self.world.step("update", [(self, True)])
        self._value = function(self._value)
        return self._value


class _Lock(_Object):
    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.held = False

    def acquire(self, blocking: bool = True) -> bool:
        if not blocking:
            self.world.step("try to acquire", [(self, True)])
            if self.held:
                return False
        else:
            self.world.step("acquire", [(self, True)], lambda: not self.held)
        self.held = True
        return True

    def release(self) -> None:
        self.world.step("release", [(self, True)])
        assert self.held or self.world.over, "released a lock that nobody holds"
        self.held = False

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class _Condition(_Object):
    def __init__(self, world: World, lock: _Lock) -> None:
        super().__init__(world)
        self._lock = lock
        self._asleep: list[object] = []  # in the order in which they went to sleep
        self.acquire, self.release = lock.acquire, lock.release

    def wait(self) -> bool:
        both = [(self, True), (self._lock, True)]
        self.world.step("wait", both)
        assert self._lock.held or self.world.over
        ticket = object()
        self._asleep.append(ticket)
        self._lock.held = False
        self.world.step("wake", both, lambda: ticket not in self._asleep and not self._lock.held)
        self._lock.held = True
        return True

    def notify(self, n: int = 1) -> None:
        self.world.step("notify", [(self, True)])
        assert self._lock.held or self.world.over
        del self._asleep[:n]

    def notify_all(self) -> None:
        self.notify(len(self._asleep) + len(self.world.threads))

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class _Semaphore(_Object):
    def __init__(self, world: World, value: int) -> None:
        super().__init__(world)
        self._value = value

    def acquire(self, blocking: bool = True) -> bool:
        if not blocking:
            self.world.step("try to acquire", [(self, True)])
            if not self._value:
                return False
        else:
            self.world.step("acquire", [(self, True)], lambda: self._value > 0)
        self._value -= 1
        return True

    def release(self, n: int = 1) -> None:
        self.world.step("release", [(self, True)])
        self._value += n

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


# -- the plain counter ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """A complete run. `choices`: at each step, the threads that could take it."""

    steps: Sequence[Step]
    choices: Sequence[Sequence[int]]
    outcome: Hashable
    failed: bool
    cut: bool  # a thread raised while others could have gone on

    @property
    def preemptions(self) -> int:
        """How often a thread that could go on did not."""
        return sum(
            before.thread != step.thread and before.thread in able
            for before, step, able in zip(self.steps, self.steps[1:], self.choices[1:], strict=False)
        )


def interleavings(scenario: Scenario) -> Iterator[Run]:
    """All runs, each executed from its beginning."""
    schedule: list[int] = []
    while True:
        world = World(scenario)
        choices = []
        for position in itertools.count():
            able = world.enabled()
            if not able:
                break
            if position == len(schedule):
                schedule.append(able[0])
            choices.append(able)
            world.take(schedule[position])
        cut = world.raised is not None and bool(world.able())
        outcome = world.outcome()
        world.close()
        yield Run(world.steps, choices, outcome, failed(scenario, outcome), cut)
        while schedule and schedule[-1] == choices[len(schedule) - 1][-1]:
            schedule.pop()
        if not schedule:
            return
        able = choices[len(schedule) - 1]
        schedule[-1] = able[able.index(schedule[-1]) + 1]


def failed(scenario: Scenario, outcome: Hashable) -> bool:
    return scenario.grade(outcome)[0] is Grade.FORBIDDEN


def conflict(first: Touches, second: Touches) -> bool:
    return any(a == b and (write or other) for a, write in first for b, other in second)


def trace_of(steps: Sequence[Step], dependent: Callable[[Touches, Touches], bool] = conflict) -> Hashable:
    """The trace that a run belongs to: its steps, and the order of those that depend on each other."""
    ordered = frozenset(
        (first[:2], second[:2])
        for first, second in itertools.combinations(steps, 2)
        if first.thread != second.thread and dependent(first.touches, second.touches)
    )
    return frozenset(steps), ordered


# -- the counter for large programs -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Figures:
    """What is known of a program: see `tests.small.programs`. `outcomes` counts interleavings, `ends` traces."""

    interleavings: int
    failing: int
    traces: int | None
    failing_traces: int | None
    passing_traces: int
    preemptions: int | None
    bounded: tuple[int, int, int]
    outcomes: Mapping[Hashable, int]
    ends: Mapping[Hashable, int]
    prefixes: int


#: A prefix of a trace: for each thread, the number of writes that each touch of each of its steps came after. This
#: says in which order any two conflicting steps came, and nothing about any others.
Prefix: TypeAlias = "tuple[tuple[int, ...], ...]"


@dataclass
class _Node:
    after: dict[int, Prefix]
    outcome: Hashable = None
    failed: bool = False
    cut: bool = False


def graph(scenario: Scenario, limit: int | None = None) -> tuple[Prefix, dict[Prefix, _Node]]:
    """The first prefix, and for every prefix what comes after it. `TooLarge` if there are more than `limit`."""
    nodes: dict[Prefix, _Node] = {}
    first: Prefix | None = None
    todo: list[tuple[list[int], Prefix | None]] = [([], None)]
    while todo:
        schedule, prefix_to_be = todo.pop()
        if prefix_to_be in nodes:
            continue
        world = World(scenario)
        writes: Counter[Name] = Counter()
        prefix: Prefix = ((),) * len(world.threads)
        if first is None:
            first = prefix
        for thread in schedule:
            prefix = _longer(world, prefix, writes, thread)
            writes.update(_written(world, thread))
            world.take(thread)
        schedule = list(schedule)
        while prefix not in nodes:
            if limit is not None and len(nodes) >= limit:
                world.close()
                raise TooLarge(scenario.name)
            able = world.enabled()
            node = nodes[prefix] = _Node({thread: _longer(world, prefix, writes, thread) for thread in able})
            if not able:
                node.cut = world.raised is not None and bool(world.able())
                node.outcome = world.outcome()
                node.failed = failed(scenario, node.outcome)
                break
            new = [thread for thread in able if node.after[thread] not in nodes]
            if not new:
                break
            todo += [([*schedule, thread], node.after[thread]) for thread in new[1:]]
            prefix = node.after[new[0]]
            writes.update(_written(world, new[0]))
            world.take(new[0])
            schedule.append(new[0])
        world.close()
    assert first is not None
    return first, nodes


def _written(world: World, thread: int) -> list[Name]:
    pending = world.pending(thread)
    assert pending is not None
    return [name for name, write in pending.touches if write]


def _longer(world: World, prefix: Prefix, writes: Mapping[Name, int], thread: int) -> Prefix:
    pending = world.pending(thread)
    assert pending is not None
    numbers = prefix[thread] + tuple(writes[name] for name, _ in pending.touches)
    return (*prefix[:thread], numbers, *prefix[thread + 1 :])


def measure(scenario: Scenario, limit: int | None = None) -> Figures:
    """All figures of a program. `TooLarge` if it has more than `limit` trace prefixes."""
    first, nodes = graph(scenario, limit)

    known: dict[tuple[Prefix, int | None], tuple[list[int], list[int]]] = {}

    def count(prefix: Prefix, last: int | None) -> tuple[list[int], list[int]]:
        """The runs from `prefix` on, by their preemptions, where thread `last` moved last: all, and failing ones."""
        node = nodes[prefix]
        if last not in node.after:
            last = None  # it could not go on: no switch is a preemption
        if not node.after:
            return [1], [int(node.failed)]
        if (prefix, last) not in known:
            total: list[int] = []
            bad: list[int] = []
            for thread, longer in node.after.items():
                shift = int(last is not None and thread != last)
                for mine, theirs in zip((total, bad), count(longer, thread), strict=True):
                    mine.extend([0] * (len(theirs) + shift - len(mine)))
                    for preemptions, number in enumerate(theirs):
                        mine[preemptions + shift] += number
            known[prefix, last] = total, bad
        return known[prefix, last]

    total, bad = count(first, None)
    paths = _paths(first, nodes)
    outcomes: Counter[Hashable] = Counter()
    ends: Counter[Hashable] = Counter()
    last = [(prefix, node) for prefix, node in nodes.items() if not node.after]
    for prefix, node in last:
        outcomes[node.outcome] += paths[prefix]
        ends[node.outcome] += 1
    defined = not any(node.cut for _, node in last)
    passing = sum(not node.failed for _, node in last)
    return Figures(
        interleavings=sum(total),
        failing=sum(bad),
        traces=len(last) if defined else None,
        failing_traces=len(last) - passing if defined else None,
        passing_traces=passing,
        preemptions=next((preemptions for preemptions, number in enumerate(bad) if number), None),
        bounded=(sum(total[:1]), sum(total[:2]), sum(total[:3])),
        outcomes=outcomes,
        ends=ends,
        prefixes=len(nodes),
    )


def _paths(first: Prefix, nodes: Mapping[Prefix, _Node]) -> Counter[Prefix]:
    """How many orders of steps lead to each prefix."""
    paths: Counter[Prefix] = Counter({first: 1})
    level = [first]
    while level:
        following: dict[Prefix, None] = {}
        for prefix in level:
            for longer in nodes[prefix].after.values():
                paths[longer] += paths[prefix]
                following[longer] = None
        level = list(following)
    return paths
