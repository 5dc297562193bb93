"""What all of the model shares: its lock, and how a broken rule becomes a finding."""

from __future__ import annotations

import functools
import threading
from collections import deque
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

import cpugpu.sanitize.race_rules
import cpugpu.sanitize.rules
import cpugpu.sanitize.thread_rules  # noqa: F401 - these three register their rules
from cpugpu.sanitize.clocks import Actors
from cpugpu.sanitize.events import Call, Kind
from cpugpu.sanitize.findings import Finding, Findings, Side
from cpugpu.sanitize.memory import Race, Storage, Ticket
from cpugpu.sanitize.places import Place, RawPlace, place_of
from cpugpu.sanitize.race_rules import side_of
from cpugpu.sanitize.registry import (
    Broken,
    Launch,
    Reuse,
    Unanswered,
    Unplaced,
    calls,
    launches,
    placings,
    races,
    reuses,
    takings,
)

P = ParamSpec("P")
T = TypeVar("T")
M = TypeVar("M", bound="Core")


class Core:
    """The lock, and the findings.

    The lock is an `RLock`, for a finalizer or a signal handler may come in the midst of an entry of its own thread.
    What it enters is `deferred` then until that entry is made.
    """

    def __init__(self, is_suppressed: Callable[[Finding], bool] | None = None) -> None:
        self.lock = threading.RLock()
        self.inside = False
        self.deferred: deque[Callable[[], object]] = deque()
        self.actors = Actors()
        self.findings = Findings(is_suppressed)

    def catch_up(self) -> None:
        """Enter what was deferred. The lock is held, and no entry is being made."""
        while self.deferred:
            self.deferred.popleft()()

    def found_call(self, call: Call) -> None:
        """Check a call on an event."""
        if call.is_steady:
            return
        for name, broken in calls.broken(call.kind, call):
            self._add(name, call.event.name, call.side, broken)

    def found_races(self, found: list[Race]) -> None:
        """Report them."""
        for race in found:
            name, broken = races.broken(Kind.RACE, race)[0]
            first, last = race.bytes
            subject = f"{race.storage.name}, bytes {first} to {last}"
            finding = self._add(name, subject, side_of(race.later, race.later_writes, race), broken)
            if finding.count == 1:
                finding.notes += self._who_knows(race)

    def found_reuse(self, storage: Storage, ticket: Ticket) -> None:
        """Check the first use of memory that somebody may still use."""
        suspects, storage.suspects = storage.suspects, []
        actor, _, thread, what, place = ticket
        for freed in suspects:
            if freed.reported or actor.knows(freed.access[0], freed.access[1]):
                continue
            freed.reported = True
            for name, broken in reuses.broken(Kind.REUSE, Reuse(freed, storage, ticket)):
                side = Side(f"{what} uses {storage.name}", place_of(place), thread.name, actor.name)
                self._add(name, freed.storage, side, broken)

    def found_launch(self, launch: Launch) -> None:
        """Check a launch in a forked child."""
        side = Side(launch.what, place_of(launch.place), launch.thread.name, launch.stream.name)
        for name, broken in launches.broken(Kind.LAUNCH, launch):
            self._add(name, launch.stream.name, side, broken)

    def found_placing(self, made: Unplaced, what: str, place: RawPlace | Place | None) -> None:
        """Check what a thread makes on its current device."""
        for name, broken in placings.broken(Kind.PLACE, made):
            self._add(
                name, made.device, Side(f"{what} on the current device", place_of(place), made.thread.name), broken
            )

    def found_taking(self, taking: Unanswered, place: RawPlace | Place | None) -> None:
        """Check a wait at a queue that was in vain."""
        for name, broken in takings.broken(Kind.TAKE, taking):
            self._add(name, "a queue", Side("get() from a queue", place_of(place), taking.thread.name), broken)

    def _add(self, rule: str, subject: str, first: Side, broken: Broken) -> Finding:
        return self.findings.add(Finding(rule, subject, first, broken.other, broken.missing, broken.fix))

    def _who_knows(self, race: Race) -> list[str]:
        """A thread that has waited for the earlier access, where the one that comes later is another one's."""
        earlier, count = race.earlier[0], race.earlier[1]
        launcher = race.later[2]
        if not earlier.is_stream:
            return []
        names = sorted(
            thread.name for thread in self.actors.threads if thread is not launcher and thread.knows(earlier, count)
        )
        return [
            f"thread {name} has waited for {earlier.name} since, and nothing orders thread {launcher.name} after that"
            for name in names[:1]
        ]


def entry(method: Callable[Concatenate[M, P], None]) -> Callable[Concatenate[M, P], None]:
    """Make a method one step. In the midst of another step of the same thread it is put off until that is made."""

    @functools.wraps(method)
    def step(self: M, /, *args: P.args, **kwargs: P.kwargs) -> None:
        with self.lock:
            if self.inside:
                self.deferred.append(functools.partial(step, self, *args, **kwargs))
                return
            self.inside = True
            try:
                method(self, *args, **kwargs)
            finally:
                self.inside = False
                if self.deferred:
                    self.catch_up()

    return step


def answer(method: Callable[Concatenate[M, P], T]) -> Callable[Concatenate[M, P], T]:
    """Make a method one step that cannot be put off, for it has an answer. It only reads, or adds to what is new."""

    @functools.wraps(method)
    def step(self: M, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with self.lock:
            return method(self, *args, **kwargs)

    return step
