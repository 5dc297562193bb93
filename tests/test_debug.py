"""The instrumented event: its journal, its rules, its modes."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from typing import Any

import pytest

from cpugpu import CpuGpuEvent, HandoffClosed, HandoffTimeout, ProducerFailed, ProtocolViolation
from cpugpu.debug import RULES, InstrumentedEvent, Kind, journal
from tests.threads import in_thread
from tests.waiting import eventually


def run(function: Callable[[], object]) -> None:
    """In a thread of its own, to its end."""
    with in_thread(function) as thread:
        thread.join()


# Each rule: a program that breaks it, as a list of (role, action), a role being a thread; and a clean twin.
# "a!" is the action that breaks the rule; "end" ends the thread of that role.

Program = list[tuple[str, str]]

VIOLATIONS: dict[str, Program] = {
    "double-record": [("p", "record"), ("p", "record!")],
    "second-producer": [("p", "record"), ("c", "wait"), ("q", "record!")],
    "second-consumer": [("p", "record"), ("c", "wait"), ("p", "record"), ("d", "wait!")],
    "self-wait": [("p", "record"), ("p", "wait!")],
    "wait-after-close": [("p", "record"), ("p", "close"), ("c", "wait!")],
    "record-after-close": [("p", "record"), ("p", "close"), ("p", "record!")],
    "dead-producer": [("p", "record"), ("c", "wait"), ("p", "end"), ("c", "wait!")],
}
CLEAN: dict[str, Program] = {
    "double-record": [("p", "record"), ("c", "wait"), ("p", "record")],
    "second-producer": [("p", "record"), ("c", "wait"), ("p", "end"), ("q", "record")],
    "second-consumer": [("p", "record"), ("c", "wait"), ("p", "record"), ("c", "end"), ("d", "wait")],
    "self-wait": [("p", "record"), ("c", "wait"), ("p", "record"), ("c", "wait")],
    "wait-after-close": [("p", "record"), ("c", "wait"), ("p", "close")],
    "record-after-close": [("p", "record"), ("p", "close")],
    "dead-producer": [("p", "record"), ("c", "wait"), ("p", "record"), ("p", "end"), ("c", "wait")],
}


class Cast:
    """Threads by role, each of which does one action at a time."""

    def __init__(self, event: CpuGpuEvent) -> None:
        self.event = event
        self.threads: dict[str, tuple[threading.Thread, Any]] = {}

    def act(self, role: str, action: str) -> BaseException | None:
        if role not in self.threads:
            inbox: Any = queue.SimpleQueue()
            outbox: Any = queue.SimpleQueue()
            thread = threading.Thread(target=self.loop, args=(inbox, outbox), name=role, daemon=True)
            thread.start()
            self.threads[role] = thread, (inbox, outbox)
        thread, (inbox, outbox) = self.threads[role]
        inbox.put(action)
        if action == "end":
            thread.join()
            return None
        return outbox.get()

    def loop(self, inbox: Any, outbox: Any) -> None:
        while (action := inbox.get()) != "end":
            outbox.put(self.exception_of(getattr(self.event, action)))

    @staticmethod
    def exception_of(call: Callable[[], None]) -> BaseException | None:
        try:
            call()
        except BaseException as exception:
            return exception
        return None

    def end(self) -> None:
        self.event.close()
        for role in list(self.threads):
            if self.threads[role][0].is_alive():
                self.act(role, "end")


def perform(program: Program, mode: Any) -> tuple[list[BaseException | None], list[str]]:
    """The exception of each action, and the rules that were found broken."""
    event = InstrumentedEvent("host", name="ready", mode=mode)
    cast = Cast(event)
    try:
        raised = [cast.act(role, action.rstrip("!")) for role, action in program]
    finally:
        found = [rule for entry in journal.entries("ready") for rule, _ in entry.violations]
        cast.end()
    return raised, found


def test_every_rule_has_a_program_and_a_twin() -> None:
    assert set(RULES) == set(VIOLATIONS) == set(CLEAN)


@pytest.mark.parametrize("rule", VIOLATIONS)
def test_raise_mode_stops_the_thread_that_breaks_the_rule(rule: str) -> None:
    program = VIOLATIONS[rule]
    raised, found = perform(program, "raise")
    for (_, action), exception in zip(program, raised, strict=True):
        if not action.endswith("!"):
            assert exception is None
            continue
        assert isinstance(exception, ProtocolViolation)
        assert exception.rule == rule
        assert exception.event == "ready"
        assert exception.threads
        assert "record" in "\n".join(exception.history)
        assert rule in str(exception)
    assert found == [rule]


@pytest.mark.parametrize("rule", CLEAN)
def test_the_clean_twin_breaks_no_rule(rule: str) -> None:
    raised, found = perform(CLEAN[rule], "raise")
    assert [exception for exception in raised if exception] == []
    assert found == []


@pytest.mark.parametrize("rule", [rule for rule in VIOLATIONS if rule != "dead-producer"])
def test_check_mode_logs_and_counts_and_goes_on_as_the_production_class(
    rule: str, caplog: pytest.LogCaptureFixture
) -> None:
    program = VIOLATIONS[rule]
    with caplog.at_level(logging.ERROR, logger="cpugpu"):
        raised, found = perform(program, "check")
    assert found == [rule]
    assert journal.violations == 1
    assert rule in caplog.text
    production = {
        "double-record": ProtocolViolation,
        "wait-after-close": HandoffClosed,
        "record-after-close": HandoffClosed,
    }
    expected = production.get(rule)
    assert type(raised[-1]) is (expected or type(None))


def test_check_mode_reports_a_dead_producer_once_and_waits_on(caplog: pytest.LogCaptureFixture) -> None:
    ready = InstrumentedEvent("host", name="ready", mode="check")
    run(ready.record)
    with caplog.at_level(logging.ERROR, logger="cpugpu"), in_thread(lambda: (ready.wait(), ready.wait())) as consumer:
        eventually(lambda: caplog.records)
        run(ready.record)  # another thread takes the part over
        consumer.join()
    assert [record.message.split(":")[0] for record in caplog.records] == ["dead-producer"]


@pytest.mark.parametrize("rule", VIOLATIONS)
def test_log_mode_checks_nothing(rule: str) -> None:
    program = VIOLATIONS[rule]
    if rule == "dead-producer":
        program = program[:-1]  # the wait would last for ever: nobody looks
    _, found = perform(program, "log")
    assert found == []


def test_a_closed_violation_is_still_handoff_closed() -> None:
    """A worker loop that ends on HandoffClosed must end in every mode."""
    ready = InstrumentedEvent("host", mode="raise")
    ready.close()
    with pytest.raises(HandoffClosed):
        ready.wait()
    with pytest.raises(HandoffClosed):
        ready.record()


def test_a_wait_that_was_there_before_the_close_breaks_no_rule() -> None:
    ready = InstrumentedEvent("host", name="ready", mode="raise")
    with in_thread(ready.wait) as consumer:
        eventually(lambda: consumer.stands_in("_acquire_gate"))
        ready.close()
        with pytest.raises(HandoffClosed):
            consumer.join()
    assert journal.violations == 0


def test_replacing_a_failed_record_or_a_failed_wait_is_no_double_record() -> None:
    ready = InstrumentedEvent("host", mode="raise")

    def produce() -> None:
        with pytest.raises(TypeError):
            ready.record("no stream")
        ready.record()

    def consume() -> None:
        with pytest.raises(TypeError):
            ready.wait("no stream")

    with in_thread(produce) as producer:
        producer.join()
    with in_thread(consume) as consumer:
        consumer.join()
    run(ready.record)


def test_the_journal_has_times_threads_roles_streams_devices_and_generations(sim: Any) -> None:
    ready = InstrumentedEvent(sim, name="ready", mode="log")
    there, here = sim.stream(), sim.stream()

    def produce() -> None:
        ready.record(there)

    with in_thread(produce) as producer:
        producer.join()
    ready.wait(here)
    run(ready.record)
    ready.synchronize()
    ready.close()
    entries = journal.entries("ready")
    assert [(entry.kind, entry.role, entry.generation) for entry in entries] == [
        (Kind.RECORD, "producer", 1),
        (Kind.WAIT, "consumer", 1),
        (Kind.RECORD, "producer", 2),
        (Kind.SYNCHRONIZE, "consumer", 2),
        (Kind.CLOSE, "closer", 0),
    ]
    assert [entry.stream for entry in entries[:3]] == [repr(there), repr(here), repr(sim.default_stream())]
    assert {entry.device for entry in entries} == {"sim:0"}
    assert all(0 < entry.begin_ns <= entry.end_ns for entry in entries)
    times = [time for entry in entries for time in (entry.begin_ns, entry.end_ns)]
    assert times == sorted(times)
    assert entries[1].thread is threading.main_thread()
    assert entries[1].thread_id == threading.get_ident()
    assert "waits ready generation 1" in str(entries[1])


def test_the_journal_remembers_what_was_raised() -> None:
    ready = InstrumentedEvent("host", name="ready", mode="log")
    with pytest.raises(HandoffTimeout):
        ready.wait(timeout=0)
    ready.fail(ValueError("no batch"))
    with pytest.raises(ProducerFailed):
        ready.wait()
    assert [entry.error for entry in journal.entries("ready")] == ["HandoffTimeout", "", "ProducerFailed"]


def test_the_journal_is_bounded() -> None:
    ready = InstrumentedEvent("host", name="ready", mode="log")
    for _ in range(5000):
        ready.record()
        ready.wait()
    entries = journal.entries("ready")
    assert len(entries) == 4096
    assert entries[-1].generation == 5000


def test_generations_are_right_when_the_producer_is_ahead(sim: Any) -> None:
    """The producer records g+1 while the consumer of g is still inside the driver."""
    ready = InstrumentedEvent(sim, name="ready", mode="log")
    inner = ready._device._device
    original, inside, go_on = inner.wait, threading.Event(), threading.Event()

    def slow_wait(event: Any, stream: Any) -> None:
        inside.set()
        go_on.wait()
        original(event, stream)

    inner.wait = slow_wait
    ready.record()
    with in_thread(ready.wait) as consumer:
        inside.wait()
        ready.record()
        go_on.set()
        consumer.join()
    assert [(entry.kind.value, entry.generation) for entry in journal.entries("ready")] == [
        ("record", 1),
        ("wait", 1),
        ("record", 2),
    ]


def test_the_instruments_make_no_device_event(sim: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    original = type(sim).event
    monkeypatch.setattr(type(sim), "event", lambda self, **kwargs: made.append(1) or original(self, **kwargs))
    ready = InstrumentedEvent(sim, mode="check")
    assert made == []
    for _ in range(10):
        run(ready.record)
        ready.wait()
    assert len(made) == 1


@pytest.mark.parametrize("mode", ["log", "check", "1", "raise"])
def test_the_toggle_makes_it(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    monkeypatch.setenv("CPUGPU_DEBUG", mode)
    ready = CpuGpuEvent("host", name="ready")
    assert type(ready) is InstrumentedEvent
    assert ready.name == "ready"
    run(ready.record)
    ready.wait()
    assert len(journal.entries("ready")) == 2


def test_a_subclass_of_the_production_class_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CPUGPU_DEBUG", "1")

    class Mine(CpuGpuEvent):
        """Somebody's own."""

    assert type(Mine("host")) is Mine


