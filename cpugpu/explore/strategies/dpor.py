"""One schedule a trace: optimal dynamic partial-order reduction with source sets and wakeup trees.

Abdulla, Aronis, Jonsson, Sagonas: Optimal Dynamic Partial Order Reduction (POPL 2014), and Source Sets (JACM 2017).
Schedules that differ only in the order of steps which do not conflict are one trace, and one of them is enough. After
each execution its races are looked at: two conflicting steps that nothing else orders. For each, the beginning of a
schedule in which the second comes first goes into the wakeup tree of the state before the first, unless the trace it
leads to is explored already, which sleep sets tell.

The papers let no step disable another. Here steps block; so

* a step that had to wait for something races with *every* earlier step that it conflicts with and that its own thread
  did not know of: the release of a lock comes between its acquisitions, and can never be the second of a race;
* where those are not all in one order, for it waits for several things at once, it races with several of them together:
  it may be possible before both of two writes, and not before either of them alone;
* the next steps of those who cannot go on at the end race as well: in a deadlock they are the ones that matter;
* whether the second step can be taken in the new place is often known from what was enabled there. Where it is not, it
  is tried. What has relied on it, and was not put into the wakeup tree therefore, is put there when it turns out to be
  impossible. An execution in which nothing else is left to do then is `vain`, and nothing counts as explored by it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from cpugpu.explore.execution import Actor, Key, Step
from cpugpu.explore.happens_before import Order, conflict, race
from cpugpu.explore.operation import Footprint
from cpugpu.explore.run import Ending, Run


@dataclass(slots=True)
class _Branch:
    """A step of a wakeup tree, and what is to come after it. A leaf may go on as it likes.

    `tried`: it is a leaf of which it is not known whether it is possible. `otherwise`: if not, these are to be done.
    """

    key: Key
    footprint: Footprint
    children: list[_Branch] = field(default_factory=list)
    tried: bool = False
    otherwise: list[_Put] = field(default_factory=list)


@dataclass(slots=True)
class _State:
    """A state of the current execution, and the step that is taken there."""

    sleep: dict[Key, Footprint]  # next steps whose traces are explored
    tree: list[_Branch]  # what is left to explore
    taken: Key
    explored: bool = False  # has an execution with this step come to its end?
    footprint: Footprint = ()  # of the step
    otherwise: list[_Put] = field(default_factory=list)  # if the step is impossible


@dataclass(slots=True)
class _Event:
    """A step of the sequence that reverses a race. `index`: in the order that is at hand.

    `after`: the indices of what comes before it in the sequence; None where the order tells.
    """

    key: Key
    footprint: Footprint
    index: int
    after: frozenset[int] | None = None


class _Put(NamedTuple):
    """A sequence for a wakeup tree, with the order that its events are of. `tried`: its end may be impossible."""

    order: Order
    sequence: list[_Event]
    tried: bool


class Dpor:
    """Explores each trace once.

    `redundant` counts executions that were given up because all that they could lead to is explored: it has to be 0.
    `vain`: was the last execution none that counts, for it has only tried out what is impossible?
    """

    exhaustive = True
    to_the_end = True

    def __init__(self) -> None:
        self.redundant = 0
        self.vain = False
        self._path: list[_State] = []
        self._ahead: list[_Branch] = []  # the wakeup tree of the next state
        self._depth = 0
        self._begun = False
        self._impossible = False

    def begin(self) -> bool:
        """Go back to the last state that has something left."""
        self._depth = 0
        if not self._begun:
            self._begun = True
            return True
        while self._path:
            state = self._path[-1]
            if state.explored:
                state.sleep[state.taken] = state.footprint
            if state.tree:
                self._next_of(state)
                return True
            self._path.pop()
        return False

    def choose(self, enabled: Sequence[Actor], current: Actor | None) -> Actor | None:
        """Repeat; then follow the wakeup tree; then go on with who is running, or who is not asleep."""
        depth = self._depth
        self._depth = depth + 1
        if depth and current is not None and current.last is not None:
            self._path[depth - 1].footprint = current.last.footprint
        if depth < len(self._path):
            actor = _find(enabled, self._path[depth].taken)
            if actor is None and depth == len(self._path) - 1:
                return self._instead(self._path[depth], enabled, current)
            self._impossible |= actor is None
            return actor
        sleep = self._inherited(depth)
        tree, self._ahead = self._ahead, []
        if not tree:
            return self._anybody(sleep, enabled, current)
        state = _State(sleep, tree, tree[0].key)
        self._path.append(state)
        self._next_of(state)
        actor = _find(enabled, state.taken)
        return actor if actor is not None else self._instead(state, enabled, current)

    def _next_of(self, state: _State) -> None:
        """Go on with the next branch of a state's tree."""
        branch = state.tree.pop(0)
        state.taken, state.explored, state.otherwise = branch.key, False, branch.otherwise
        self._ahead = branch.children

    def _instead(self, state: _State, enabled: Sequence[Actor], current: Actor | None) -> Actor | None:
        """The step that was to be tried is impossible: do what has relied on it, or what else is left there."""
        while True:
            others, state.otherwise = state.otherwise, []
            for each in others:
                if each.sequence and not _sleeps(state, each):
                    _insert(state.tree, each)
            anything = next((each for each in others if not each.sequence), None)
            if not state.tree:
                if anything is None:
                    self._impossible = True
                    return None
                self._path.pop()
                return self._anybody(state.sleep, enabled, current)
            if anything is not None:
                _insert(state.tree, anything)
            self._next_of(state)
            actor = _find(enabled, state.taken)
            if actor is not None:
                return actor

    def _anybody(self, sleep: dict[Key, Footprint], enabled: Sequence[Actor], current: Actor | None) -> Actor | None:
        awake = [each for each in enabled if each.key not in sleep]
        actor = current if current in awake else next(iter(awake), None)
        if actor is not None:  # else all that this could lead to is explored
            self._path.append(_State(sleep, [], actor.key))
        return actor

    def end(self, run: Run) -> None:
        """Look for races, and note what reverses them."""
        self.vain = self._impossible or bool(self._ahead)  # it has not come to the end of its sequence
        self._ahead, self._impossible = [], False
        if self.vain:
            return
        for state in self._path:
            state.explored = True
        if run.ending is Ending.GIVEN_UP:
            self.redundant += 1
            return
        for state, step in zip(self._path, run.steps, strict=False):
            state.footprint = step.footprint
        order = Order(run.steps)
        for second in range(len(run.steps)):
            self._reverse(order, second)
        for blocked in run.pending:
            actor, operation = blocked.actor, blocked.operation
            if actor.kind == "stream" and not blocked.enabled:
                continue  # what it waits for comes before it in every order, and has not come
            step = Step(actor, operation.label, operation.footprint, (), operation.enabled is not None)
            self._reverse(Order([*run.steps, step]), len(run.steps))

    def _inherited(self, depth: int) -> dict[Key, Footprint]:
        if not depth:
            return {}
        before = self._path[depth - 1]
        return {
            key: footprint
            for key, footprint in before.sleep.items()
            if key != before.taken and not conflict(footprint, before.footprint)
        }

    def _reverse(self, order: Order, second: int) -> None:
        """Note what reverses the races of which the step `second` is the second."""
        for firsts, certain in _races(order, second):
            state = self._path[firsts[0]]
            put = _Put(order, _reversal(order, firsts, second), tried=not certain)
            if not _sleeps(state, put):
                _insert(state.tree, put)


