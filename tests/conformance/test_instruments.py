"""What the instruments say of a device is so, and looking changes nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from cpugpu.debug import InstrumentedEvent, Kind, journal, watcher
from cpugpu.debug.device_time import clocks
from cpugpu.debug.examples.timing import FencelessDevice
from tests.threads import in_thread


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("CPUGPU_DEVICE_TIME", "1")
    yield
    for clock in clocks():
        clock.measure()


def operation(kind: Kind) -> Any:
    return [entry for entry in journal.entries("ready") if entry.kind is kind][-1]


def record_in_a_thread(ready: InstrumentedEvent, stream: Any) -> None:
    with in_thread(lambda: ready.record(stream)) as producer:
        producer.join()


def test_device_times_are_right_within_their_error(gpu: Any, timed: None) -> None:
    """The record cannot be reached before the gate is opened, nor after the host has seen that it was."""
    ready, busy, idle = InstrumentedEvent(gpu.device, name="ready"), gpu.device.stream(), gpu.device.stream()
    record_in_a_thread(ready, idle)
    ready.wait(busy)
    gpu.device.synchronize()
    watcher.beat()  # the first measurement takes the base
    with gpu.gate(busy) as open_gate:
        record_in_a_thread(ready, busy)
        ready.wait(idle)
        opened_ns = time.perf_counter_ns()
        open_gate()
        gpu.device.synchronize()
        done_ns = time.perf_counter_ns()
    watcher.beat()
    record, wait = operation(Kind.RECORD), operation(Kind.WAIT)
    assert opened_ns - record.device_error_ns <= record.device_ns <= done_ns + record.device_error_ns
    assert opened_ns - wait.device_error_ns <= wait.device_ns <= done_ns + wait.device_error_ns
    assert wait.lead_ns >= -wait.lead_error_ns
    assert journal.broken() == set()


def test_work_that_overtakes_its_record_is_measured(gpu: Any, timed: None) -> None:
    device = FencelessDevice(gpu.device)
    ready, busy, idle = InstrumentedEvent(device, name="ready"), gpu.device.stream(), gpu.device.stream()
    with gpu.gate(busy) as open_gate:
        record_in_a_thread(ready, busy)
        ready.wait(idle)
        idle.synchronize()
        open_gate()
        gpu.device.synchronize()
    watcher.beat()
    assert journal.broken() == {"device-order"}


def test_without_the_setting_no_timing_event_is_made(gpu: Any) -> None:
    ready, stream = InstrumentedEvent(gpu.device, name="ready"), gpu.device.stream()
    record_in_a_thread(ready, stream)
    ready.wait(stream)
    assert {entry.timing for entry in journal.entries("ready")} == {None}
    assert {entry.device_ns for entry in journal.entries("ready")} == {0}


def test_streams_and_devices_are_seen(gpu: Any) -> None:
    ready, stream = InstrumentedEvent(gpu.device, name="ready"), gpu.device.stream()
    with gpu.device.use(stream):
        ready.record()
    sight = operation(Kind.RECORD).sight
    assert sight.stream == sight.current == stream
    assert (sight.device_index, sight.current_index, sight.default, sight.capture) == (0, 0, False, 0)
    assert operation(Kind.RECORD).implicit


@pytest.fixture
def captured(gpu: Any) -> Iterator[Any]:
    """A stream that is being captured."""
    stream, cell = gpu.device.stream(), gpu.device.buffer(0)
    gpu.begin_capture(stream)
    yield stream
    gpu.device.fill(cell, 1, stream)
    graph = gpu.end_capture(stream)  # the capture is whole: nothing that the instruments did has ended it
    gpu.launch(graph, stream)
    gpu.device.synchronize()
    assert gpu.device.read(cell) == (1,)


@pytest.mark.parametrize("mode", ["log", "check"])
def test_a_hand_off_inside_a_capture_is_seen_and_does_no_harm(captured: Any, gpu: Any, mode: Any) -> None:
    ready = InstrumentedEvent(gpu.device, name="ready", mode=mode)
    ready.record(captured)
    assert operation(Kind.RECORD).capture > 0
    assert journal.broken() == ({"wait-inside-capture"} if mode == "check" else set())


def test_a_beat_of_the_watcher_does_not_end_a_capture(captured: Any, gpu: Any) -> None:
    ready = InstrumentedEvent(gpu.device, name="ready", mode="log")
    ready.record(captured)
    with in_thread(watcher.beat) as beat:
        beat.join()


def test_synchronising_while_another_stream_is_captured_is_refused_before_it_ends_the_capture(
    captured: Any, gpu: Any
) -> None:
    ready = InstrumentedEvent(gpu.device, name="ready", mode="log")
    ready.record(captured)  # by which the capture is known
    other = InstrumentedEvent(gpu.device, name="other", mode="raise")

    def synchronise() -> None:
        with pytest.raises(RuntimeError, match="query-during-capture"):
            other.synchronize()

    with in_thread(synchronise) as thread:
        thread.join()
