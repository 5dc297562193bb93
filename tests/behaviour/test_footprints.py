"""A footprint never says too little: steps that do not conflict can be swapped, and nobody sees a difference.

Each program runs under random schedules; then two neighbours of the schedule that are said not to conflict change
places, and all else must be as it was.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest

from cpugpu.explore.execution import Execution, Step, Thread, set_current
from cpugpu.explore.operation import READ
from cpugpu.explore.standins import events, futures, locks, queues, threads
from cpugpu.explore.standins.patching import standing_in
from cpugpu.explore.standins.threads import expendable
from tests import test_standins_patching
from tests.behaviour import test_futures, test_locks, test_queues, test_threads

MODULES = (test_locks, test_queues, test_futures, test_threads)
#: Reading a clock is no step, and what a clock tells depends on all that went before.
TIMED = {"clocks_go_on_and_sleep_takes_as_long_as_it_says"}
PROGRAMS = [program for module in MODULES for program in module.PROGRAMS if program.__name__ not in TIMED]
PROGRAMS.append(test_standins_patching.with_names_from_before)
SEEDS, SWAPS = range(4), 6


class Different(AssertionError):
    """The swap made a difference."""


def play(program: Callable[[], Any], choose: Callable[[Execution, list[Any]], Any]) -> list[Step]:
    execution = Execution()
    set_current(execution)
    try:
        execution.spawn("main", program)
        execution.come_up()
        while any(isinstance(a, Thread) and a.alive and not expendable(a) for a in execution.actors):
            able = execution.enabled()
            execution.take(choose(execution, able), able)
        for actor in execution.actors:
            if isinstance(actor, Thread) and actor.exception is not None:
                raise actor.exception
        return execution.steps
    finally:
        execution.close()
        set_current(None)


def follow(keys: list[Any]) -> Callable[[Execution, list[Any]], Any]:
    def choose(execution: Execution, able: list[Any]) -> Any:
        at = len(execution.steps)
        for actor in able:
            if at < len(keys) and actor.key == keys[at]:
                return actor
        raise Different(f"step {at} of {keys[at] if at < len(keys) else 'nobody'} cannot be taken")

    return choose


def conflict(one: Step, other: Step) -> bool:
    return any(
        resource is touched and not (access is READ and how is READ)
        for resource, access in one.footprint
        for touched, how in other.footprint
    )


def story(taken: list[Step]) -> dict[Any, list[str]]:
    """What each actor has done."""
    told: dict[Any, list[str]] = {}
    for step in taken:
        told.setdefault(step.actor.key, []).append(step.label)
    return told


def swap_neighbours(program: Callable[[], Any]) -> int:
    """How many were swapped."""
    swapped = 0
    for seed in SEEDS:
        chance = random.Random(seed)
        taken = play(program, lambda _, able, chance=chance: chance.choice(able))
        keys = [step.actor.key for step in taken]
        places = [
            at
            for at, (one, other) in enumerate(itertools.pairwise(taken))
            if one.actor is not other.actor and not conflict(one, other)
        ]
        for at in chance.sample(places, min(SWAPS, len(places))):
            again = play(program, follow([*keys[:at], keys[at + 1], keys[at], *keys[at + 2 :]]))
            if story(again) != story(taken):
                raise Different(f"{taken[at].label!r} and {taken[at + 1].label!r} do not commute")
            swapped += 1
    return swapped


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_steps_that_do_not_conflict_commute(program: Callable[[], Any]) -> None:
    with standing_in():
        swap_neighbours(program)


# -- mutants: a footprint that says too little is found ----------------------------------------------------------------


def _nothing(make: Callable[..., None], *names: str) -> Callable[..., None]:
    """A constructor after which the footprints `names` are empty."""

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        make(self, *args, **kwargs)
        for name in names:
            setattr(self, name, ())

    return init


def _ends_unseen(self: Any, verb: str, access: Any, ready: Any = None, timeout: Any = None) -> bool:
    return threads.take(threads.Operation(f"{verb} {self.resource.name}", (), ready, timeout=timeout))


@pytest.mark.parametrize(
    ("program", "owner", "name", "mutant"),
    [
        (
            test_locks.a_bounded_buffer_neither_loses_nor_doubles,
            locks.Lock,
            "__init__",
            _nothing(locks.Lock.__init__, "writes"),
        ),
        (
            test_locks.a_bounded_buffer_neither_loses_nor_doubles,
            locks.Condition,
            "__init__",
            _nothing(locks.Condition.__init__, "_both", "_writes"),
        ),
        (
            test_locks.an_event_holds_all_until_it_is_set,
            events.Event,
            "__init__",
            _nothing(events.Event.__init__, "writes"),
        ),
        (
            test_locks.a_barrier_lets_nobody_pass_before_all_have_come,
            events.Barrier,
            "__init__",
            _nothing(events.Barrier.__init__, "writes"),
        ),
        (
            test_queues.who_puts_waits_for_room,
            queues.Queue,
            "__init__",
            _nothing(queues.Queue.__init__, "writes"),
        ),
        (test_futures.a_future_hands_its_result_over, futures.Future, "_take", _ends_unseen),
    ],
    ids=lambda value: value if isinstance(value, str) else getattr(value, "__name__", None),
)
def test_a_footprint_that_says_too_little_is_found(
    monkeypatch: Any, program: Any, owner: Any, name: str, mutant: Any
) -> None:
    monkeypatch.setattr(owner, name, mutant)
    with standing_in(), pytest.raises(AssertionError):
        swap_neighbours(program)


def test_neighbours_are_swapped() -> None:
    with standing_in():
        assert sum(swap_neighbours(program) for program in PROGRAMS[:10]) > 20
