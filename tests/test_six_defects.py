"""P1 to P6, one interleaving each: `SeedEvent` has the defect, `CpuGpuEvent` has not.

The interleaving is the same for both. The assertion about the replica shows that the test can fail.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cpugpu import CpuGpuEvent, ProducerFailed
from stress.subjects import SeedEvent
from tests.stepper import Play

BOTH = pytest.mark.parametrize(("subject", "defect"), [(SeedEvent, True), (CpuGpuEvent, False)], ids=["seed", "ours"])
Subject = Callable[[], Any]


def record(event: Any) -> None:
    event.record()


def wait(event: Any) -> None:
    event.wait()


@BOTH
def test_p1_a_record_after_the_device_wait_is_refused(
    subject: Subject, defect: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Play(subject, monkeypatch) as play:
        play.actor(record).finish()
        consumer = play.actor(wait)
        assert consumer.until("device waited") == "device waited"
        producer = play.actor(record)  # legal: what it handed over is consumed
        producer.finish()
        assert isinstance(producer.exception, RuntimeError) is defect


@BOTH
def test_p2_the_consumer_waits_for_ever_when_the_record_raises(
    subject: Subject, defect: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Play(subject, monkeypatch) as play:
        play.device.broken = 1
        producer, consumer = play.actor(record), play.actor(wait)
        producer.finish()
        assert isinstance(producer.exception, OSError)
        consumer.finish()
        assert consumer.blocked is defect
        if not defect:
            assert isinstance(consumer.exception, ProducerFailed)
            assert consumer.exception.__cause__ is producer.exception


@BOTH
def test_p3_no_record_goes_through_after_a_wait_that_raised(
    subject: Subject, defect: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Play(subject, monkeypatch) as play:
        play.actor(record).finish()
        play.device.broken = 1
        consumer = play.actor(wait)
        consumer.finish()
        assert isinstance(consumer.exception, OSError)
        producer = play.actor(record)
        producer.finish()
        assert isinstance(producer.exception, RuntimeError) is defect


@BOTH
def test_p4_a_late_consumer_waits_for_an_event_that_nobody_has_recorded(
    subject: Subject, defect: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Play(subject, monkeypatch) as play:
        play.actor(record).finish()
        early, late = play.actor(wait), play.actor(wait)
        early.until("Event.wait returned")
        late.until("Event.wait returned")
        early.finish()
        producer = play.actor(record)
        producer.until("device record")
        late.finish()
        assert (0 in play.device.waits) is defect
        producer.finish()
        late.finish()
        assert (play.device.waits == play.device.records) is not defect


@BOTH
def test_p5_a_late_clear_erases_the_next_record(
    subject: Subject, defect: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Play(subject, monkeypatch) as play:
        play.actor(record).finish()
        early, late = play.actor(wait), play.actor(wait)
        early.until("Event.wait returned")
        late.until("device waited")
        early.finish()
        play.actor(record).finish()
        late.finish()
        late_again = play.actor(wait)  # for the second record, if the late one has not had it
        late_again.finish()
        assert (2 not in play.device.waits) is defect


@BOTH
def test_p6_two_producers_pass_the_check_together(
    subject: Subject, defect: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Play(subject, monkeypatch) as play:
        first, second = play.actor(record), play.actor(record)
        first.until("Event.is_set returned" if subject is SeedEvent else "Lock.acquire returned")
        second.finish()
        first.finish()
        accepted = sum(producer.exception is None for producer in (first, second))
        consumers = [play.actor(wait) for _ in range(accepted)]
        for consumer in consumers:
            consumer.finish()
        assert any(consumer.blocked for consumer in consumers) is defect
