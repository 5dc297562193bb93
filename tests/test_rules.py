"""The rules against their examples: each fires on the program that breaks it, and on nothing that is right."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpugpu import ProtocolViolation, annotate
from cpugpu.cli import main
from cpugpu.debug import RULES, Kind, Operation
from cpugpu.debug.examples import PAIRS, play
from cpugpu.debug.rules import Moment, broken, registry, rules_at, steady
from cpugpu.debug.state import EventState
from cpugpu.report.catalogue import ALSO, scenario_rows
from cpugpu.report.rules import Row, cross_table, page

ROOT = Path(__file__).parent.parent


def test_every_rule_has_a_program_that_breaks_it_and_a_twin() -> None:
    assert list(RULES) != []
    assert set(PAIRS) == set(RULES)


@pytest.mark.parametrize("rule", RULES)
def test_the_violating_program_breaks_its_rule(rule: str) -> None:
    found, _ = play(PAIRS[rule].violates)
    assert rule in found
    assert set(found) == {rule} | ALSO.get(rule, frozenset())


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
    assert raised.rule in {rule} | ALSO.get(rule, frozenset())
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


@pytest.mark.timeout(400)
def test_no_stress_scenario_breaks_a_rule_that_it_does_not_break_on_purpose() -> None:
    rows = list(scenario_rows(ROOT / "stress", seconds=0.03))
    assert len(rows) >= 15
    assert [row for row in rows if not row.right] == []
    assert any(row.found for row in rows)  # some do on purpose


def test_the_table_shows_what_is_wrong() -> None:
    table = cross_table(
        [
            Row("missed", frozenset(), must=frozenset({"double-record"})),
            Row("blamed", frozenset({"double-record"})),
            Row("right", frozenset({"double-record"}), must=frozenset({"double-record"})),
            Row("on purpose", frozenset({"double-record"}), may=frozenset({"double-record"})),
        ]
    )
    cells = [line.split(" .")[0].split() for line in table.splitlines()[-4:]]
    assert cells == [["missed", "!"], ["blamed", "!"], ["right", "X"], ["on", "purpose", "x"]]
    assert table.count("<- wrong") == 2


def test_the_command_prints_a_page_and_refuses_an_unknown_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules", "gil-held"]) == 0
    assert capsys.readouterr().out == page(RULES["gil-held"])
    assert main(["rules", "gil-hold"]) == 2
    assert "there is no rule 'gil-hold'; there are double-record" in capsys.readouterr().err


def test_a_record_that_is_closed_over_when_its_consumer_is_gone_was_never_consumed() -> None:
    def program(stage: Any) -> None:
        ready, (p, c) = stage.event(), stage.actors("p", "c")
        p(ready.record)
        c(ready.wait)
        c.end()
        p(ready.record)
        ready.close()

    assert play(program)[0] == ["never-consumed"]


def test_a_thread_for_each_batch_is_no_dead_producer() -> None:
    def program(stage: Any) -> None:
        ready, (p, c, q) = stage.event(), stage.actors("p", "c", "q")
        p(ready.record)
        c(ready.wait)
        p.end()
        stage.blocks(c, ready, ready.wait)
        stage.beat()
        q(ready.record)
        c.result()

    assert play(program, "raise") == ([], None)


def test_a_declared_producer_that_has_not_started_is_not_dead() -> None:
    def program(stage: Any) -> None:
        ready, (c, q) = stage.event(), stage.actors("c", "q")
        annotate.declare(ready, producer_thread=threading.Thread())
        stage.blocks(c, ready, ready.wait)
        stage.beat(later=120)
        q(ready.record)
        c.result()

    assert play(program, "raise") == ([], None)


def test_a_payload_of_a_record_that_was_repeated_is_the_right_one() -> None:
    def program(stage: Any) -> None:
        ready, (p, c), batch = stage.event(stage.sim), stage.actors("p", "c"), threading.Event()
        inner, ready._real.record = ready._real.record, failing  # type: ignore[method-assign]
        p(annotate.stamp, ready, batch)
        with contextlib.suppress(ArithmeticError):
            p(ready.record)
        ready._real.record = inner
        p(ready.record)
        c(ready.wait)
        c(annotate.use, ready, batch)

    def failing(*_: object) -> Any:
        raise ArithmeticError("the driver")

    assert play(program, "raise") == ([], None)
