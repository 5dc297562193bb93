"""Draws programs, from whatever makes choices: Hypothesis (`strategies.py`), or a seeded `random.Random`.

A program is drawn as a list of wishes, of which `legal` keeps what the protocol allows. A wish is an operation, or a
few that belong together, since what is drawn one by one rarely meets: a fill with the record that hands it over, a wait
with a look at what was handed over. For the same reason a thread mostly uses a stream of its own.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Protocol, TypeAlias, TypeVar

from stress.generated.legal import legal
from stress.generated.program import (
    Copy,
    EventRecord,
    EventWait,
    Fill,
    Observe,
    Operation,
    Pause,
    Program,
    Record,
    Synchronize,
    UntilConsumed,
    Wait,
    Work,
)

T = TypeVar("T")
#: Operations, each with its thread.
Wish: TypeAlias = "list[tuple[int, Operation]]"

#: So many wishes make a program of about as many operations.
FEWEST, MOST = 4, 28


class Choices(Protocol):
    """Makes choices."""

    def integer(self, low: int, high: int) -> int:
        """One of the numbers from `low` to `high`."""

    def choose(self, options: Sequence[T]) -> T:
        """One of the options."""


class RandomChoices:
    """Choices from a `random.Random`."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def integer(self, low: int, high: int) -> int:
        return low + int(self._rng.random() * (high - low + 1))

    def choose(self, options: Sequence[T]) -> T:
        return options[int(self._rng.random() * len(options))]


@dataclass(frozen=True)
class Shape:
    """How much there is of everything, who produces and consumes each hand-off, and who records each bare event."""

    threads: int
    streams: int
    buffers: int
    hand_offs: tuple[tuple[int, int], ...]
    recorders: tuple[int, ...]
    #: Has the class under test a property `pending`?
    until_consumed: bool


def draw_shape(choices: Choices, *, until_consumed: bool) -> Shape:
    """A shape."""
    threads = choices.choose((2, 2, 3, 3, 4))
    pairs = [(producer, consumer) for producer in range(threads) for consumer in range(threads) if producer != consumer]
    return Shape(
        threads=threads,
        streams=choices.integer(2, 4),
        buffers=choices.integer(1, 3),
        hand_offs=tuple(choices.choose(pairs) for _ in range(choices.integer(1, threads))),
        recorders=tuple(choices.integer(0, threads - 1) for _ in range(choices.integer(1, 2))),
        until_consumed=until_consumed,
    )


class _Drawing:
    """One wish being drawn."""

    def __init__(self, choices: Choices, shape: Shape) -> None:
        self.choices = choices
        self.shape = shape

    def thread(self) -> int:
        return self.choices.integer(0, self.shape.threads - 1)

    def buffer(self) -> int:
        return self.choices.integer(0, self.shape.buffers - 1)

    def hand_off(self) -> int:
        return self.choices.integer(0, len(self.shape.hand_offs) - 1)

    def event(self) -> int:
        return self.choices.integer(0, len(self.shape.recorders) - 1)

    def any_stream(self) -> int:
        return self.choices.integer(0, self.shape.streams - 1)

    def stream(self, thread: int) -> int:
        """Mostly the thread's own."""
        return thread % self.shape.streams if self.choices.integer(0, 3) < 3 else self.any_stream()

    def fill(self) -> Wish:
        thread = self.thread()
        return [(thread, Fill(self.buffer(), 0, self.stream(thread)))]

    def copy(self) -> Wish:
        thread = self.thread()
        return [(thread, Copy(self.buffer(), self.buffer(), self.stream(thread)))]

    def observe(self) -> Wish:
        thread = self.thread()
        return [(thread, Observe(self.buffer(), self.stream(thread)))]

    def record(self) -> Wish:
        hand_off = self.hand_off()
        producer, _ = self.shape.hand_offs[hand_off]
        return [(producer, Record(hand_off, self.stream(producer)))]

    def wait(self) -> Wish:
        hand_off = self.hand_off()
        _, consumer = self.shape.hand_offs[hand_off]
        return [(consumer, Wait(hand_off, self.stream(consumer)))]

    def send(self) -> Wish:
        [(producer, record)] = self.record()
        assert isinstance(record, Record)
        work: Wish = [(producer, Work(record.stream))] if self.choices.integer(0, 3) == 3 else []
        return [*work, (producer, Fill(self.buffer(), 0, record.stream)), (producer, record)]

    def receive(self) -> Wish:
        [(consumer, wait)] = self.wait()
        assert isinstance(wait, Wait)
        return [(consumer, wait), (consumer, Observe(self.buffer(), wait.stream))]

    def twice(self) -> Wish:
        """A hand-off, and the next record as early as it may come, on any stream."""
        sent = self.send()
        producer, record = sent[-1]
        assert isinstance(record, Record)
        hand_off = record.hand_off
        _, consumer = self.shape.hand_offs[hand_off]
        wait = (consumer, Wait(hand_off, self.stream(consumer)))
        observed = (consumer, Observe(self.buffer(), wait[1].stream))
        if not self.shape.until_consumed:
            return [*sent, wait, observed]
        again: Wish = [(producer, UntilConsumed(hand_off)), (producer, Record(hand_off, self.any_stream()))]
        return [*sent, wait, *again, observed, wait]

    def event_record(self) -> Wish:
        event = self.event()
        return [(self.shape.recorders[event], EventRecord(event, self.stream(self.shape.recorders[event])))]

    def event_wait(self) -> Wish:
        return [(self.thread(), EventWait(self.event(), self.any_stream()))]

    def relay(self) -> Wish:
        """From one stream of a thread to another one."""
        [(thread, record)] = self.event_record()
        assert isinstance(record, EventRecord)
        stream = self.any_stream()
        return [
            (thread, record),
            (thread, EventWait(record.event, stream)),
            (thread, Observe(self.buffer(), stream)),
        ]

    def synchronize(self) -> Wish:
        thread = self.thread()
        return [(thread, Synchronize(self.stream(thread))), (thread, Observe(self.buffer(), self.any_stream()))]

    def work(self) -> Wish:
        thread = self.thread()
        return [(thread, Work(self.stream(thread)))]

    def pause(self) -> Wish:
        return [(self.thread(), Pause())]


#: What is wished for, and how often. A choice shrinks towards the first.
_KINDS: Sequence[Callable[[_Drawing], Wish]] = (
    *[_Drawing.observe] * 4,
    *[_Drawing.fill] * 2,
    *[_Drawing.record] * 2,
    *[_Drawing.wait] * 3,
    *[_Drawing.send] * 6,
    *[_Drawing.receive] * 6,
    *[_Drawing.twice] * 3,
    *[_Drawing.event_record],
    *[_Drawing.event_wait] * 2,
    *[_Drawing.relay] * 2,
    *[_Drawing.synchronize] * 2,
    *[_Drawing.copy] * 2,
    *[_Drawing.work],
    *[_Drawing.pause],
)


def draw_wish(choices: Choices, shape: Shape) -> Wish:
    """One wish."""
    return choices.choose(_KINDS)(_Drawing(choices, shape))


def program_of(wishes: Iterable[Wish]) -> Program:
    """What is legal of them."""
    return legal(chain.from_iterable(wishes))


def draw(rng: random.Random, *, until_consumed: bool) -> Program:
    """A program from a `random.Random`. `until_consumed`: has the class under test a property `pending`?"""
    choices = RandomChoices(rng)
    shape = draw_shape(choices, until_consumed=until_consumed)
    return program_of(draw_wish(choices, shape) for _ in range(choices.integer(FEWEST, MOST)))
