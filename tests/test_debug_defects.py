"""A defect in the debug mode, or in a log handler, does not disturb the program under watch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cpugpu import HandoffTimeout, ProtocolViolation
from cpugpu.debug import InstrumentedEvent, Kind, Moment, defects, journal, watcher
from cpugpu.debug.examples.stage import FailingDevice, Stage
from cpugpu.debug.offline import check
from cpugpu.debug.rules import registry
from cpugpu.debug.tracing import entry_of
from cpugpu.device.host import HostStream
from tests.threads import in_thread
from tests.waiting import eventually

MODES = pytest.mark.parametrize("mode", ["check", "raise"])


@pytest.fixture
def defective() -> Iterator[None]:
    """This test makes defects; elsewhere one fails the test (`conftest.py`)."""
    yield
    defects.clear()


pytestmark = pytest.mark.usefixtures("defective")


def add_rule(monkeypatch: pytest.MonkeyPatch, moment: Moment, kind: Kind) -> None:
    """A rule that raises, before all others."""

    def broken_rule(*_: object) -> str:
        raise ZeroDivisionError("a defect")

    by_kind = registry._by_moment[moment]
    monkeypatch.setitem(by_kind, kind, (("broken-rule", broken_rule), *by_kind.get(kind, ())))


def hand_over(stage: Stage, times: int) -> None:
    ready, (p, c) = stage.event(), stage.actors("p", "c")
    for _ in range(times):
        p(ready.record)
        c(ready.wait)
    p(ready.record)
    c(ready.synchronize)
    ready.close()


@MODES
@pytest.mark.parametrize(
    ("moment", "kind"),
    [
        (Moment.BEGIN, Kind.RECORD),
        (Moment.BEGIN, Kind.WAIT),
        (Moment.STREAM, Kind.WAIT),
        (Moment.HANDED, Kind.SYNCHRONIZE),
        (Moment.LIFE, Kind.CLOSE),
    ],
)
def test_a_rule_that_raises_is_told_once_and_the_program_goes_on(
    mode: Any, moment: Moment, kind: Kind, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    add_rule(monkeypatch, moment, kind)
    with Stage(mode) as stage:
        logging.getLogger("cpugpu").disabled = False  # the stage switches it off
        hand_over(stage, times=3)
        assert stage.found == []
    assert defects.counts["rule broken-rule"] >= 1
    [told] = caplog.messages
    assert "rule broken-rule has raised" in told
    assert "ZeroDivisionError: a defect" in told


def test_a_rule_that_raises_is_counted_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    add_rule(monkeypatch, Moment.BEGIN, Kind.SYNCHRONIZE)
    with Stage("check") as stage:
        ready, (p, c) = stage.event(), stage.actors("p", "c")
        for _ in range(3):
            p(ready.record)
            c(ready.synchronize)
    assert defects.counts == {"rule broken-rule": 3}


def test_a_rule_that_raises_takes_no_other_rule_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    add_rule(monkeypatch, Moment.BEGIN, Kind.RECORD)
    with Stage("raise") as stage:
        ready, (p,) = stage.event(), stage.actors("p")
        p(ready.record)
        with pytest.raises(ProtocolViolation) as caught:
            p(ready.record)
    assert caught.value.rule == "double-record"


def test_a_rule_that_raises_leaves_the_watcher_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what it looks at afterwards in the same beat."""
    add_rule(monkeypatch, Moment.BLOCKED, Kind.WAIT)
    with Stage("check") as stage:
        ready, (p, c) = stage.event(), stage.actors("p", "c")
        p(ready.record)
        c(ready.wait)
        p.end()
        stage.blocks(c, ready, ready.wait)
        stage.beat(later=120)
        assert stage.found == ["producer-died"]


def test_a_rule_that_raises_on_a_trace_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ready = InstrumentedEvent("host", mode="log")
    ready.record()
    entries = [entry_of(operation) for operation in journal.entries()]
    add_rule(monkeypatch, Moment.BEGIN, Kind.RECORD)
    assert check(entries) == []
    [told] = caplog.messages
    assert "rule broken-rule has raised" in told


def test_nothing_is_logged_while_a_lock_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler may use the event that it is told of, in any thread."""
    add_rule(monkeypatch, Moment.BEGIN, Kind.RECORD)
    ready = InstrumentedEvent("host", name="ready", mode="check")
    came_through: list[str] = []

    def use_it_elsewhere(_: logging.LogRecord) -> bool:
        def consume() -> None:
            ready.wait(timeout=0)
            came_through.append("wait")

        with in_thread(consume):
            pass
        return True

    with filtered(use_it_elsewhere):
        ready.record()
    assert came_through == ["wait"]


class filtered:  # noqa: N801
    """The logger calls `function` for each message, as it would a handler, but without taking a handler's lock."""

    def __init__(self, function: Callable[[logging.LogRecord], bool]) -> None:
        self._function = function

    def __enter__(self) -> None:
        logging.getLogger("cpugpu").addFilter(self._function)

    def __exit__(self, *exc_info: object) -> None:
        logging.getLogger("cpugpu").removeFilter(self._function)


