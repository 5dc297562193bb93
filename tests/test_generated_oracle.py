"""The oracle of generated programs: what each observation may see, and that just that happens."""

from __future__ import annotations

from typing import Any

import pytest

from cpugpu import CpuGpuEvent
from stress.generated.legal import schedule
from stress.generated.oracle import Sight, sights
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
)
from tests.schedules import play_once


def threads(*bodies: list[Operation]) -> Program:
    return Program(tuple(map(tuple, bodies)))


HAND_OFF = threads([Fill(0, 1, 0), Record(0, 0)], [Wait(0, 1), Observe(0, 1)])

#: Programs with one observation, and what it may see: the values, and whether also a mixture of them.
KNOWN: dict[str, tuple[Program, set[int], bool]] = {
    "a fill, then nothing else": (threads([Fill(0, 1, 0), Observe(0, 0)]), {1}, False),
    "the last fill of a stream": (threads([Fill(0, 1, 0), Fill(0, 2, 0), Observe(0, 0)]), {2}, False),
    "two streams race": (threads([Fill(0, 1, 0), Observe(0, 1)]), {-1, 1}, True),
    "two threads take turns on one stream": (threads([Fill(0, 1, 0)], [Observe(0, 0)]), {-1, 1}, False),
    "a hand-off": (HAND_OFF, {1}, False),
    "a fill after the record races": (
        threads([Fill(0, 1, 0), Record(0, 0), Fill(0, 2, 0)], [Wait(0, 1), Observe(0, 1)]),
        {1, 2},
        True,
    ),
    "a hand-off orders the stream of the wait alone": (
        threads([Fill(0, 1, 0), Record(0, 0)], [Wait(0, 1), Observe(0, 2)]),
        {-1, 1},
        True,
    ),
    "a hand-off covers the stream of the record alone": (
        threads([Fill(0, 1, 0), Record(0, 2)], [Wait(0, 1), Observe(0, 1)]),
        {-1, 1},
        True,
    ),
    "there and back, over the same buffer": (
        threads(
            [Fill(0, 1, 0), Record(0, 0), Wait(1, 0), Fill(0, 2, 0), Record(0, 0)],
            [Wait(0, 1), Fill(0, 3, 1), Record(1, 1), Wait(0, 1), Observe(0, 1)],
        ),
        {2},
        False,
    ),
    "a consumed hand-off orders nothing back": (
        threads(
            [Record(0, 0), UntilConsumed(0), Fill(0, 1, 0), Record(0, 0)],
            [Wait(0, 1), Observe(0, 1), Wait(0, 1)],
        ),
        {-1, 1},
        True,
    ),
    "a bare event within a thread": (
        threads([Fill(0, 1, 0), EventRecord(0, 0), EventWait(0, 1), Observe(0, 1)]),
        {1},
        False,
    ),
    "a wait before any record is a no-op": (
        threads([EventWait(0, 1), Fill(0, 1, 0), EventRecord(0, 0), Observe(0, 1)]),
        {-1, 1},
        True,
    ),
    "a bare event between threads may be waited for too early": (
        threads([Fill(0, 1, 0), EventRecord(0, 0)], [EventWait(0, 1), Observe(0, 1)]),
        {-1, 1},
        True,
    ),
    "a record replaces the one before": (
        threads([Fill(0, 1, 0), EventRecord(0, 0), EventRecord(0, 2), EventWait(0, 1), Observe(0, 1)]),
        {-1, 1},
        True,
    ),
    "a wait stays bound to the record at its call": (
        threads(
            [Fill(0, 1, 0), EventRecord(0, 0), EventWait(0, 1), Fill(0, 2, 0), EventRecord(0, 0), Observe(0, 1)],
        ),
        {1, 2},
        True,
    ),
    "one of two records on one stream": (
        threads(
            [Fill(0, 1, 0), EventRecord(0, 0), Record(0, 2), EventRecord(0, 0)],
            [Wait(0, 3), EventWait(0, 1), Observe(0, 1)],
        ),
        {1},
        False,
    ),
    "one of two records on two streams": (
        threads(
            [Fill(0, 1, 0), EventRecord(0, 0), Record(0, 2), EventRecord(0, 2)],
            [Wait(0, 3), EventWait(0, 1), Observe(0, 1)],
        ),
        {-1, 1},
        True,
    ),
    "through three streams": (
        threads(
            [Fill(0, 1, 0), EventRecord(0, 0), EventWait(0, 1), Record(0, 1)],
            [Wait(0, 2), EventRecord(1, 2), EventWait(1, 3), Observe(0, 3)],
        ),
        {1},
        False,
    ),
    "a synchronize": (threads([Fill(0, 1, 0), Synchronize(0), Observe(0, 1)]), {1}, False),
    "a synchronize of another stream": (threads([Fill(0, 1, 0), Synchronize(1), Observe(0, 1)]), {-1, 1}, True),
    "a synchronize of a stream that waits for the other one": (
        threads([Fill(0, 1, 0), EventRecord(0, 0), EventWait(0, 1), Synchronize(1), Observe(0, 2)]),
        {1},
        False,
    ),
    "what a thread knows to be done it hands on, whatever the streams": (
        threads([Fill(0, 1, 0), Synchronize(0), Record(0, 2)], [Wait(0, 3), Observe(0, 1)]),
        {1},
        False,
    ),
    "a copy brings what it has read": (
        threads([Fill(0, 1, 0), Copy(0, 1, 0), Fill(0, 2, 0), Observe(1, 0)]),
        {1},
        False,
    ),
    "a copy that races brings either": (
        threads([Fill(0, 1, 0), Copy(0, 1, 1), Observe(1, 1)]),
        {-1, 1},
        True,
    ),
    "copies in a circle": (
        threads([Copy(0, 1, 0), Pause()], [Copy(1, 0, 1), Observe(0, 1)]),
        {-1, -2},
        True,
    ),
}