def test_made_directly_it_raises() -> None:
    ready = InstrumentedEvent("host")
    ready.record()
    with pytest.raises(ProtocolViolation) as caught:
        ready.wait()
    assert caught.value.rule == "self-wait"


def test_a_wrong_mode() -> None:
    with pytest.raises(ValueError, match="mode='loud' is not one of"):
        InstrumentedEvent("host", mode="loud")  # type: ignore[arg-type]


def test_anybody_may_fail_or_close_without_becoming_the_producer() -> None:
    ready = InstrumentedEvent("host", mode="raise")
    run(ready.record)
    with in_thread(ready.wait) as consumer:
        consumer.join()
    ready.fail(ValueError("a watchdog"))
    with in_thread(ready.wait) as consumer, pytest.raises(ProducerFailed):
        consumer.join()
    run(ready.record)
    assert journal.violations == 0


def test_who_breaks_a_rule_does_not_take_the_part_over() -> None:
    ready = InstrumentedEvent("host", name="ready", mode="check")
    cast = Cast(ready)
    cast.act("p", "record")
    cast.act("c", "wait")
    cast.act("intruder", "record")
    cast.act("c", "wait")
    cast.act("p", "record")
    cast.end()
    found = [(entry.thread.name, rule) for entry in journal.entries("ready") for rule, _ in entry.violations]
    assert found == [("intruder", "second-producer")]


def test_a_broken_driver_cannot_keep_close_and_fail_from_working(sim: Any) -> None:
    def broken() -> None:
        raise ArithmeticError("a kernel that fails")

    ready, stream = InstrumentedEvent(sim, mode="check"), sim.stream()
    sim.launch(stream, broken)
    eventually(lambda: sim.simulator.driver.machine.devices[0].error)
    ready.fail(ValueError("no batch"))
    ready.close()
    assert ready.closed


def test_the_journal_forgets_old_threads() -> None:
    ready = InstrumentedEvent("host", mode="log")
    for _ in range(100):
        run(ready.record)
        ready.wait()
    assert len(journal._rings) <= 64 + threading.active_count() + 1


@pytest.mark.parametrize("mode", ["off", 1.5])
def test_a_mode_that_makes_no_sense(mode: Any) -> None:
    with pytest.raises(ValueError, match="mode="):
        InstrumentedEvent("host", mode=mode)
