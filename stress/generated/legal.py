"""Which programs are legal: those that keep the protocol and come to an end.

The rules: a hand-off has one thread that records and another one that waits; it is recorded again only when the
producer knows that the last record was consumed, since a hand-off has come back from behind the wait, or since
`UntilConsumed` has told it; every record is consumed; a bare device event is recorded by one thread (torch's events are
not thread-safe, and two threads that make the first record would be two threads that create it).

A legal program cannot deadlock, whatever the threads' speed: what a thread blocks for is the record or the wait with a
certain number, which comes in every interleaving if it comes in one, and `schedule` has found one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import fields, replace
from typing import Any

from stress.generated.program import (
    Copy,
    EventRecord,
    Fill,
    Operation,
    Place,
    Program,
    Record,
    UntilConsumed,
    Wait,
)

#: Fields of operations that hold a number, and what they number.
_NUMBERS = {
    "buffer": "buffer",
    "source": "buffer",
    "target": "buffer",
    "stream": "stream",
    "hand_off": "hand_off",
    "event": "event",
}


class Ledger:
    """What has happened so far in an interleaving, as far as the protocol is concerned."""

    def __init__(self) -> None:
        self._producers: dict[int, int] = {}
        self._consumers: dict[int, int] = {}
        self._recorders: dict[int, int] = {}
        self._recorded: dict[int, int] = defaultdict(int)
        self._consumed: dict[int, int] = defaultdict(int)
        # By thread: how many waits of a hand-off it knows to have returned. By hand-off: what its record carries along.
        self._known: dict[int, dict[int, int]] = defaultdict(dict)
        self._carried: dict[int, dict[int, int]] = {}

    def pending(self, hand_off: int) -> bool:
        """Is there a record that nobody has consumed?"""
        return self._recorded[hand_off] > self._consumed[hand_off]

    def admits(self, thread: int, operation: Operation) -> bool:
        """May `thread` execute it now, and does it return?"""
        match operation:
            case Record(hand_off):
                return (
                    self._producers.get(hand_off, thread) == thread
                    and self._consumers.get(hand_off) != thread
                    and self._known[thread].get(hand_off, 0) == self._recorded[hand_off]
                )
            case Wait(hand_off):
                return (
                    self.pending(hand_off)
                    and self._producers[hand_off] != thread
                    and self._consumers.get(hand_off, thread) == thread
                )
            case UntilConsumed(hand_off):
                return self._producers.get(hand_off) == thread and not self.pending(hand_off)
            case EventRecord(event):
                return self._recorders.get(event, thread) == thread
            case Copy(source, target):
                return source != target
        return True

    def take(self, thread: int, operation: Operation) -> None:
        """`thread` executes it."""
        match operation:
            case Record(hand_off):
                self._producers[hand_off] = thread
                self._recorded[hand_off] += 1
                self._carried[hand_off] = dict(self._known[thread])
            case Wait(hand_off):
                self._consumers[hand_off] = thread
                self._consumed[hand_off] += 1
                known = self._known[thread]
                for other, number in (*self._carried[hand_off].items(), (hand_off, self._consumed[hand_off])):
                    known[other] = max(number, known.get(other, 0))
            case UntilConsumed(hand_off):
                self._known[thread][hand_off] = self._consumed[hand_off]
            case EventRecord(event):
                self._recorders[event] = thread


def legal(wishes: Iterable[tuple[int, Operation]]) -> Program:
    """The program that is left when everything illegal is left out of `wishes`: pairs of a thread and an operation.

    The order of the wishes is an interleaving. What is kept is numbered anew: threads, streams and so on without gaps,
    and the values of the fills from 1. So leaving out any of the wishes gives a legal program again.
    """
    ledger = Ledger()
    kept: list[tuple[int, Operation]] = []
    for thread, operation in wishes:
        if ledger.admits(thread, operation):
            ledger.take(thread, operation)
            kept.append((thread, operation))
    for hand_off in {operation.hand_off for _, operation in kept if isinstance(operation, Record)}:
        if ledger.pending(hand_off):  # nothing comes after a record that nobody consumes
            last = max(at for at, (_, operation) in enumerate(kept) if _records(operation, hand_off))
            del kept[last]
    return _renumbered(kept)


def _records(operation: Operation, hand_off: int) -> bool:
    return isinstance(operation, Record) and operation.hand_off == hand_off


def _renumbered(kept: list[tuple[int, Operation]]) -> Program:
    new: dict[str, dict[int, int]] = defaultdict(dict)
    threads: dict[int, list[Operation]] = {thread: [] for thread in sorted({thread for thread, _ in kept})}
    fills = 0
    for thread, operation in kept:
        changes: dict[str, Any] = {}
        for field in fields(operation):
            if field.name in _NUMBERS:
                numbers = new[_NUMBERS[field.name]]
                changes[field.name] = numbers.setdefault(getattr(operation, field.name), len(numbers))
        if isinstance(operation, Fill):
            fills += 1
            changes["value"] = fills
        threads[thread].append(replace(operation, **changes))
    return Program(tuple(map(tuple, threads.values())))


def schedule(program: Program) -> list[Place]:
    """An order in which one thread could execute the whole program. `ValueError` if it is not legal."""
    ledger = Ledger()
    order: list[Place] = []
    positions = [0] * len(program.threads)
    moved = True
    while moved:
        moved = False
        for thread, body in enumerate(program.threads):
            while positions[thread] < len(body) and ledger.admits(thread, body[positions[thread]]):
                ledger.take(thread, body[positions[thread]])
                order.append((thread, positions[thread]))
                positions[thread] += 1
                moved = True
    stuck = [
        f"thread {thread} at operation {position}: {body[position]}"
        for thread, (position, body) in enumerate(zip(positions, program.threads, strict=True))
        if position < len(body)
    ]
    open_ones = [
        f"h{number} is never consumed" for number in range(program.count("hand_off")) if ledger.pending(number)
    ]
    if stuck or open_ones:
        raise ValueError("not a legal program: " + "; ".join(stuck or open_ones))
    return order