class Raising(logging.Handler):
    """Raises, which `logging` leaves to the caller: only a handler that catches calls `handleError`."""

    def emit(self, record: logging.LogRecord) -> None:
        raise OSError("no space left on device")


@pytest.fixture
def raising_handler() -> Iterator[None]:
    handler = Raising()
    logging.getLogger("cpugpu").addHandler(handler)
    yield
    logging.getLogger("cpugpu").removeHandler(handler)


@pytest.mark.usefixtures("raising_handler")
def test_a_handler_that_raises_does_not_reach_the_program() -> None:
    ready = InstrumentedEvent("host", name="ready", mode="check")
    for _ in range(3):
        ready.record()
        ready.wait()  # self-wait, which is logged
    assert [rule for entry in journal.entries("ready") for rule, _ in entry.violations] == ["self-wait"] * 3
    assert set(defects.counts) == {"a handler or filter of the logger 'cpugpu'"}
    assert defects.counts.total() >= 3


@pytest.mark.usefixtures("raising_handler")
def test_a_handler_that_raises_does_not_hide_what_the_call_has_raised() -> None:
    ready = InstrumentedEvent("host", mode="check")
    ready.record()
    with pytest.raises(ProtocolViolation, match="before the previous event was consumed"):
        ready.record()
    ready.wait()
    with pytest.raises(HandoffTimeout):
        ready.wait(timeout=0)


@pytest.mark.usefixtures("raising_handler")
def test_a_handler_that_raises_leaves_the_watchers_thread_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CPUGPU_STALL_SECONDS", "0.01")
    monkeypatch.setattr(watcher, "paused", False)
    ready = InstrumentedEvent("host", name="ready", mode="check")
    with in_thread(ready.wait):
        eventually(lambda: defects.counts)  # the report on the stall
        with in_thread(ready.record):
            pass
    thread = watcher._thread
    assert thread is not None
    beats: list[int] = []
    original = watcher.beat
    monkeypatch.setattr(watcher, "beat", lambda *now: (beats.append(1), original(*now)))
    eventually(lambda: len(beats) >= 2)
    assert thread.is_alive()
    assert set(defects.counts) == {"a handler or filter of the logger 'cpugpu'"}  # the beat went on to its end


def test_a_beat_that_raises_is_not_the_last_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watcher, "paused", False)
    beats: list[int] = []

    def broken_beat(*_: object) -> None:
        beats.append(1)
        raise ZeroDivisionError("a defect")

    with monkeypatch.context() as patch:
        patch.setattr(watcher, "beat", broken_beat)
        InstrumentedEvent("host", mode="check")
        eventually(lambda: len(beats) >= 3)
    assert [message.splitlines()[0] for message in caplog.messages] == [
        "cpugpu: the debug mode has a defect: the watcher has raised; the program goes on (told once)"
    ]


class Unspeakable(HostStream):
    """Somebody's own stream class, with defects."""

    def __repr__(self) -> str:
        raise AttributeError("half made")

    def __eq__(self, other: object) -> bool:
        raise AttributeError("half made")

    __hash__ = None  # type: ignore[assignment]


@MODES
def test_a_stream_that_can_neither_be_compared_nor_told_disturbs_nothing(mode: Any) -> None:
    ready = InstrumentedEvent(FailingDevice(), mode=mode)
    for _ in range(3):
        with in_thread(lambda: ready.record(Unspeakable())):
            pass
        ready.wait(Unspeakable())
    assert defects.counts["the comparison of streams"] >= 1


def test_a_violation_comes_out_even_where_its_history_cannot_be_told() -> None:
    ready, stream = InstrumentedEvent(FailingDevice(), mode="raise"), Unspeakable()
    ready.record(stream)
    with pytest.raises(ProtocolViolation) as caught:
        ready.record(stream)
    assert caught.value.rule == "double-record"
    assert not caught.value.history
    assert defects.counts["the repr of a stream"] == 1


@MODES
def test_what_fails_at_the_end_of_a_call_does_not_reach_the_program(mode: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing_range() -> None:
        raise OSError("the profiler is gone")

    monkeypatch.setattr("cpugpu.debug.recorder.start_range", lambda *_: failing_range)
    with Stage(mode) as stage:
        hand_over(stage, times=1)
        with pytest.raises(TypeError):
            stage.event().record("no stream")
    assert defects.counts["the end of a call"] >= 5


def test_control_c_in_a_handler_is_for_the_program() -> None:
    def interrupted(_: logging.LogRecord) -> bool:
        raise KeyboardInterrupt

    ready = InstrumentedEvent("host", mode="check")
    ready.record()
    with filtered(interrupted), pytest.raises(KeyboardInterrupt):
        ready.wait()
    ready.wait()
