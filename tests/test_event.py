"""What `CpuGpuEvent` promises, one promise a test."""

from __future__ import annotations

import logging
import signal
import threading
from typing import Any

import pytest

import cpugpu
from cpugpu import CpuGpuEvent, HandoffClosed, HandoffTimeout, ProducerFailed, ProtocolViolation
from tests.stepper import Play
from tests.threads import in_thread
from tests.waiting import eventually

# -- vLLM's three tests of the class, re-expressed (tests/distributed/test_eplb_events.py) ---------------------------


def test_wait_blocks_until_record(device: Any) -> None:
    ready = CpuGpuEvent(device)
    with in_thread(ready.wait) as consumer:
        eventually(lambda: consumer.stands_in("_acquire_gate"))
        assert not consumer.done
        ready.record()
        consumer.join()
    assert not ready.pending


def test_reuse_over_cycles(device: Any) -> None:
    there, back = CpuGpuEvent(device), CpuGpuEvent(device)
    cycles = []

    def consume() -> None:
        for cycle in range(8):
            there.wait()
            cycles.append(cycle)
            back.record()

    with in_thread(consume) as consumer:
        for cycle in range(8):
            there.record()
            back.wait()
            assert cycles == list(range(cycle + 1))
        consumer.join()


def test_producer_and_consumer_with_payload(sim: Any) -> None:
    cell, seen = sim.buffer(0), [sim.buffer(0) for _ in range(5)]
    ready, free = CpuGpuEvent(sim), CpuGpuEvent(sim)

    def consume() -> None:
        stream = sim.stream()
        for copy in seen:
            ready.wait(stream)
            sim.copy(cell, copy, stream)
            free.record(stream)

    stream = sim.stream()
    with in_thread(consume) as consumer:
        for value in range(1, 6):
            sim.fill(cell, value, stream)
            ready.record(stream)
            free.wait(stream)
        consumer.join()
    sim.synchronize()
    assert [sim.read(copy) for copy in seen] == [(1,), (2,), (3,), (4,), (5,)]


# -- the double record -----------------------------------------------------------------------------------------------


def test_a_double_record_is_a_runtime_error_in_the_words_of_the_seed(device: Any) -> None:
    ready = CpuGpuEvent(device, name="ready")
    ready.record()
    with pytest.raises(RuntimeError, match="before the previous event was consumed") as caught:
        ready.record()
    violation = caught.value
    assert isinstance(violation, ProtocolViolation)
    assert (violation.rule, violation.event, violation.generation) == ("double-record", "ready", 1)
    assert violation.threads == ("MainThread",)


def test_a_double_record_changes_nothing(device: Any) -> None:
    ready = CpuGpuEvent(device)
    ready.record()
    with pytest.raises(ProtocolViolation):
        ready.record()
    assert ready.pending
    assert ready.generation == 1
    ready.wait(timeout=0)
    ready.record()


# -- time ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["wait", "synchronize"])
def test_a_timeout_raises(device: Any, method: str) -> None:
    ready = CpuGpuEvent(device, name="ready")
    with pytest.raises(HandoffTimeout, match="'ready'") as caught:
        getattr(ready, method)(timeout=0)
    assert isinstance(caught.value, TimeoutError)
    assert isinstance(caught.value, RuntimeError)


def test_a_timeout_consumes_nothing(device: Any) -> None:
    ready = CpuGpuEvent(device)
    with pytest.raises(HandoffTimeout):
        ready.wait(timeout=0.001)
    ready.record()
    ready.wait(timeout=0)


@pytest.mark.parametrize("timeout", [-1, -0.001, float("nan")])
@pytest.mark.parametrize("recorded", [False, True])
def test_a_bad_timeout_is_a_value_error(device: Any, timeout: float, recorded: bool) -> None:
    ready = CpuGpuEvent(device)
    if recorded:
        ready.record()
    for method in (ready.wait, ready.synchronize):
        with pytest.raises(ValueError, match="neither a number of seconds from 0 nor None"):
            method(timeout=timeout)
    assert ready.pending is recorded