known = pytest.mark.parametrize(("program", "values", "torn"), KNOWN.values(), ids=KNOWN)


def only(seen: Any) -> Any:
    [result] = seen.values()
    return result


@known
def test_the_oracle_knows_what_may_be_seen(program: Program, values: set[int], torn: bool) -> None:
    assert only(sights(program)) == Sight(frozenset(values), torn)


@known
def test_all_of_that_happens_and_nothing_else(program: Program, values: set[int], torn: bool) -> None:
    """On the simulated device, in schedules drawn at random: the oracle is neither too strict nor too generous here."""
    results = [only(play_once(program, CpuGpuEvent, seed)) for seed in range(250)]
    assert {element for result in results for element in result} == values
    if not torn:
        assert all(len(set(result)) == 1 for result in results)


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (threads([Record(0, 0), Record(0, 0)], [Wait(0, 1), Wait(0, 1)]), r"thread 0 at operation 1: h0.record\(s0\)"),
        (threads([Record(0, 0), Wait(0, 0)]), r"thread 0 at operation 1: h0.wait\(s0\)"),
        (threads([Wait(0, 0), Record(1, 0)], [Wait(1, 1), Record(0, 1)]), r"thread 0 .*; thread 1 at operation 0"),
        (threads([Record(0, 0), UntilConsumed(0)], []), "thread 0 at operation 1: until not h0.pending"),
        (threads([Record(0, 0)]), "h0 is never consumed"),
        (threads([EventRecord(0, 0)], [EventRecord(0, 1)]), r"thread 1 at operation 0: e0.record\(s1\)"),
        (threads([Copy(0, 0, 0)]), "copy b0 → b0"),
        (threads([Record(0, 0)], [Wait(0, 0)], [Record(0, 0)]), "thread 2 at operation 0"),
    ],
    ids=["double record", "self wait", "cycle", "for ever", "unconsumed", "two recorders", "onto itself", "producers"],
)
def test_what_breaks_the_protocol_is_no_program(program: Program, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        sights(program)


def test_a_record_may_follow_when_the_producer_knows_of_the_wait_through_others() -> None:
    program = threads(
        [Record(0, 0), Wait(2, 0), Record(0, 0)], [Wait(0, 1), Record(1, 1), Wait(0, 1)], [Wait(1, 2), Record(2, 2)]
    )
    assert len(schedule(program)) == len(program)
