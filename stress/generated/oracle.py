"""What an observation may see: happens-before over a program's operations, and the values that it leaves possible.

Two relations, both of what is *guaranteed* in every execution:

* `called[i]`: the operations whose calls come before the call of i. Program order of the threads, and a hand-off's
  record before the return of its wait.
* `before[i]`: the operations whose device work has ended when i's begins: what the stream held at i's call; for a wait,
  the record of its hand-off and what that comes after; what the calling thread knows to be done because it, or a
  thread that has handed on to it, has synchronised. A wait for a bare event is bound to the latest record *at its
  call*: where `called` leaves several possible, it comes after what all of them come after, and where it may precede
  the first record, it is perhaps a no-op and orders nothing.

A read may see a write unless it comes before that write in every execution, or another write comes between the two in
every execution.

**Sound**: what CUDA's rules and the hand-off's promise permit is never called wrong. Every edge is one that they
guarantee; one that may be missing in some execution is left out.

**How complete**: an illegal result may pass. What differs from execution to execution is not followed through: where a
wait may be bound to one of two records, or two threads use one stream without an order, only what holds in every case
is kept, for each read anew. Reads are judged one by one, so two that contradict each other pass, and so does a copy
that would need such a pair. That a producer's `UntilConsumed` comes after the consumer's earlier calls is not used.
Short of these, what is allowed does happen: for the programs of tests/test_generated_oracle.py each value is seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from stress.generated.legal import schedule
from stress.generated.program import (
    Copy,
    EventRecord,
    EventWait,
    Fill,
    Observe,
    Pause,
    Place,
    Program,
    Record,
    Seen,
    Synchronize,
    UntilConsumed,
    Wait,
    initial,
)


@dataclass(frozen=True)
class Sight:
    """What a read may see: each element one of `values`, and all of them the same one unless it may be `torn`."""

    values: frozenset[int]
    torn: bool = False

    def permits(self, elements: Iterable[int]) -> bool:
        """Is that a legal result?"""
        found = set(elements)
        return found <= self.values and (self.torn or len(found) == 1)

    def __str__(self) -> str:
        return " or ".join(map(str, sorted(self.values))) + (", or a mixture" if self.torn else "")


class Order:
    """The two relations, as bit masks: bit j of `before[i]` says that operation j comes before i.

    Operations go by their number in `places`, an order in which they may be called.
    """

    def __init__(self, program: Program) -> None:
        self.places = schedule(program)
        self.operations = [program[place] for place in self.places]
        self.streams = [None if isinstance(o, Synchronize) else getattr(o, "stream", None) for o in self.operations]
        self.called = self._calls()
        self.before = [0] * len(self.operations)
        while self._grow():  # an edge that needs another one that is found later: a second round, rarely a third
            pass

    def _calls(self) -> list[int]:
        called: list[int] = []
        last: dict[int, int] = {}
        records: dict[int, int] = {}
        for number, ((thread, _), operation) in enumerate(zip(self.places, self.operations, strict=True)):
            mask = 0
            if thread in last:
                mask |= called[last[thread]] | 1 << last[thread]
            if isinstance(operation, Wait):
                record = records[operation.hand_off]
                mask |= called[record] | 1 << record
            elif isinstance(operation, Record):
                records[operation.hand_off] = number
            called.append(mask)
            last[thread] = number
        return called

    def _grow(self) -> bool:
        grown = False
        for number, operation in enumerate(self.operations):
            mask = self._known_done(number)
            match operation:
                case Synchronize() | UntilConsumed() | Pause():
                    pass  # `before` is what the thread knows to be done when it is called
                case Wait(hand_off):
                    mask |= self._held(number) | self._handed_over(number, hand_off)
                case EventWait(event):
                    mask |= self._held(number) | self._captured(number, event)
                case _:
                    mask |= self._held(number)
            if mask != self.before[number]:
                self.before[number] = mask
                grown = True
        return grown

    def _known_done(self, number: int) -> int:
        """What has ended, as the calling thread knows: there is a synchronize before this call that covers it."""
        mask = 0
        for other in _bits(self.called[number]):
            operation = self.operations[other]
            if isinstance(operation, Synchronize):
                mask |= self._held(other, operation.stream) | self.before[other]
        return mask

    def _held(self, number: int, stream: int | None = None) -> int:
        """What its stream, or the one given, surely holds when it is called, and what that comes after."""
        stream = self.streams[number] if stream is None else stream
        mask = 0
        for other in _bits(self.called[number]):
            if self.streams[other] == stream:
                mask |= self._up_to(other)
        return mask

    def _handed_over(self, number: int, hand_off: int) -> int:
        """What a hand-off's wait orders before the wait's stream: its record, and what that comes after."""
        records = [other for other in _bits(self.called[number]) if self._is(other, Record, hand_off)]
        return self._up_to(records[-1])

    def _captured(self, number: int, event: int) -> int:
        """What every record that a bare event's wait may be bound to comes after; nothing, if it may precede all."""
        called = self.called
        earlier = [other for other in _bits(called[number]) if self._is(other, EventRecord, event)]
        if not earlier:
            return 0
        latest = [one for one in earlier if not any(called[other] >> one & 1 for other in earlier)]
        concurrent = [
            other
            for other in range(len(self.operations))
            if self._is(other, EventRecord, event)
            and not called[number] >> other & 1
            and not called[other] >> number & 1
        ]
        mask = -1
        for record in latest + concurrent:
            mask &= self._up_to(record)
        return mask

    def _is(self, number: int, kind: type[Record | EventRecord], which: int) -> bool:
        operation = self.operations[number]
        return isinstance(operation, kind) and which == getattr(operation, _NUMBER[kind])

    def _up_to(self, number: int) -> int:
        return self.before[number] | 1 << number