@pytest.mark.parametrize("timeout", [1e300, float("inf"), threading.TIMEOUT_MAX * 2])
def test_a_huge_timeout_is_for_ever(device: Any, timeout: float) -> None:
    ready = CpuGpuEvent(device)
    with in_thread(lambda: ready.wait(timeout=timeout)) as consumer:
        eventually(lambda: consumer.stands_in("_acquire_gate"))
        ready.record()
        consumer.join()


def test_a_stalled_wait_warns_once_and_goes_on(
    device: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CPUGPU_STALL_SECONDS", "0.01")
    ready = CpuGpuEvent(device, name="ready")
    with caplog.at_level(logging.WARNING, logger="cpugpu"), in_thread(ready.wait) as consumer:
        eventually(lambda: caplog.records)
        ready.record()
        consumer.join()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "'ready'" in caplog.text


def test_a_stall_warning_does_not_shorten_or_lengthen_a_timeout(
    device: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CPUGPU_STALL_SECONDS", "10")
    ready, asked = CpuGpuEvent(device), []

    class Gate:
        """Never opens, and remembers for how long it was asked to be waited for."""

        def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
            asked.append((blocking, timeout))
            return False

    ready._gate = gate = Gate()  # type: ignore[assignment]
    ready._attempts = map(gate.acquire, [True], [ready._stall_seconds])
    with pytest.raises(HandoffTimeout):
        ready.wait(timeout=30)
    assert asked == [(False, -1), (True, 10), (True, 20)]
    assert len(caplog.records) == 1


@pytest.mark.usefixtures("control_c")
def test_control_c_interrupts_a_wait(device: Any) -> None:
    ready = CpuGpuEvent(device)
    main = threading.main_thread()

    def interrupt() -> None:
        eventually(lambda: in_thread.stands(main, "_acquire_gate"))
        signal.pthread_kill(main.ident or 0, signal.SIGINT)

    with in_thread(interrupt), pytest.raises(KeyboardInterrupt):
        ready.wait()
    ready.record()
    ready.wait(timeout=0)


# -- failure ---------------------------------------------------------------------------------------------------------


def test_a_failed_producer_reaches_the_consumer(device: Any) -> None:
    ready, cause = CpuGpuEvent(device, name="ready"), ValueError("no batch")
    ready.fail(cause)
    with pytest.raises(ProducerFailed, match=r"'ready' failed in generation 1.*no batch") as caught:
        ready.wait()
    assert caught.value.__cause__ is cause


def test_a_failure_wakes_a_consumer_that_waits(device: Any) -> None:
    ready = CpuGpuEvent(device)
    with in_thread(ready.wait) as consumer:
        eventually(lambda: consumer.stands_in("_acquire_gate"))
        ready.fail(ValueError("no batch"))
        with pytest.raises(ProducerFailed):
            consumer.join()


def test_a_failure_is_consumed_once(device: Any) -> None:
    ready = CpuGpuEvent(device)
    ready.fail(ValueError("no batch"))
    with pytest.raises(ProtocolViolation):
        ready.record()
    with pytest.raises(ProducerFailed):
        ready.wait()
    ready.record()
    ready.wait(timeout=0)


def test_a_failure_comes_after_the_record_before_it(device: Any) -> None:
    ready = CpuGpuEvent(device)
    ready.record()
    ready.fail(ValueError("no more"))
    ready.wait(timeout=0)
    with pytest.raises(ProducerFailed):
        ready.wait(timeout=0)


def test_recording_records_on_success(device: Any) -> None:
    ready = CpuGpuEvent(device)
    with ready.recording():
        assert not ready.pending
    ready.wait(timeout=0)


def test_recording_fails_on_an_exception_and_lets_it_through(device: Any) -> None:
    ready = CpuGpuEvent(device)
    with pytest.raises(KeyError), ready.recording():
        raise KeyError("batch")
    with pytest.raises(ProducerFailed) as caught:
        ready.wait(timeout=0)
    assert isinstance(caught.value.__cause__, KeyError)


def test_fail_takes_an_exception(device: Any) -> None:
    with pytest.raises(TypeError, match="not 'oops'"):
        CpuGpuEvent(device).fail("oops")  # type: ignore[arg-type]


def test_a_record_that_raised_can_be_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    with Play(CpuGpuEvent, monkeypatch) as play:
        ready = play.subject
        play.device.broken = 1
        with pytest.raises(OSError, match="driver"):
            ready.record()
        assert not ready.pending
        ready.record()
        ready.wait(timeout=0)
        assert play.device.waits == play.device.records == [1]


def test_a_wait_that_raised_can_be_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    with Play(CpuGpuEvent, monkeypatch) as play:
        ready = play.subject
        ready.record()
        play.device.broken = 1
        with pytest.raises(OSError, match="driver"):
            ready.wait()
        assert ready.pending
        ready.wait(timeout=0)
        assert play.device.waits == [1]
        assert not ready.pending


def test_a_record_that_replaced_a_failure_is_not_replaced_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    with Play(CpuGpuEvent, monkeypatch) as play:
        play.device.broken = 1
        with pytest.raises(OSError, match="driver"):
            play.subject.record()
        play.subject.record()
        with pytest.raises(ProtocolViolation):
            play.subject.record()


# -- the end ---------------------------------------------------------------------------------------------------------


def test_close_ends_a_wait(device: Any) -> None:
    ready = CpuGpuEvent(device, name="ready")
    with in_thread(ready.wait) as first, in_thread(ready.wait) as second:
        eventually(lambda: first.stands_in("_acquire_gate") and second.stands_in("_acquire_gate"))
        ready.close()
        for consumer in (first, second):
            with pytest.raises(HandoffClosed, match="'ready' is closed"):
                consumer.join()


@pytest.mark.parametrize("recorded", [False, True])
def test_nothing_goes_through_a_closed_event(device: Any, recorded: bool) -> None:
    ready = CpuGpuEvent(device)
    if recorded:
        ready.record()
    ready.close()
    assert ready.closed
    assert not ready.pending
    for call in (ready.record, ready.wait, ready.synchronize, lambda: ready.wait(timeout=0), ready.record, ready.wait):
        with pytest.raises(HandoffClosed):
            call()


def test_close_may_be_repeated_and_fail_after_it_changes_nothing(device: Any) -> None:
    ready = CpuGpuEvent(device)
    ready.close()
    ready.close()
    ready.fail(ValueError("too late"))
    with pytest.raises(HandoffClosed):
        ready.wait()


# -- the device side -------------------------------------------------------------------------------------------------


def test_wait_orders_the_stream_and_not_the_thread(sim: Any) -> None:
    ready, cell = CpuGpuEvent(sim), sim.buffer(0)
    opened = threading.Event()
    producer, consumer = sim.stream(), sim.stream()
    sim.launch(producer, opened.wait)
    sim.fill(cell, 1, producer)
    ready.record(producer)
    ready.wait(consumer)  # returns while the device is held back
    assert not consumer.query()
    opened.set()
    consumer.synchronize()
    assert sim.read(cell) == (1,)


def test_synchronize_waits_for_the_device(sim: Any) -> None:
    ready, cell, stream = CpuGpuEvent(sim), sim.buffer(0), sim.stream()
    opened = threading.Event()
    sim.launch(stream, opened.wait)
    sim.fill(cell, 1, stream)
    ready.record(stream)
    with in_thread(ready.synchronize) as consumer:
        eventually(lambda: not ready.pending)
        assert not consumer.done
        opened.set()
        consumer.join()
    assert sim.read(cell) == (1,)


def test_synchronize_times_out_on_the_device_too_and_may_be_repeated(sim: Any) -> None:
    ready, stream = CpuGpuEvent(sim), sim.stream()
    opened = threading.Event()
    sim.launch(stream, opened.wait)
    ready.record(stream)
    with pytest.raises(HandoffTimeout, match="the device did not reach"):
        ready.synchronize(timeout=0.005)
    opened.set()
    ready.synchronize(timeout=60)
    assert not ready.pending


def test_none_is_the_calling_thread_s_current_stream(sim: Any) -> None:
    ready, opened = CpuGpuEvent(sim), threading.Event()
    producer, consumer = sim.stream(), sim.stream()
    sim.launch(producer, opened.wait)
    with sim.use(producer):
        ready.record()
    with sim.use(consumer):
        ready.wait()
    assert not consumer.query()
    opened.set()
    consumer.synchronize()


def test_none_is_the_current_stream_of_the_event_s_device(sim: Any) -> None:
    """H11: a helper thread that never chose a device stands on device 0."""
    second, consumer, opened = type(sim)(sim.simulator, 1), sim.stream(), threading.Event()
    ready = CpuGpuEvent(second)
    second.launch(second.default_stream(), opened.wait)
    assert sim.simulator.current_index == 0
    ready.record()
    ready.wait(consumer)
    assert not consumer.query()
    opened.set()
    consumer.synchronize()


def test_an_event_of_one_device_refuses_the_record_of_another(sim: Any) -> None:
    ready, other = CpuGpuEvent(sim), type(sim)(sim.simulator, 1)
    with pytest.raises(ValueError, match="belongs to device 1 and this event to sim:0"):
        ready.record(other.stream())
    assert not ready.pending
    ready.record(sim.stream())
    ready.wait(other.stream(), timeout=0)  # a wait may cross devices


def test_an_event_without_an_index_follows_the_streams(sim: Any) -> None:
    simulator, anywhere = sim.simulator, type(sim)(sim.simulator)
    ready = CpuGpuEvent(anywhere)
    for index in (0, 1, 1, 0):
        ready.record(type(sim)(simulator, index).stream())
        ready.wait(type(sim)(simulator, 1 - index).stream(), timeout=0)


@pytest.mark.parametrize("stream", ["stream", 7, object()])
def test_a_wrong_stream_is_a_type_error_and_hands_nothing_over(device: Any, stream: Any) -> None:
    ready = CpuGpuEvent(device)
    with pytest.raises(TypeError, match="is no stream of the"):
        ready.record(stream)
    assert not ready.pending
    ready.record()
    with pytest.raises(TypeError, match="is no stream of the"):
        ready.wait(stream)
    assert ready.pending
    ready.wait(timeout=0)


def test_two_device_events_serve_any_number_of_hand_offs(monkeypatch: pytest.MonkeyPatch) -> None:
    with Play(CpuGpuEvent, monkeypatch) as play:
        for _ in range(50):
            play.subject.record()
            play.subject.wait()
        assert play.device.events_made == 1
        play.subject.record()
        for _ in range(50):  # the producer is always one ahead: it records while the consumer is in the driver
            consumer = play.actor(lambda event: event.wait())
            consumer.until("device wait")
            play.subject.record()
            consumer.finish()
        assert play.device.events_made == 2
        assert play.device.waits == play.device.records[:-1]


# -- the rest --------------------------------------------------------------------------------------------------------


def test_pending_and_generation_tell_where_it_is(device: Any) -> None:
    ready = CpuGpuEvent(device, name="ready")
    assert (ready.pending, ready.generation, ready.closed) == (False, 0, False)
    ready.record()
    assert (ready.pending, ready.generation) == (True, 1)
    assert "'ready' on" in repr(ready)
    assert "recorded, generation 1" in repr(ready)
    ready.wait()
    assert (ready.pending, ready.generation) == (False, 1)
    assert "empty" in repr(ready)
    ready.close()
    assert "closed" in repr(ready)


def test_names_differ(device: Any) -> None:
    assert CpuGpuEvent(device).name != CpuGpuEvent(device).name


def test_it_is_the_production_class_while_the_toggle_is_off() -> None:
    assert type(CpuGpuEvent("host")) is CpuGpuEvent


def test_the_public_face_is_what_it_says() -> None:
    for name in cpugpu.__all__:
        assert getattr(cpugpu, name).__doc__
