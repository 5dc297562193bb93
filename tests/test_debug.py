"""The instrumented event: its journal, its rules, its modes."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from cpugpu import CpuGpuEvent, HandoffClosed, HandoffTimeout, ProducerFailed, ProtocolViolation, annotate
from cpugpu.debug import InstrumentedEvent, Kind, journal
from cpugpu.debug.examples import Stage
from cpugpu.debug.journal import RING
from tests.threads import in_thread
from tests.waiting import eventually


def run(function: Callable[[], object]) -> None:
    """In a thread of its own, to its end."""
    with in_thread(function) as thread:
        thread.join()


def test_a_closed_violation_is_still_handoff_closed() -> None:
    """A worker loop that ends on HandoffClosed must end in every mode."""
    for method in ("wait", "record"):
        ready = InstrumentedEvent("host", mode="raise")
        ready.close()
        for _ in range(2):
            with pytest.raises(HandoffClosed):
                getattr(ready, method)()
    assert journal.violations == 2


def test_a_wait_that_was_there_before_the_close_breaks_no_rule() -> None:
    ready = InstrumentedEvent("host", name="ready", mode="raise")
    with in_thread(ready.wait) as consumer:
        eventually(lambda: consumer.stands_in("_acquire_gate"))
        ready.close()
        with pytest.raises(HandoffClosed):
            consumer.join()
    assert journal.violations == 0


def test_replacing_a_failed_record_or_a_failed_wait_is_no_double_record() -> None:
    ready = InstrumentedEvent("host", mode="check")

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
    made, *entries = journal.entries("ready")
    assert made.kind is Kind.MADE
    assert [(entry.kind, entry.role, entry.generation) for entry in entries] == [
        (Kind.RECORD, "producer", 1),
        (Kind.WAIT, "consumer", 1),
        (Kind.RECORD, "producer", 2),
        (Kind.SYNCHRONIZE, "consumer", 2),
        (Kind.CLOSE, "closer", 0),
    ]
    assert [entry.stream for entry in entries[:3]] == [there, here, sim.default_stream()]
    assert [entry.implicit for entry in entries[:3]] == [False, False, True]
    assert {entry.state.device for entry in entries} == {"sim:0"}
    assert all(0 < entry.begin_ns <= entry.end_ns for entry in entries)
    times = [time for entry in entries for time in (entry.begin_ns, entry.end_ns)]
    assert times == sorted(times)
    assert entries[1].thread is threading.main_thread()
    assert entries[1].thread_name == threading.main_thread().name
    assert entries[1].place.startswith("tests/test_debug.py:")
    assert entries[1].thread_id == threading.get_ident()
    assert "wait 'ready' generation 1" in str(entries[1])


def test_the_journal_remembers_what_was_raised() -> None:
    ready = InstrumentedEvent("host", name="ready", mode="log")
    with pytest.raises(HandoffTimeout):
        ready.wait(timeout=0)
    ready.fail(ValueError("no batch"))
    with pytest.raises(ProducerFailed):
        ready.wait()
    assert [entry.error for entry in journal.entries("ready")[1:]] == ["HandoffTimeout", "", "ProducerFailed"]


def test_the_journal_is_bounded() -> None:
    ready = InstrumentedEvent("host", name="ready", mode="log")
    for _ in range(5000):
        ready.record()
        ready.wait()
    entries = journal.entries("ready")
    assert len(entries) == RING
    assert entries[-1].generation == 5000


def test_generations_are_right_when_the_producer_is_ahead(sim: Any) -> None:
    """The producer records g+1 while the consumer of g is still inside the driver."""
    ready = InstrumentedEvent(sim, name="ready", mode="log")
    inner = ready._real
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
    assert [(entry.kind.value, entry.generation) for entry in journal.entries("ready")[1:]] == [
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
    assert [entry.kind for entry in journal.entries("ready")] == [Kind.MADE, Kind.RECORD, Kind.WAIT]


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
    with Stage("check") as stage:
        ready, (p, c, intruder) = stage.event(), stage.actors("p", "c", "intruder")
        for producer in (p, intruder, p):
            producer(ready.record)
            c(ready.wait)
        found = [(entry.thread_name, rule) for entry in journal.entries("ready") for rule, _ in entry.violations]
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


FORGETS = """
import threading
from cpugpu.debug import InstrumentedEvent, journal
ready = InstrumentedEvent("host", mode="log")
for _ in range(100):
    thread = threading.Thread(target=ready.record)
    thread.start()
    thread.join()
    ready.wait()
print(len(journal._rings), threading.active_count())
"""


def test_the_journal_forgets_old_threads() -> None:
    """In a process of its own: threads that other tests have left have rings too."""
    done = subprocess.run([sys.executable, "-c", FORGETS], capture_output=True, text=True, check=True)
    rings, threads = map(int, done.stdout.split())
    assert rings <= 64 + threads + 1


def test_who_looks_at_a_payload_does_not_wait_for_the_event() -> None:
    """Rule teardown-while-waiting is about waits; `annotate.use()` is the consumer's as well."""
    ready = InstrumentedEvent("host", name="ready", mode="check")
    run(ready.record)
    ready.wait()
    torn_down: list[str] = []

    def tear_down(record: logging.LogRecord) -> bool:
        """The logger calls this within `use()`, which has something to report."""
        if not torn_down:
            torn_down.append(record.getMessage())
            run(lambda: annotate.teardown(ready))
        return True

    logger = logging.getLogger("cpugpu")
    logger.addFilter(tear_down)
    try:
        annotate.use(ready, object())  # which nobody has stamped
    finally:
        logger.removeFilter(tear_down)
    [told] = torn_down
    assert told.startswith("payload-generation")
    assert [rule for entry in journal.entries("ready") for rule, _ in entry.violations] == ["payload-generation"]


@pytest.mark.parametrize("mode", ["off", 1.5])
def test_a_mode_that_makes_no_sense(mode: Any) -> None:
    with pytest.raises(ValueError, match="mode="):
        InstrumentedEvent("host", mode=mode)
