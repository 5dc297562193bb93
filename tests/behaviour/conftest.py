"""The same programs on the real modules, with real threads, and on the stand-ins, under random schedules."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any

import pytest

from cpugpu.explore.execution import Execution, Thread, set_current
from cpugpu.explore.standins.patching import standing_in
from cpugpu.explore.standins.threads import expendable

SEEDS = range(20)
#: A program that has not ended by then never will.
STEPS = 20_000


class Deadlock(Exception):
    """Somebody waits for what cannot come any more."""


class Endless(Exception):
    """It goes on and on."""


def explore(program: Callable[[], Any], seed: int, spurious: bool = False, labels: list[str] | None = None) -> Any:
    """Run `program` under one random schedule: what it returns, or what any of its threads raises."""
    returned: list[Any] = []
    chance = random.Random(seed)
    execution = Execution()
    execution.spurious = int(spurious)
    set_current(execution)
    try:
        execution.spawn("main", lambda: returned.append(program()))
        execution.come_up()
        while any(thread.alive and not expendable(thread) for thread in threads_of(execution)):
            able = execution.enabled()
            if not able:
                raise Deadlock(", ".join(str(thread.next) for thread in threads_of(execution) if thread.alive))
            if len(execution.steps) > STEPS:
                raise Endless
            step = execution.take(chance.choice(able), able)
            if labels is not None:
                labels.append(step.label)
            if execution.unmodelled is not None:
                raise execution.unmodelled
            for thread in threads_of(execution):
                if thread.exception is not None:
                    raise thread.exception
    finally:
        execution.close()
        set_current(None)
    return returned[0]


def threads_of(execution: Execution) -> list[Thread]:
    return [actor for actor in execution.actors if isinstance(actor, Thread)]


@pytest.fixture
def modelled() -> Callable[..., set[Any]]:
    """Run a program on the stand-ins under all seeds: the set of what it returns."""

    def run(program: Callable[[], Any], spurious: bool = False) -> set[Any]:
        with standing_in():
            return {explore(program, seed, spurious) for seed in SEEDS}

    return run


@pytest.fixture(params=["real", "modelled"])
def run(
    request: pytest.FixtureRequest, modelled: Any, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[], Any]], object]:
    """Run a program that asserts, on the real modules or on the stand-ins."""

    if request.param == "modelled":
        return modelled
    raised: list[BaseException] = []

    def hook(arguments: Any) -> None:
        if arguments.exc_type is not SystemExit:
            raised.append(arguments.exc_value)

    def real(program: Callable[[], Any]) -> object:
        monkeypatch.setattr(threading, "excepthook", hook)
        returned = program()
        if raised:
            raise raised[0]
        return returned

    return real


@pytest.fixture
def steps() -> Callable[[Callable[[], Any]], list[str]]:
    """Run a program on the stand-ins once: the labels of its steps."""

    def run(program: Callable[[], Any]) -> list[str]:
        labels: list[str] = []
        with standing_in():
            explore(program, seed=0, labels=labels)
        return labels

    return run


@pytest.fixture
def deadlock() -> type[Deadlock]:
    return Deadlock


@pytest.fixture
def broken() -> tuple[type[BaseException], ...]:
    """What a program may raise that runs on a broken stand-in."""
    return AssertionError, Deadlock, Endless, RuntimeError, AttributeError, LookupError, pytest.fail.Exception
