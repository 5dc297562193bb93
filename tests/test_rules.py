"""The rules against their examples: each fires on the program that breaks it, and on nothing that is right."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpugpu import ProtocolViolation
from cpugpu.debug import RULES, Kind, Operation
from cpugpu.debug.examples import PAIRS, play
from cpugpu.debug.rules import Moment, broken, registry, rules_at, steady
from cpugpu.debug.state import EventState

#: Programs that cannot be written without breaking another rule as well.
ALSO = {
    "captured-event-outside": {"wait-inside-capture"},
    "query-during-capture": {"wait-inside-capture"},
}


def test_every_rule_has_a_program_that_breaks_it_and_a_twin() -> None:
    assert list(RULES) != []
    assert set(PAIRS) == set(RULES)


@pytest.mark.parametrize("rule", RULES)
def test_the_violating_program_breaks_its_rule(rule: str) -> None:
    found, _ = play(PAIRS[rule].violates)
    assert rule in found
    assert set(found) == {rule} | ALSO.get(rule, set())


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("mode", ["check", "raise"])
def test_the_clean_twin_breaks_no_rule_at_all(rule: str, mode: Any) -> None:
    assert play(PAIRS[rule].clean, mode) == ([], None)


@pytest.mark.parametrize("rule", RULES)
def test_raise_mode_stops_the_thread_that_breaks_the_rule(rule: str) -> None:
    found, raised = play(PAIRS[rule].violates, "raise")
    if not RULES[rule].raises or rule == "used-after-fork":  # whose child was told
        assert rule in found
        assert not isinstance(raised, ProtocolViolation)
        return
    if rule in ("wait-after-close", "record-after-close"):  # whose program catches HandoffClosed
        assert found == [rule]
        return
    assert isinstance(raised, ProtocolViolation)
    assert raised.rule in {rule} | ALSO.get(rule, set())
    assert raised.event
    assert raised.threads
    assert raised.history
    assert raised.rule in str(raised)
    if RULES[rule].also is not None:
        assert isinstance(raised, RULES[rule].also)


@pytest.mark.parametrize("rule", RULES)
def test_the_clean_twin_comes_past_the_rule(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a predicate that always fires, the clean twin would break it: so the twin tests something."""
    for by_kind in registry._by_moment.values():
        for kind, checks in by_kind.items():
            always = tuple((name, check if name != rule else lambda *_: "always") for name, check in checks)
            monkeypatch.setitem(by_kind, kind, always)
    monkeypatch.setattr("cpugpu.debug.event.steady", lambda *_: False)
    found, _ = play(PAIRS[rule].clean)
    # A captured record, a slow call or a forked child is what these are about; without there is nothing to check.
    assert rule in found or rule in {"captured-event-outside", "slow-driver-call", "used-after-fork"}


class Thread:
    """As much of one as the rules ask for."""

    def __init__(self, name: str, *, alive: bool = True) -> None:
        self.name = name
        self.alive = alive

    def is_alive(self) -> bool:
        return self.alive


@given(
    kind=st.sampled_from([Kind.RECORD, Kind.WAIT, Kind.SYNCHRONIZE]),
    thread=st.integers(0, 2),
    producer=st.none() | st.integers(0, 2),
    consumer=st.none() | st.integers(0, 2),
    alive=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    flags=st.tuples(*[st.booleans()] * 5),
    failed_waits=st.integers(0, 4),
)
def test_the_short_cut_skips_nothing(
    kind: Kind, thread: int, producer: Any, consumer: Any, alive: Any, flags: Any, failed_waits: int
) -> None:
    threads = [Thread(name, alive=lives) for name, lives in zip("abc", alive, strict=True)]
    pending, held, closed, producer_told, consumer_told = flags
    held = held or pending  # what may not be replaced is there
    state = EventState(
        "ready",
        producer=None if producer is None else threads[producer],
        consumer=None if consumer is None else threads[consumer],
        pending=pending,
        held=held,
        closed=closed,
        producer_told=producer_told,
        consumer_told=consumer_told,
        failed_waits=failed_waits,
    )
    operation = Operation()
    operation.kind, operation.state = kind, state
    operation.thread, operation.thread_name = threads[thread], "?"  # type: ignore[assignment]
    if steady(state, operation):
        assert broken(rules_at(Moment.BEGIN), state, operation) == []
