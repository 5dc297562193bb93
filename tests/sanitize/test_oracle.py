"""The model against brute force, on random traces."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpugpu.sanitize import Event, Model, Place, Storage, Sync
from cpugpu.sanitize.events import Call
from cpugpu.sanitize.memory import Race
from cpugpu.sanitize.registry import calls
from cpugpu.sanitize.strides import Strided
from tests.sanitize import oracle
from tests.sanitize.oracle import EVENTS, NAMES, REGIONS, STORAGES, STREAMS, SYNCS, THREADS, Op, Oracle

KINDS = {
    "unrecorded-wait": "unrecorded",
    "unrecorded-synchronize": "unrecorded",
    "unrecorded-query": "unrecorded",
    "wait-not-ordered-after-record": "unordered",
    "flag-before-record": "unordered",
    "record-over-unconsumed": "lost",
}


class Watched(Model):
    def __init__(self) -> None:
        super().__init__()
        self.races: list[Race] = []

    def found_call(self, call: Call) -> None:
        if call.is_steady:
            assert calls.broken(call.kind, call) == []
        super().found_call(call)

    def found_races(self, races: list[Race]) -> None:
        self.races += races
        super().found_races(races)


class Driven:
    """The same operations for the model."""

    def __init__(self) -> None:
        self.model = Watched()
        self.threads = [self.model.thread(f"t{number}") for number in range(THREADS)]
        self.streams = [self.model.stream(device, handle, blocking=blocking) for device, handle, blocking in STREAMS]
        self.events = [Event() for _ in range(EVENTS)]
        self.syncs = [Sync() for _ in range(SYNCS)]
        self.storages = [Storage(f"s{number}", host=True) for number in range(STORAGES)]

    def do(self, index: int, op: Op) -> None:
        name, number, a, b, c = op
        model, thread, place = self.model, self.threads[number], Place("trace", index, "")
        access = [(self.storages[b % STORAGES], REGIONS[b % len(REGIONS)], bool(c % 2))]
        stream, event = self.streams[a % len(STREAMS)], self.events[b % EVENTS]
        if name == "launch":
            model.launch(thread, stream, access, str(index), place)
        elif name == "host":
            model.host_access(thread, access, str(index), place)
        elif name == "record":
            model.record(thread, event, stream, place)
        elif name == "wait":
            model.wait(thread, event, stream, place)
        elif name == "synchronize":
            model.synchronize_event(thread, event, place)
        elif name == "query":
            model.query_event(thread, event, bool(c % 2), place)
        elif name == "drain":
            model.synchronize_stream(thread, stream, place)
        elif name == "device":
            model.synchronize_device(thread, f"cuda:{a % 2}", place)
        elif name == "release":
            model.release(thread, self.syncs[a % SYNCS])
        elif name == "acquire":
            model.acquire(thread, self.syncs[a % SYNCS])
        elif name == "respawn" and a % THREADS != number:
            old = self.threads[a % THREADS]
            model.thread_ended(old)
            model.joined(thread, old)
            self.threads[a % THREADS] = model.thread(f"after {index}", thread)


numbers = st.integers(0, 23)
operations = st.tuples(st.sampled_from(NAMES), st.integers(0, THREADS - 1), numbers, numbers, numbers)
traces = st.lists(operations, max_size=40)


def both(trace: list[Op]) -> tuple[Driven, Oracle]:
    driven, brute = Driven(), Oracle()
    for index, op in enumerate(trace):
        driven.do(index, op)
        brute.do(index, op)
    return driven, brute


def dense(seed: int) -> list[Op]:
    """A trace of many operations on few things, as they rarely come by chance."""
    rng = random.Random(seed)
    regions = rng.sample(range(len(REGIONS)), rng.choice([1, 2, 5]))
    names = [*rng.sample(NAMES, 5), "launch", "host", rng.choice(["record", "wait"])]
    names += ["release", "acquire"] * rng.randrange(4)
    regions += [rng.randrange(24)]
    return [
        (rng.choice(names), rng.randrange(THREADS), rng.randrange(24), rng.choice(regions), rng.randrange(4) // 3)
        for _ in range(rng.choice([12, 25, 50]))
    ]


@pytest.mark.parametrize("block", range(8))
def test_dense_traces_agree_with_the_oracle(block: int) -> None:
    for seed in range(block * 250, block * 250 + 250):
        agrees(dense(seed))


def agrees(trace: list[Op]) -> None:
    driven, brute = both(trace)
    expected = brute.races()
    found = {(int(race.earlier[3]), int(race.later[3])) for race in driven.model.races}
    assert found <= set(expected)
    storage_of = {access.index: access.storage for access in brute.accesses}
    assert {storage_of[later] for _, later in found} == {storage_of[later] for _, later in expected}
    findings = [finding for finding in driven.model.findings if finding.rule in KINDS]
    assert {(finding.first.place.line, KINDS[finding.rule]) for finding in findings} == brute.calls


@settings(max_examples=150, deadline=None)
@given(traces)
def test_a_storage_has_a_race_iff_the_oracle_finds_one_and_each_one_is_real(trace: list[Op]) -> None:
    driven, brute = both(trace)
    expected = brute.races()
    found = {(int(race.earlier[3]), int(race.later[3])) for race in driven.model.races}
    assert found <= set(expected)
    storage_of = {access.index: access.storage for access in brute.accesses}
    assert {storage_of[later] for _, later in found} == {storage_of[later] for _, later in expected}


@settings(max_examples=150, deadline=None)
@given(traces)
def test_a_byte_has_a_race_iff_the_oracle_finds_one(trace: list[Op]) -> None:
    trace = [op for op in trace if not isinstance(REGIONS[op[3] % len(REGIONS)], Strided)]
    driven, brute = both(trace)
    storage_of = {access.index: access.storage for access in brute.accesses}
    expected = {(storage_of[later], byte) for (_, later), common in brute.races().items() for byte in common}
    found = {(driven.storages.index(race.storage), byte) for race in driven.model.races for byte in range(*race.bytes)}
    assert found == expected


@settings(max_examples=150, deadline=None)
@given(traces)
def test_calls_on_events_are_wrong_iff_the_oracle_says_so(trace: list[Op]) -> None:
    driven, brute = both(trace)
    findings = [finding for finding in driven.model.findings if finding.rule in KINDS]
    assert {(finding.first.place.line, KINDS[finding.rule]) for finding in findings} == brute.calls


def test_the_oracle_can_tell_a_race() -> None:
    trace: list[Op] = [("launch", 0, 1, 0, 1), ("launch", 0, 2, 0, 1)]
    brute = both(trace)[1]
    assert brute.races() == {(0, 1): oracle.bytes_of(REGIONS[0])}
