"""A rule is a sentence and a predicate; the report, the page and the JSON come from these two.

The docstring's first paragraph says what the rule means, the rest why. The predicate looks at a call on an event, at
two accesses, or at one of the other things here, and returns what is broken: the missing edge in words, the other side,
and the smallest fix. It changes nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from cpugpu.sanitize.allocator import Freed
from cpugpu.sanitize.clocks import Actor, Starter
from cpugpu.sanitize.events import Call, Kind
from cpugpu.sanitize.feeds import Put
from cpugpu.sanitize.findings import Side
from cpugpu.sanitize.memory import Race, Storage, Ticket
from cpugpu.sanitize.places import Place, RawPlace

T = TypeVar("T")


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
class Unplaced:
    """`thread` makes something on `device`, its current one, and has chosen none."""

    thread: Actor
    device: str
    starter: Starter


@dataclass(frozen=True)
class Unanswered:
    """`thread` has waited for an item of a queue in vain. Nobody is left who would put one; the last was `put`."""

    thread: Actor
    put: Put


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


class Rules(Generic[T]):
    """Those that look at the same things, which are of these kinds."""

    def __init__(self, *kinds: Kind) -> None:
        self._checks: dict[Kind, list[tuple[str, Callable[[T], Broken | None]]]] = {kind: [] for kind in kinds}

    def rule(
        self, name: str, *, hazards: Sequence[int], on: Sequence[Kind] = ()
    ) -> Callable[[Callable[[T], Broken | None]], Callable[[T], Broken | None]]:
        """Register a predicate, of all kinds or of those `on`."""

        def register(predicate: Callable[[T], Broken | None]) -> Callable[[T], Broken | None]:
            kinds = tuple(on or self._checks)
            RULES[name] = Rule(name, tuple(hazards), kinds, inspect.cleandoc(predicate.__doc__ or ""))
            for kind in kinds:
                self._checks[kind].append((name, predicate))
            return predicate

        return register

    def broken(self, kind: Kind, thing: T) -> list[tuple[str, Broken]]:
        """Those that it breaks."""
        return [(name, found) for name, check in self._checks[kind] if (found := check(thing)) is not None]


calls = Rules[Call](*(Kind.RECORD, Kind.WAIT, Kind.SYNCHRONIZE, Kind.QUERY, Kind.DRAIN, Kind.DESTROY, Kind.END_CAPTURE))
#: The first that holds names the race; the last one always does.
races = Rules[Race](Kind.RACE)
reuses = Rules[Reuse](Kind.REUSE)
#: In a forked child.
launches = Rules[Launch](Kind.LAUNCH)
placings = Rules[Unplaced](Kind.PLACE)
takings = Rules[Unanswered](Kind.TAKE)
