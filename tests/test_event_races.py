"""Races of `CpuGpuEvent` that two threads can have, each tried with the first thread stopped at every place it has."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cpugpu import CpuGpuEvent, HandoffClosed, ProducerFailed, ProtocolViolation
from tests.stepper import Actor, Play
from tests.test_event_schedules import settle, step
from tests.threads import in_thread
from tests.waiting import eventually

Body = Callable[[Any], object]


def record(event: Any) -> None:
    event.record()


def wait(event: Any) -> None:
    event.wait()


def stopped_everywhere(
    monkeypatch: pytest.MonkeyPatch, body: Body, prepare: Body = lambda event: None
) -> Iterator[tuple[Play, Actor]]:
    """The same play again and again, with an actor that stands one place further each time, up to its end."""
    steps, done = 0, False
    while not done:
        with monkeypatch.context() as patch, Play(CpuGpuEvent, patch) as play:
            prepare(play.subject)
            actor = play.actor(body)
            for _ in range(steps):
                if not actor.done:
                    step(actor)
            done = actor.done or actor.blocked
            steps += 1
            yield play, actor
    assert steps > 3


def test_what_is_not_pending_any_more_may_be_recorded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    for play, _ in stopped_everywhere(monkeypatch, wait, record):
        if not play.subject.pending:
            play.subject.record()


def test_a_record_that_raised_can_be_repeated_while_the_consumer_takes_the_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail_to_record(event: Any) -> None:
        event._device.broken = 1
        with pytest.raises(OSError, match="driver"):
            event.record()

    for play, consumer in stopped_everywhere(monkeypatch, wait, fail_to_record):
        producer = play.actor(record)
        settle([producer, consumer])
        assert producer.exception is None
        assert consumer.exception is None or isinstance(consumer.exception, ProducerFailed)
        late = play.actor(wait)
        late.finish()
        assert late.blocked is (consumer.exception is None)  # the record went to exactly one of them


@pytest.mark.parametrize("retry", [False, True])
def test_an_exception_is_handed_over_once_by_record_and_fail(monkeypatch: pytest.MonkeyPatch, retry: bool) -> None:
    def produce(event: Any) -> None:
        event._device.broken = 1
        try:
            event.record()
        except OSError as exception:
            event.fail(exception)
        if retry:
            event.record()

    for play, producer in stopped_everywhere(monkeypatch, produce):
        consumer = play.actor(wait)
        consumer.finish()
        settle([producer, consumer])
        assert producer.exception is None
        waits = [consumer, *(play.actor(wait) for _ in range(2))]
        settle(waits)
        failures = [one for one in waits if one.exception is not None]
        assert len(failures) == (0 if play.device.waits == [1] and retry and not failures else 1)
        assert play.device.waits == ([1] if retry else [])


@pytest.mark.parametrize("further", range(4))
def test_nothing_is_recorded_once_close_has_returned(monkeypatch: pytest.MonkeyPatch, further: int) -> None:
    for play, consumer in stopped_everywhere(monkeypatch, wait, record):
        play.subject.close()
        for _ in range(further):
            if not consumer.done:
                step(consumer)
        producer = play.actor(record)
        settle([producer, consumer])
        assert isinstance(producer.exception, HandoffClosed)
        assert consumer.done
        assert isinstance(play_wait(play).exception, HandoffClosed)


def test_a_wait_after_close_says_so_even_while_a_record_is_in_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    for play, producer in stopped_everywhere(monkeypatch, record):
        play.subject.close()
        consumer = play.actor(lambda event: event.wait(timeout=0))
        consumer.finish()
        assert isinstance(consumer.exception, HandoffClosed)
        assert isinstance(play_wait(play).exception, HandoffClosed)
        producer.finish()
        assert producer.exception is None or isinstance(producer.exception, HandoffClosed)
        assert isinstance(play_wait(play).exception, HandoffClosed)


def play_wait(play: Play) -> Actor:
    actor = play.actor(wait)
    actor.finish()
    return actor


def test_a_synchronize_that_timed_out_has_consumed_nothing(sim: Any) -> None:
    ready, stream, opened = CpuGpuEvent(sim), sim.stream(), threading.Event()
    sim.launch(stream, opened.wait)
    ready.record(stream)
    with pytest.raises(TimeoutError):
        ready.synchronize(timeout=0)
    assert ready.pending
    with pytest.raises(ProtocolViolation):
        ready.record(stream)
    ready.wait(timeout=0)
    opened.set()


def test_a_record_does_not_wait_for_a_synchronize_that_asks_the_device(sim: Any) -> None:
    ready, stream, opened = CpuGpuEvent(sim), sim.stream(), threading.Event()
    sim.launch(stream, opened.wait)
    ready.record(stream)
    with pytest.raises(TypeError):
        ready.wait("no stream")  # from now on a record may replace it, unless somebody consumes it
    with in_thread(lambda: ready.synchronize(timeout=600)) as consumer:
        eventually(lambda: consumer.stands_in("_reached"))
        with pytest.raises(ProtocolViolation):
            ready.record(stream)
        opened.set()
        consumer.join()


def test_only_one_record_replaces_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    with Play(CpuGpuEvent, monkeypatch) as play:
        play.device.broken = 1
        with pytest.raises(OSError, match="driver"):
            play.subject.record()
        first, second = play.actor(record), play.actor(record)
        first.until("device record")
        second.finish()
        assert isinstance(second.exception, ProtocolViolation)
        first.finish()
        assert first.exception is None


def test_close_ends_a_synchronize_that_asks_the_device(sim: Any) -> None:
    ready, stream, opened = CpuGpuEvent(sim), sim.stream(), threading.Event()
    sim.launch(stream, opened.wait)
    ready.record(stream)
    with in_thread(lambda: ready.synchronize(timeout=600)) as consumer:
        eventually(lambda: consumer.stands_in("_reached"))
        ready.close()
        with pytest.raises(HandoffClosed):
            consumer.join()
    opened.set()


def test_a_wrong_stream_does_not_wait_for_a_record_first(device: Any) -> None:
    with pytest.raises(TypeError, match="is no stream of"):
        CpuGpuEvent(device).wait("no stream")


@pytest.mark.usefixtures("control_c")
def test_control_c_never_loses_the_token(device: Any) -> None:
    """A signal that comes just when the lock has been acquired: each round interrupts a wait that is let through."""
    main, rounds, interrupted = threading.main_thread(), 100, 0
    for _ in range(rounds):
        ready = CpuGpuEvent(device)

        def interrupt(ready: CpuGpuEvent = ready) -> None:
            eventually(lambda: in_thread.stands(main, "_acquire_gate"))
            ready.record()
            signal.pthread_kill(main.ident or 0, signal.SIGINT)

        with in_thread(interrupt) as thread:
            try:
                try:
                    ready.wait()
                finally:
                    thread.join()
            except KeyboardInterrupt:
                interrupted += 1
        assert ready._room.locked() != ready._gate.locked()
        ready.close()
        with pytest.raises(HandoffClosed):
            ready.wait()
    assert interrupted == rounds
