"""One schedule a trace: optimal dynamic partial-order reduction with source sets and wakeup trees.

Abdulla, Aronis, Jonsson, Sagonas: Optimal Dynamic Partial Order Reduction (POPL 2014), and Source Sets (JACM 2017).
Schedules that differ only in the order of steps which do not conflict are one trace, and one of them is enough. After
each execution its races are looked at: two conflicting steps that nothing else orders. For each, the beginning of a
schedule in which the second comes first goes into the wakeup tree of the state before the first, unless the trace it
leads to is explored already, which sleep sets tell.

The papers let no step disable another. Here steps block; so

* a step that had to wait for something races with *every* earlier step that it conflicts with and that its own thread
  did not know of: the release of a lock comes between its acquisitions, and can never be the second of a race;
* the next steps of those who cannot go on at the end race as well: in a deadlock they are the ones that matter;
* whether the second step can be taken in the new place is often known from what was enabled there. Where it is not, it
  is tried, and given up when it turns out to be impossible: such an execution is `vain`, and nothing counts as explored
  by it. (In a wakeup tree an impossible sequence does no harm: what it would stand for is impossible as well.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from cpugpu.explore.execution import Actor, Key, Step
from cpugpu.explore.happens_before import Order, conflict, race
from cpugpu.explore.operation import Footprint
from cpugpu.explore.run import Ending, Run


@dataclass(slots=True)
class _Branch:
    """A step of a wakeup tree, and what is to come after it. A leaf may go on as it likes."""

    key: Key
    footprint: Footprint
    children: list[_Branch] = field(default_factory=list)


@dataclass(slots=True)
class _State:
    """A state of the current execution, and the step that is taken there."""

    sleep: dict[Key, Footprint]  # next steps whose traces are explored
    tree: list[_Branch]  # what is left to explore
    taken: Key
    explored: bool = False  # has an execution with this step come to its end?
    footprint: Footprint = ()  # of the step


@dataclass(slots=True)
class _Event:
    """A step of the sequence that reverses a race. `index`: in the order that is at hand.

    `after`: the indices of what comes before it in the sequence; None where the order tells.
    """

    key: Key
    footprint: Footprint
    index: int
    after: frozenset[int] | None = None


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
                branch = state.tree.pop(0)
                state.taken, state.explored, self._ahead = branch.key, False, branch.children
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
            self._impossible = actor is None
            return actor
        sleep = self._inherited(depth)
        tree = self._ahead
        if tree:
            actor = _find(enabled, tree[0].key)
            if actor is None:
                return None
            self._ahead = tree.pop(0).children
        else:
            awake = [each for each in enabled if each.key not in sleep]
            actor = current if current in awake else next(iter(awake), None)
            if actor is None:
                return None  # explored
            self._ahead = []
        self._path.append(_State(sleep, tree, actor.key))
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
        for second, step in enumerate(run.steps):
            self._reverse(order, second, step.conditional)
        for blocked in run.pending:
            actor, operation = blocked.actor, blocked.operation
            step = Step(actor, operation.label, operation.footprint, (), operation.enabled is not None)
            self._reverse(Order([*run.steps, step]), len(run.steps), step.conditional)

    def _inherited(self, depth: int) -> dict[Key, Footprint]:
        if not depth:
            return {}
        before = self._path[depth - 1]
        return {
            key: footprint
            for key, footprint in before.sleep.items()
            if key != before.taken and not conflict(footprint, before.footprint)
        }

    def _reverse(self, order: Order, second: int, conditional: bool) -> None:
        """Note what reverses the races of which the step `second` is the second."""
        for first in _races(order, second, conditional):
            state, sequence = self._path[first], _reversal(order, first, second)
            if not any(_may_begin(order, sequence, key, footprint) for key, footprint in state.sleep.items()):
                _insert(state.tree, order, sequence)


def _find(enabled: Sequence[Actor], key: Key) -> Actor | None:
    for actor in enabled:
        if actor.key == key:
            return actor
    return None


def _races(order: Order, second: int, conditional: bool) -> Iterator[int]:
    """The steps that race with `second`, the latest first."""
    steps, step = order.steps, order.steps[second]
    previous, number = order.previous[second], order.number[second]
    conflicts = order.conflicts[second]
    for first in reversed(conflicts):
        other = steps[first]
        if order.number[first] == number or not race(other.footprint, step.footprint):
            continue
        known = previous if previous >= 0 else step.actor.made_at - 1
        if known >= 0 and order.before(first, known):
            continue
        if conditional:
            if _waits(order, first, second) and step.actor not in other.enabled:
                continue  # it could not be taken there
        elif any(between > first and order.before(first, between) for between in conflicts):
            continue  # it comes before what comes before
        yield first


def _waits(order: Order, first: int, second: int) -> bool:
    """Was `second` the next step of its actor already when `first` was taken?"""
    return order.previous[second] < first and order.steps[second].actor.made_at <= first


def _reversal(order: Order, first: int, second: int) -> list[_Event]:
    """What does not come after `first`, and then `second`.

    What came between the two and after `first` is left out, so that it brings nothing before `second` any more.
    """
    steps, previous = order.steps, order.previous[second]
    indices = [k for k in range(first + 1, len(steps)) if k != second and not order.before(first, k)]
    footprint = steps[second].footprint
    conflicts = {previous, *order.conflicts[second]}
    near = [k for k in indices if k in conflicts]
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


def _insert(tree: list[_Branch], order: Order, sequence: list[_Event]) -> None:
    """Put `sequence` into a wakeup tree, unless a branch of it leads to the same."""
    sequence = list(sequence)
    while sequence:
        for branch in tree:
            if _may_begin(order, sequence, branch.key, branch.footprint):
                if not branch.children:
                    return
                for place, event in enumerate(sequence):
                    if event.key == branch.key:
                        del sequence[place]
                        break
                tree = branch.children
                break
        else:
            for event in sequence:
                branch = _Branch(event.key, event.footprint)
                tree.append(branch)
                tree = branch.children
            return
