"""The engine `explore`: the explorer, with as many schedules of each program as are fixed here.

A mutant meets one stage after the other: first the small programs about its part, of each of which every trace can be
tried; then the catalogue, without preemption and with one. What it is killed by is no matter of time or chance: it is
the same each time, and the seconds that are given are only for when to stop.

What is seen by a schedule that leads to a forbidden outcome is killed. A demonstration (`racy`) is broken by a mutant
when it does not show its outcome in any. A mutant that survives, with all traces of the small programs tried, does the
same as the code in all of these.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from cpugpu import CpuGpuEvent, settings
from cpugpu.debug import InstrumentedEvent
from cpugpu.explore.lines import traced
from cpugpu.explore.rig import Place
from cpugpu.explore.run import Ending, execute
from cpugpu.explore.standins.patching import standing_in
from cpugpu.explore.strategies.dfs import DepthFirst
from cpugpu.explore.strategies.dpor import Dpor
from cpugpu.explore.strategies.wrappers import Deterministic
from cpugpu.explore.watchdog import watched
from cpugpu.gate import Gate
from cpugpu.rig import Scenario
from stress.mutants.catalogue import scenarios_for
from stress.mutants.engines import Kill
from stress.mutants.inner import DEVICE, LARGER, RULES, in_real_time
from stress.mutants.mutant import Part
from stress.mutants.small import SMALL

#: Its name in the matrix.
EXPLORE = "explore"
LINES = (CpuGpuEvent, Gate)
#: Of these there is no model: a socket, a process, a signal.
UNMODELLED = ("coroutine", "cancelled_coroutine", "forked", "spawned", "interrupted_wait")


@dataclass(frozen=True)
class Stage:
    """So many schedules of each program: those with up to `bound` preemptions, or (None) one of each trace.

    `trace`: the classes of which each line is a step. `proves`: every trace is to be tried.
    """

    programs: Sequence[Scenario]
    bound: int | None
    most: int
    trace: tuple[type, ...] = ()
    proves: bool = False

    def strategy(self) -> DepthFirst | Dpor:
        """A new search."""
        return Dpor() if self.bound is None else DepthFirst(self.bound)


@dataclass(frozen=True)
class Found:
    """What a search has come to: a failing outcome, or that there is none, or (`reason`) why it has ended early."""

    outcome: str = ""
    exhausted: bool = False
    schedules: int = 0
    reason: str = ""


def stages(part: Part | None) -> list[Stage]:
    """What a mutant of `part` meets; None: the code as it is meets everything."""
    if part is None:
        return [*stages("event"), *stages("device"), *stages("rules")]
    if part == "event":
        catalogue = _catalogue(part, CpuGpuEvent)
        return [
            Stage(SMALL, None, 5000, proves=True),
            Stage(catalogue, 0, 5),
            Stage(SMALL, None, 20_000, LINES, proves=True),
            Stage(catalogue, 1, 10),
        ]
    if part == "device":
        facts = [each for each in _catalogue(part, CpuGpuEvent) if each.module.startswith("stress.stress_device_")]
        later = [in_real_time(each) for each in facts]
        return [
            Stage(facts, 0, 20),
            Stage(DEVICE, None, 5000, proves=True),
            Stage(facts, 1, 10),
            Stage(later, 0, 10),
            Stage(LARGER, 0, 300),
            Stage(facts, 1, 100),
            Stage(later, 1, 30),
        ]
    return [Stage(RULES, 0, 10), Stage(_catalogue(part, InstrumentedEvent), 0, 5)]


def _catalogue(part: Part, subject: Any) -> list[Scenario]:
    """The scenarios that the explorer can run: of devices, or of the subject. Rules have programs of their own here."""
    return [
        each
        for each in scenarios_for(part, subject, Place())  # type: ignore[arg-type]  # it has what is asked of a device
        if each.name not in UNMODELLED and bool(each.subject_name) == (part != "device")
    ]


def explore_mutant(
    part: Part | None,
    *,
    seconds: float,
    begins: Callable[[str], None] = lambda _: None,
    given: Sequence[Stage] | None = None,
) -> Kill:
    """Put the code as it is now to the stages for `part`, or to those `given`. `begins`: as of the other engines."""
    began = time.monotonic()
    proved: dict[str, bool] = {}
    for stage in stages(part) if given is None else given:
        with exploring(stage.trace):
            for program in stage.programs:
                found = search(program, stage, began + seconds, begins)
                if found.outcome:
                    return Kill(True, time.monotonic() - began, program.name, found.outcome)
                if stage.proves:
                    proved[program.name] = proved.get(program.name, True) and found.exhausted
        if time.monotonic() - began >= seconds:
            return Kill(False, time.monotonic() - began)
    return Kill(False, time.monotonic() - began, proved=len(proved) if all(proved.values()) else 0)


@contextmanager
def exploring(trace: Sequence[type] = ()) -> Iterator[None]:
    """As within `cpugpu.explore()`, which does more: it keeps failing schedules, and makes them minimal."""
    with ExitStack() as stack:
        stack.enter_context(watched())
        stack.enter_context(standing_in())
        stack.enter_context(traced(trace))
        stack.enter_context(settings.stalls_by_default_after(None))
        yield


def search(program: Scenario, stage: Stage, deadline: float, begins: Callable[[str], None] = lambda _: None) -> Found:
    """Try the schedules up to the first failing one. To be called within `exploring`."""
    strategy = stage.strategy()
    checked = Deterministic(strategy)
    schedules = 0
    while schedules < stage.most:
        if time.monotonic() >= deadline:
            return Found(schedules=schedules, reason="the time was up")
        if not checked.begin():
            exhausted = not (isinstance(strategy, DepthFirst) and strategy.cut)
            missing = "not shown" if program.racy and exhausted else ""
            return Found(missing, exhausted, schedules)
        begins(program.name)
        run = execute(program, checked.choose, to_the_end=strategy.to_the_end)
        checked.end(run)
        if checked.difference:
            return Found(schedules=schedules, reason=f"it is not deterministic: {checked.difference}")
        if run.ending is Ending.GIVEN_UP or getattr(strategy, "vain", False):
            continue
        if not run.complete:
            return Found(schedules=schedules, reason=run.details or run.ending.value)
        schedules += 1
        if run.failed:
            return (
                Found(exhausted=True, schedules=schedules)
                if program.racy
                else Found(str(run.outcome), False, schedules)
            )
    return Found(schedules=schedules)
