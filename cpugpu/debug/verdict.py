"""What becomes of a broken rule: an entry in the journal, an error in the log, an exception."""

from __future__ import annotations

import functools
import logging
import threading
from typing import Any

from cpugpu.debug.defects import note, say
from cpugpu.debug.journal import journal
from cpugpu.debug.operation import Operation
from cpugpu.debug.rules import RULES
from cpugpu.debug.state import EventState
from cpugpu.errors import ProtocolViolation

#: How many entries of its history a violation carries.
_HISTORY = 16
_within = threading.local()


def judge(operation: Operation, found: list[tuple[str, str]], *, raising: bool) -> ProtocolViolation | None:
    """Write down and report that `operation` broke the rules `found`; with `raising`, the exception for its thread.

    What becomes an exception is not logged: whoever gets it decides.
    """
    if getattr(_within, "judging", False):
        return None  # a handler of the logger uses an event and breaks a rule, too
    _within.judging = True
    try:
        return _judge(operation, found, raising=raising)
    finally:
        _within.judging = False


def _judge(operation: Operation, found: list[tuple[str, str]], *, raising: bool) -> ProtocolViolation | None:
    sentence = None
    for name, message in found:
        journal.violation(operation, name, message)
        if raising and sentence is None and RULES[name].raises:
            sentence = _sentence(operation, name, message)
        else:
            say(logging.ERROR, "%s: %s", name, message)
    return sentence


def _sentence(operation: Operation, name: str, message: str) -> ProtocolViolation:
    rule, state = RULES[name], operation.state
    kind = ProtocolViolation if rule.also is None else _also(rule.also)  # type: ignore[arg-type]  # a type is hashable
    history: list[str] = []
    try:
        history += [str(entry) for entry in journal.entries(state.name)[-_HISTORY:]]
    except Exception:
        note("the repr of a stream")
    return kind(
        f"{message} [{name}: {rule.sentence}]",
        rule=name,
        event=state.name,
        generation=state.generation,
        threads=tuple(dict.fromkeys([operation.thread_name, *_parts(state)])),
        history=history,
    )


def _parts(state: EventState) -> list[str]:
    return [part.name for part in (state.producer, state.consumer) if part is not None]


@functools.cache
def _also(also: Any) -> type[ProtocolViolation]:
    """A `ProtocolViolation` that is also what the production class would raise, for code that catches that."""
    return type(f"{also.__name__}Violation", (ProtocolViolation, also), {"__doc__": also.__doc__})
