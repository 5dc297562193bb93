"""The smallest program that fails, as Hypothesis finds it.

A race does not fail each time. So a program is played many times, and what has been found out about it is kept: for
Hypothesis a program fails or passes, once and for all, and nothing is flaky. A program that passed might have failed at
the next try, though; what counts in the end is the smallest one that was *seen* to fail.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity
from hypothesis.strategies import SearchStrategy

from cpugpu.hammer.rig import HammerRig, Standstill, ThreadFailed
from stress.generated.listing import listing
from stress.generated.program import Program, play
from stress.generated.strategies import parts_of, programs
from stress.generated.verdict import complaint

_NO_END = 1 << 30
#: While Hypothesis shrinks, a program is played for so long before it counts as one that passes.
_SHORTEST_SECONDS, _LONGEST_SECONDS = 0.05, 0.5
#: Or for so many times as long as it took to see the first program fail again.
_PATIENCE = 4


@dataclass
class Finding:
    """A program that has failed, and what is to be said about it."""

    program: Program
    complaint: str

    def __str__(self) -> str:
        return f"{self.complaint}\n\n{self.program!r}"


class _Failed(Exception):
    """Tells Hypothesis that a program fails."""


class _Enough(BaseException):
    """Ends Hypothesis, which lets through what is no `Exception`."""


def smallest(
    strategy: SearchStrategy[Program],
    fails: Callable[[Program], str],
    *,
    seed: int = 0,
    examples: int = _NO_END,
    known: Mapping[Program, str] | None = None,
    enough: Callable[[], bool] = lambda: False,
) -> Finding | None:
    """The smallest program for which `fails` gave a complaint (a text that is not empty); None if there was none.

    Hypothesis draws up to `examples` programs from `strategy` until one fails, and shrinks that one. `fails` is called
    once a program, and not for those that are `known`. The search ends before its time when `enough()` is true.
    """
    complaints = dict(known or {})
    best: Finding | None = None

    @hypothesis.seed(seed)
    @hypothesis.settings(
        database=None,
        deadline=None,
        max_examples=examples,
        phases=(Phase.generate, Phase.shrink),
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )
    @hypothesis.given(strategy)
    def search(program: Program) -> None:
        nonlocal best
        if enough():
            raise _Enough
        if program not in complaints:
            complaints[program] = fails(program)
        if complaints[program]:
            if best is None or _size(program) < _size(best.program):
                best = Finding(program, complaints[program])
            raise _Failed

    with suppress(_Failed, _Enough):  # what there is to know is in `best`
        search()
    return best


def _size(program: Program) -> tuple[int, ...]:
    return len(program), len(program.threads), program.count("stream"), program.count("buffer")


class Search:
    """Searches under the hammer, for `seconds`: plays programs on its rig, with `make_event` as the class under test.

    A standstill ends it, too: the threads of that execution cannot be ended.
    """

    def __init__(self, rig: HammerRig, make_event: Callable[[], Any], *, seconds: float, seed: int = 0) -> None:
        self._rig = rig
        self._make_event = make_event
        self._seed = seed
        self._deadline = time.monotonic() + seconds
        self._each_seconds = 0.0  # the least time for a program that passes
        self._stuck = False
        self.programs = 0
        self.plays = 0

    def find(self) -> Finding | None:
        """Let Hypothesis find a program that fails, and shrink it. None if there was none in the time."""

        def fails(program: Program) -> str:
            found = self._play_for(self._each_seconds, program)
            if found:
                self._each_seconds = _SHORTEST_SECONDS
            return found

        finding = smallest(
            programs(until_consumed=hasattr(self._make_event, "pending")), fails, seed=self._seed, enough=self._enough
        )
        return finding and (self.shrink(finding.program) or finding)

    def shrink(self, program: Program) -> Finding | None:
        """Let Hypothesis shrink a program that has failed before. None if it does not fail again in the time."""
        began = time.monotonic()
        found = self._play_for((self._deadline - began) / 2, program)
        if not found:
            return None
        self._each_seconds = min(max(_SHORTEST_SECONDS, _PATIENCE * (time.monotonic() - began)), _LONGEST_SECONDS)
        return smallest(
            parts_of(program),
            lambda part: self._play_for(self._each_seconds, part),
            seed=self._seed,
            known={program: found},
            enough=self._enough,
        ) or Finding(program, found)

    def _enough(self) -> bool:
        return self._stuck or time.monotonic() > self._deadline

    def _play_for(self, seconds: float, program: Program) -> str:
        """Play it until it fails or the time is up; once at least."""
        self.programs += 1
        until = time.monotonic() + seconds
        found = self._play(program)
        while not found and time.monotonic() < until and not self._enough():
            found = self._play(program)
        return found

    def _play(self, program: Program) -> str:
        self.plays += 1
        self._rig.begin(f"{self._seed}/search/{self.plays}")
        try:
            found = complaint(program, play(program, self._rig, self._make_event))
            self._rig.end()
        except ThreadFailed as failure:
            self._stuck = bool(failure.details)
            raised = "".join(traceback.format_exception(failure.__cause__))
            return f"{listing(program)}\n\n{raised}{failure.details}"
        except Standstill as standstill:
            self._stuck = True
            return f"{listing(program)}\n\n{standstill.details}"
        return found
