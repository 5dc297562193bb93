"""The rules of the hand-off. A rule is a sentence and a predicate; everything else is made from these two.

The docstring says what the rule means and which real bug it comes from. The predicate looks at an operation that is
about to happen and at what is known of the event, and returns the message if the rule is broken. It must have no side
effects: it is called from the threads under test.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cpugpu.debug.journal import Kind, Operation


@dataclass
class EventState:
    """What the rules may know of an event: the threads that play its parts, and whether it is in use.

    A part belongs to the first thread that plays it and passes on when that thread has ended.
    """

    name: str
    producer: threading.Thread | None = None
    consumer: threading.Thread | None = None
    pending: bool = False
    closed: bool = False
    generation: int = 0
    waiting: bool = False  # the operation is a wait that has found nothing recorded

    def bind(self, operation: Operation) -> None:
        """`operation` is allowed: its thread plays the part. Anybody may fail or close."""
        if operation.kind is Kind.RECORD:
            self.producer = operation.thread
        elif operation.kind in (Kind.WAIT, Kind.SYNCHRONIZE):
            self.consumer = operation.thread


Predicate = Callable[[EventState, Operation], "str | None"]


@dataclass(frozen=True)
class Rule:
    """A rule: its stable name, the rows of the hazard catalogue that it comes from, the predicate, the explanation."""

    name: str
    hazards: tuple[int, ...]
    check: Predicate
    text: str


RULES: dict[str, Rule] = {}


def rule(name: str, *, hazards: Sequence[int]) -> Callable[[Predicate], Predicate]:
    """Register a predicate as a rule."""

    def register(predicate: Predicate) -> Predicate:
        RULES[name] = Rule(name, tuple(hazards), predicate, (predicate.__doc__ or "").strip())
        return predicate

    return register


def broken(state: EventState, operation: Operation) -> list[tuple[str, str]]:
    """The rules that `operation` breaks: names and messages."""
    found = ((each.name, each.check(state, operation)) for each in RULES.values())
    return [(name, message) for name, message in found if message is not None]


def _waits(operation: Operation) -> bool:
    return operation.kind in (Kind.WAIT, Kind.SYNCHRONIZE)


def _other(bound: threading.Thread | None, operation: Operation) -> bool:
    """Does the part belong to another thread, which is still there to play it?"""
    return bound is not None and bound is not operation.thread and bound.is_alive()


@rule("double-record", hazards=[3, 38])
def double_record(state: EventState, operation: Operation) -> str | None:
    """A record needs the last one to be consumed.

    Recording again would replace the record that the consumer is going to wait for (vllm#39115 waited for too much).
    """
    if operation.kind is Kind.RECORD and state.pending and not state.closed:
        return (
            f"{operation.thread.name} calls record() on {state.name!r} before the previous event was consumed by wait()"
            f" (generation {state.generation})"
        )
    return None


@rule("second-producer", hazards=[36])
def second_producer(state: EventState, operation: Operation) -> str | None:
    """A hand-off has one producer.

    A second thread that records may find the event free by chance, or be refused by chance: the consumer cannot tell
    whose work it has waited for.
    """
    if operation.kind is Kind.RECORD and _other(state.producer, operation):
        assert state.producer is not None
        return f"{operation.thread.name} records {state.name!r}, which {state.producer.name} produces"
    return None


@rule("second-consumer", hazards=[36])
def second_consumer(state: EventState, operation: Operation) -> str | None:
    """A hand-off has one consumer.

    Two threads that wait share the records between them in an order that nobody decides (vllm#37601 calls it
    undefined).
    """
    if _waits(operation) and _other(state.consumer, operation):
        assert state.consumer is not None
        return f"{operation.thread.name} waits for {state.name!r}, which {state.consumer.name} consumes"
    return None


@rule("self-wait", hazards=[37])
def self_wait(state: EventState, operation: Operation) -> str | None:
    """A thread must not wait for its own record.

    It needs no event for what it has enqueued itself, and with nothing recorded it waits for ever.
    """
    if _waits(operation) and state.producer is operation.thread:
        return f"{operation.thread.name} waits for {state.name!r}, which it records itself"
    if operation.kind is Kind.RECORD and state.consumer is operation.thread:
        return f"{operation.thread.name} records {state.name!r}, which it waits for itself"
    return None


@rule("wait-after-close", hazards=[45])
def wait_after_close(state: EventState, operation: Operation) -> str | None:
    """A closed event hands nothing over: a thread that waits for it has missed the end (vllm#56854)."""
    if _waits(operation) and state.closed:
        return f"{operation.thread.name} waits for {state.name!r}, which is closed"
    return None


@rule("record-after-close", hazards=[45])
def record_after_close(state: EventState, operation: Operation) -> str | None:
    """A closed event hands nothing over: a thread that records it works for nobody (vllm#56854)."""
    if operation.kind is Kind.RECORD and state.closed:
        return f"{operation.thread.name} records {state.name!r}, which is closed"
    return None


@rule("dead-producer", hazards=[32])
def dead_producer(state: EventState, operation: Operation) -> str | None:
    """A wait needs somebody who may still record.

    The thread that used to record has ended and nothing is recorded, so the wait would last for ever (vllm#57883,
    NVIDIA/DALI#429). Checked while a wait blocks.
    """
    if state.waiting and not state.pending and not state.closed:
        producer = state.producer
        if producer is not None and not producer.is_alive():
            return (
                f"{operation.thread.name} waits for {state.name!r}, whose producer {producer.name} has ended"
                f" after generation {state.generation}"
            )
    return None