def _sleeps(state: _State, put: _Put) -> bool:
    """Is explored what the sequence leads to?"""
    return any(_may_begin(put.order, put.sequence, *asleep) for asleep in state.sleep.items())


def _find(enabled: Sequence[Actor], key: Key) -> Actor | None:
    for actor in enabled:
        if actor.key == key:
            return actor
    return None


def _races(order: Order, second: int) -> Iterator[tuple[tuple[int, ...], bool]]:
    """What `second` could come before: a step, or several at once. And is it certain that it is possible there?"""
    steps, step = order.steps, order.steps[second]
    previous, number = order.previous[second], order.number[second]
    known = previous if previous >= 0 else step.actor.made_at - 1
    # A stream waits for what comes before it in every order.
    conditional = step.conditional and step.actor.kind != "stream"
    firsts: list[int] = []
    conflicts = order.conflicts[second]
    for first in reversed(conflicts):
        if order.number[first] == number or not race(steps[first].footprint, step.footprint):
            continue
        if known >= 0 and order.before(first, known):
            continue
        if conditional:
            firsts.append(first)
        elif not any(between > first and order.before(first, between) for between in conflicts):
            yield (first,), True  # it does not come before what comes before
    for together in _unordered(order, firsts):
        first = together[0]
        # Steps between that stay before it may make it possible, or impossible.
        same = _waits(order, first, second) and not any(
            first < between and not any(order.before(each, between) for each in together) for between in firsts
        )
        if not same:
            yield together, False
        elif step.actor in steps[first].enabled:
            yield together, True