_NUMBER: dict[type, str] = {Record: "hand_off", EventRecord: "event"}


def sights(program: Program) -> dict[Place, Sight]:
    """What each observation of a program may see. `ValueError` if the program is not legal."""
    order = Order(program)
    operations, before, streams = order.operations, order.before, order.streams
    writes: dict[int, list[int]] = {}
    reads: dict[int, int] = {}
    for number, operation in enumerate(operations):
        match operation:
            case Fill(buffer):
                writes.setdefault(buffer, []).append(number)
            case Copy(source, target):
                writes.setdefault(target, []).append(number)
                reads[number] = source
            case Observe(buffer):
                reads[number] = buffer

    def overlap(one: int, other: int) -> bool:
        return not (before[one] >> other & 1 or before[other] >> one & 1 or streams[one] == streams[other])

    candidates: dict[int, list[int]] = {}
    found: dict[int, Sight] = {}
    for read, buffer in reads.items():
        to_it = writes.get(buffer, [])
        earlier = [write for write in to_it if before[read] >> write & 1]
        possible = candidates[read] = [
            write
            for write in to_it
            if write != read
            and not before[write] >> read & 1
            and not any(before[other] >> write & 1 for other in earlier)
        ]
        values = {operation.value for operation in map(operations.__getitem__, possible) if isinstance(operation, Fill)}
        if not earlier:
            values.add(initial(buffer))
        both = [*possible, read]
        torn = any(overlap(one, other) for at, one in enumerate(both) for other in both[:at])
        found[read] = Sight(frozenset(values), torn)
    # A copy brings what it may have read. Copies may go round in a circle: repeat until nothing is new.
    grown = True
    while grown:
        grown = False
        for read, writes_to_it in candidates.items():
            sources = [found[write] for write in writes_to_it if write in found]
            sight = Sight(
                found[read].values.union(*(source.values for source in sources)),
                found[read].torn or any(source.torn for source in sources),
            )
            if sight != found[read]:
                found[read], grown = sight, True
    return {order.places[read]: sight for read, sight in found.items() if isinstance(operations[read], Observe)}


def wrong(allowed: dict[Place, Sight], seen: Seen) -> list[Place]:
    """The observations that have seen what they must not."""
    return [place for place, elements in seen.items() if not allowed[place].permits(elements)]


def _bits(mask: int) -> Iterator[int]:
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest
