"""A rule is a sentence and a predicate; the report, the page and the JSON come from these two.

The docstring's first paragraph says what the rule means, the rest why. The predicate looks at a call on an event, or at
two accesses, and returns what is broken: the missing edge in words, the other side, and the smallest fix. It changes
nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from cpugpu.sanitize.allocator import Freed
from cpugpu.sanitize.clocks import Actor
from cpugpu.sanitize.events import Call, Kind
from cpugpu.sanitize.findings import Side
from cpugpu.sanitize.memory import Race, Storage, Ticket
from cpugpu.sanitize.places import Place, RawPlace


class Broken(NamedTuple):
    """What a predicate found."""

    missing: str
    other: Side | None
    fix: str


@dataclass(frozen=True)
class Reuse:
    """The first use of memory that a block which went back too early may have left."""

    freed: Freed
    storage: Storage
    ticket: Ticket


@dataclass(frozen=True)
class Launch:
    """Something is put on a stream of a device that a parent process has used."""

    thread: Actor
    stream: Actor
    what: str
    place: RawPlace | Place | None


@dataclass(frozen=True)
class Rule:
    """A rule: its stable name, the hazards of the catalogue that it is about, what it looks at, and its text."""

    name: str
    hazards: tuple[int, ...]
    on: tuple[Kind, ...]
    text: str

    @property
    def sentence(self) -> str:
        """What the rule means, in one sentence or two."""
        return " ".join(self.text.split("\n\n")[0].split())


#: All rules, by name.
RULES: dict[str, Rule] = {}

_calls: dict[Kind, tuple[tuple[str, Callable[[Call], Broken | None]], ...]] = dict.fromkeys(Kind, ())
_races: list[tuple[str, Callable[[Race], Broken | None]]] = []
_reuses: list[tuple[str, Callable[[Reuse], Broken | None]]] = []
_forked: list[tuple[str, Callable[[Launch], Broken | None]]] = []


def _enter(name: str, hazards: Sequence[int], on: Sequence[Kind], predicate: object) -> None:
    RULES[name] = Rule(name, tuple(hazards), tuple(on), inspect.cleandoc(predicate.__doc__ or ""))


_CallCheck = Callable[[Call], Broken | None]
_RaceCheck = Callable[[Race], Broken | None]
_ReuseCheck = Callable[[Reuse], Broken | None]
_LaunchCheck = Callable[[Launch], Broken | None]


def call_rule(name: str, *, hazards: Sequence[int], on: Sequence[Kind]) -> Callable[[_CallCheck], _CallCheck]:
    """Register a predicate of calls of the kinds `on`."""

    def register(predicate: _CallCheck) -> _CallCheck:
        _enter(name, hazards, on, predicate)
        for kind in on:
            _calls[kind] = (*_calls[kind], (name, predicate))
        return predicate

    return register


def race_rule(name: str, *, hazards: Sequence[int]) -> Callable[[_RaceCheck], _RaceCheck]:
    """Register a predicate of two accesses that nothing orders. The first that holds names the race."""

    def register(predicate: _RaceCheck) -> _RaceCheck:
        _enter(name, hazards, [Kind.RACE], predicate)
        _races.append((name, predicate))
        return predicate

    return register


def reuse_rule(name: str, *, hazards: Sequence[int]) -> Callable[[_ReuseCheck], _ReuseCheck]:
    """Register a predicate of memory that is used again."""

    def register(predicate: _ReuseCheck) -> _ReuseCheck:
        _enter(name, hazards, [Kind.REUSE], predicate)
        _reuses.append((name, predicate))
        return predicate

    return register


def fork_rule(name: str, *, hazards: Sequence[int]) -> Callable[[_LaunchCheck], _LaunchCheck]:
    """Register a predicate of launches in a forked child."""

    def register(predicate: _LaunchCheck) -> _LaunchCheck:
        _enter(name, hazards, [Kind.LAUNCH], predicate)
        _forked.append((name, predicate))
        return predicate

    return register


def broken_by_call(call: Call) -> list[tuple[str, Broken]]:
    """The rules that a call breaks."""
    return [(name, found) for name, check in _calls[call.kind] if (found := check(call)) is not None]


def broken_by_race(race: Race) -> tuple[str, Broken]:
    """The rule that a race breaks: the first that holds."""
    for name, check in _races:
        found = check(race)
        if found is not None:
            return name, found
    raise AssertionError("the last rule of races holds for all")


def broken_by_reuse(reuse: Reuse) -> list[tuple[str, Broken]]:
    """The rules that the use of memory breaks."""
    return [(name, found) for name, check in _reuses if (found := check(reuse)) is not None]


def broken_by_fork(launch: Launch) -> list[tuple[str, Broken]]:
    """The rules that a launch in a forked child breaks."""
    return [(name, found) for name, check in _forked if (found := check(launch)) is not None]
