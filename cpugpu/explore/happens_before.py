"""Which step comes before which, whatever the schedule: the partial order that an execution is one linearisation of."""

from __future__ import annotations

from collections.abc import Sequence

from cpugpu.explore.execution import Actor, Key, Step
from cpugpu.explore.operation import ORDERED, READING, Access, Footprint, Resource


def conflict(one: Footprint, other: Footprint) -> bool:
    """Do two steps touch one resource, and does one of them write it?"""
    for resource, access in one:
        for its, its_access in other:
            if its.key == resource.key and (access not in READING or its_access not in READING):
                return True
    return False


def race(one: Footprint, other: Footprint) -> bool:
    """The same, in a way in which either could be first."""
    for resource, access in one:
        if access in ORDERED:
            continue
        for its, its_access in other:
            if (
                its.key == resource.key
                and its_access not in ORDERED
                and (access not in READING or its_access not in READING)
            ):
                return True
    return False


class Order:
    """The happens-before of a sequence of steps: which of two comes first in every schedule of this trace.

    A vector clock a step, over actors in the order of their first steps: the step b is after the n-th step of an actor
    if its clock has n or more there.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        self.steps = steps
        self._numbers: dict[Key, int] = {}
        self.number: list[int] = []  # of each step's actor
        self.position: list[int] = []  # of each step among those of its actor, from 1
        self.clocks: list[list[int]] = []
        #: The predecessor of each step among those of its actor, -1 for none.
        self.previous: list[int] = []
        #: The steps before each that it conflicts with, in order.
        self.conflicts: list[list[int]] = []
        self._touching: dict[object, list[tuple[int, Access]]] = {}  # the steps that touch a resource, in order
        self._last: list[int] = []
        for step in steps:
            self._add(step)

    def _add(self, step: Step) -> None:
        index = len(self.clocks)
        key = step.actor.key
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._numbers)
            self._last.append(-1)
        previous = self._last[number]
        clock = list(self.clocks[previous]) if previous >= 0 else []
        conflicts: set[int] = set()
        for resource, access in step.footprint:
            ordered = False  # after a write, and so after all that was before that
            for its, its_access in reversed(self._touching.setdefault(resource.key, [])):
                if access in READING and its_access in READING:
                    continue
                conflicts.add(its)
                if not ordered:
                    _join(clock, self.clocks[its])
                    ordered = its_access not in READING
        while len(clock) <= number:
            clock.append(0)
        clock[number] += 1
        for resource, access in step.footprint:
            self._touching[resource.key].append((index, access))
        self.conflicts.append(sorted(conflicts))
        self.clocks.append(clock)
        self.number.append(number)
        self.position.append(clock[number])
        self.previous.append(previous)
        self._last[number] = index

    def before(self, first: int, second: int) -> bool:
        """Is the step at `first` before the one at `second`, or the same?"""
        clock, number = self.clocks[second], self.number[first]
        return number < len(clock) and clock[number] >= self.position[first]

    def last_of(self, actor: Actor) -> int:
        """The last step of an actor, -1 for none."""
        number = self._numbers.get(actor.key)
        return -1 if number is None else self._last[number]


def _join(clock: list[int], other: list[int]) -> None:
    for number, count in enumerate(other):
        if number >= len(clock):
            clock.append(count)
        elif clock[number] < count:
            clock[number] = count


def resources(footprint: Footprint) -> set[object]:
    """The keys of what a step touches."""
    return {resource.key for resource, _ in footprint}


__all__ = ["Order", "Resource", "conflict", "race", "resources"]
