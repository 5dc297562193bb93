"""The same programs on the real modules, with real threads, and on the stand-ins, under random schedules."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cpugpu.explore.execution import Execution, Thread, set_current
from cpugpu.explore.standins.patching import standing_in
from cpugpu.explore.standins.threads import expendable

SEEDS = range(40)
#: A program that has not ended by then never will.
STEPS = 20_000


class Deadlock(Exception):
    """Somebody waits for what cannot come any more."""


class Endless(Exception):
    """It goes on and on."""


def explore(program: Callable[[], Any], seed: int, spurious: bool = False) -> Any:
    """Run `program` under one random schedule: what it returns, or what any of its threads raises."""
    returned: list[Any] = []
    chance = random.Random(seed)
    execution = Execution()
    execution.spurious = spurious
    set_current(execution)
    try:
        execution.spawn("main", lambda: returned.append(program()))
        execution.come_up()
        while any(thread.alive and not expendable(thread) for thread in threads(execution)):
            able = execution.enabled()
            if not able:
                raise Deadlock(", ".join(str(thread.next) for thread in threads(execution) if thread.alive))
            if len(execution.steps) > STEPS:
                raise Endless
            execution.take(chance.choice(able), able)
            for thread in threads(execution):
                if thread.exception is not None:
                    raise thread.exception
    finally:
        execution.close()
        set_current(None)
    return returned[0]


def threads(execution: Execution) -> list[Thread]:
    return [actor for actor in execution.actors if isinstance(actor, Thread)]


@pytest.fixture
def modelled() -> Iterator[Callable[..., set[Any]]]:
    """Run a program on the stand-ins under all seeds: the set of what it returns."""

    def run(program: Callable[[], Any], spurious: bool = False) -> set[Any]:
        with standing_in():
            return {explore(program, seed, spurious) for seed in SEEDS}

    yield run


@pytest.fixture(params=["real", "modelled"])
def run(request: pytest.FixtureRequest, modelled: Any) -> Callable[[Callable[[], Any]], object]:
    """Run a program that asserts, on the real modules or on the stand-ins."""

    def real(program: Callable[[], Any]) -> object:
        return program()

    return real if request.param == "real" else modelled


@pytest.fixture
def deadlock() -> type[Deadlock]:
    return Deadlock


@pytest.fixture
def broken() -> tuple[type[BaseException], ...]:
    """What a program may raise that runs on a broken stand-in."""
    return AssertionError, Deadlock, Endless, RuntimeError, AttributeError, LookupError, pytest.fail.Exception
