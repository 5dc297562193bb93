"""A rule is a sentence and a predicate; the registry, the page, the journal entry, the exception come from these two.

The docstring's first paragraph says what the rule means, the rest why. The predicate looks at an operation and at what
is known of the event, and returns the message if the rule is broken. It has no side effects, calls no driver and takes
no lock: it runs in the threads under test.
"""

from __future__ import annotations

import enum
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cpugpu.debug.defects import note
from cpugpu.debug.operation import Kind, Operation
from cpugpu.debug.state import EventState

Predicate = Callable[[EventState, Operation], "str | None"]


class Moment(enum.Enum):
    """When a rule is checked. What is found at one of the first five can stop the thread that breaks the rule."""

    BEGIN = "before the call"
    STREAM = "before the call, if anything about its stream is not as it was the last time"
    FORKED = "before a call in a forked child"
    HANDED = "when a wait has its record, before the device wait"
    BLOCKED = "while a wait blocks"
    SLOW = "after a call of 10 ms or more"
    LIFE = "when an event comes to its end, or no thread can run"
    STANDING = "while nobody consumes a record"
    MEASURED = "when the device time is known"


@dataclass(frozen=True)
class Rule:
    """A rule: its stable name, when and for what it is checked, and what its page says.

    `hazards` are rows of the catalogue of hazards, `bugs` real ones by their trackers' numbers, `fix` what to do.
    `advice`: a heuristic, or a matter of speed; it is reported and never raised. `also`: the exception raised for it
    is of this type as well, for this is what the production class would raise.
    """

    name: str
    hazards: tuple[int, ...]
    moment: Moment
    kinds: tuple[Kind, ...]
    bugs: str
    fix: str
    check: Predicate
    text: str
    advice: bool = False
    also: type[Exception] | None = None

    @property
    def sentence(self) -> str:
        """What the rule means, in one sentence or two."""
        return " ".join(self.text.split("\n\n")[0].split())

    @property
    def raises(self) -> bool:
        """Does the thread that breaks it get `ProtocolViolation` in `raise` mode?"""
        return not self.advice and self.moment in _IN_TIME


_RECORD, _WAIT = Kind.RECORD, Kind.WAIT
_IN_TIME = (Moment.BEGIN, Moment.STREAM, Moment.FORKED, Moment.HANDED, Moment.BLOCKED)

#: All rules, by name.
RULES: dict[str, Rule] = {}

Checks = tuple[tuple[str, Predicate], ...]
_by_moment: dict[Moment, dict[Kind, Checks]] = {moment: {} for moment in Moment}


def rule(
    name: str,
    *,
    hazards: Sequence[int],
    at: Moment,
    on: Sequence[Kind],
    bugs: str,
    fix: str,
    advice: bool = False,
    also: type[Exception] | None = None,
) -> Callable[[Predicate], Predicate]:
    """Register a predicate as a rule, checked at a moment `at` of operations of the kinds `on`."""

    def register(predicate: Predicate) -> Predicate:
        text = inspect.cleandoc(predicate.__doc__ or "")
        RULES[name] = Rule(name, tuple(hazards), at, tuple(on), bugs, fix, predicate, text, advice, also)
        for kind in on:
            _by_moment[at][kind] = (*_by_moment[at].get(kind, ()), (name, predicate))
        return predicate

    return register


def rules_at(moment: Moment) -> Mapping[Kind, Checks]:
    """The rules that are checked at a moment, by the kind of operation."""
    return _by_moment[moment]


def broken(rules: Mapping[Kind, Checks], state: EventState, operation: Operation) -> list[tuple[str, str]]:
    """Which of `rules` does `operation` break? Names and messages. A rule that raises is not broken."""
    found = []
    for name, check in rules.get(operation.kind, ()):
        try:
            message = check(state, operation)
        except Exception:
            note(f"rule {name}")
            continue
        if message is not None:
            found.append((name, message))
    return found


def steady(state: EventState, operation: Operation) -> bool:
    """Is this record or wait so ordinary that no rule of `Moment.BEGIN` can be broken?

    A short cut for the usual case, where two threads have the parts that they had; tests hold it against the rules.
    """
    thread = operation.thread
    if operation.kind is _RECORD:
        return state.producer is thread and state.consumer is not thread and not state.held and not state.closed
    if operation.kind is _WAIT:
        return state.consumer is thread and state.producer is not thread and not state.failed_waits and not state.closed
    return False