def _unordered(order: Order, steps: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """The sets of steps none of which comes before another. `steps`: the latest first."""
    yield from ((each,) for each in steps)
    if all(order.before(earlier, later) for later, earlier in itertools.pairwise(steps)):
        return  # they are all in one order
    sets: list[tuple[int, ...]] = [(each,) for each in steps]
    while sets:
        sets = [
            (earlier, *later)
            for later in sets
            for earlier in steps
            if earlier < later[0] and not any(order.before(earlier, each) for each in later)
        ]
        yield from sets


def _waits(order: Order, first: int, second: int) -> bool:
    """Was `second` the next step of its actor already when `first` was taken?"""
    return order.previous[second] < first and order.steps[second].actor.made_at <= first


def _reversal(order: Order, firsts: Sequence[int], second: int) -> list[_Event]:
    """What does not come after any of `firsts`, and then `second`.

    What came between and after one of them is left out, so that it brings nothing before `second` any more.
    """
    steps, previous = order.steps, order.previous[second]
    indices = [
        k
        for k in range(firsts[0] + 1, len(steps))
        if k != second and not any(order.before(first, k) for first in firsts)
    ]
    footprint = steps[second].footprint
    near = [k for k in indices if k == previous or conflict(steps[k].footprint, footprint)]
    after = frozenset(k for k in indices if any(order.before(k, its) for its in near))
    sequence = [_Event(steps[k].actor.key, steps[k].footprint, k) for k in indices]
    return [*sequence, _Event(steps[second].actor.key, footprint, second, after)]


def _may_begin(order: Order, sequence: list[_Event], key: Key, footprint: Footprint) -> bool:
    """Is the next step of `key` a weak initial of `sequence`: could it come first, and `sequence` still be done?"""
    for place, event in enumerate(sequence):
        if event.key == key:
            if event.after is not None:
                return not any(earlier.index in event.after for earlier in sequence[:place])
            return not any(order.before(earlier.index, event.index) for earlier in sequence[:place])
    return not any(conflict(footprint, event.footprint) for event in sequence)


def _insert(tree: list[_Branch], put: _Put) -> None:
    """Put a sequence into a wakeup tree, unless a branch of it leads to the same."""
    order, sequence = put.order, list(put.sequence)
    while sequence:
        for branch in tree:
            if _may_begin(order, sequence, branch.key, branch.footprint):
                place = next((place for place, event in enumerate(sequence) if event.key == branch.key), None)
                if not branch.children:
                    if branch.tried and place is None:  # else what it is itself would be impossible, too
                        branch.otherwise.append(put._replace(sequence=sequence))
                    return
                if place is not None:
                    del sequence[place]
                tree = branch.children
                break
        else:
            for event in sequence:
                branch = _Branch(event.key, event.footprint)
                tree.append(branch)
                tree = branch.children
            branch.tried = put.tried
            return
    leaves = list(_leaves(tree))
    if all(leaf.tried for leaf in leaves):  # it is the beginning of what may be impossible, all of it
        leaves[0].otherwise.append(put._replace(sequence=[]))


def _leaves(tree: Sequence[_Branch]) -> Iterator[_Branch]:
    for branch in tree:
        if branch.children:
            yield from _leaves(branch.children)
        else:
            yield branch
