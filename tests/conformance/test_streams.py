"""Streams: one fact a test. Sources: the CUDA runtime API manual, sections Stream Management and "Stream
synchronization behavior"; torch's CUDAStream.cpp for the pool."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.waiting import eventually


def test_a_stream_runs_in_order(gpu: Any) -> None:
    d, stream = gpu.device, gpu.device.stream()
    cell = d.buffer(0)
    with gpu.gate(stream) as open_gate:
        for value in (1, 2, 3):
            d.fill(cell, value, stream)
        assert gpu.peek(cell) == 0
        open_gate()
        stream.synchronize()
    assert gpu.peek(cell) == 3


def test_two_streams_are_not_ordered(gpu: Any) -> None:
    d = gpu.device
    held, free = d.stream(), d.stream()
    cell = d.buffer(0)
    with gpu.gate(held):
        d.fill(cell, 1, free)
        free.synchronize()
        assert gpu.peek(cell) == 1


def test_a_launch_does_not_block_the_host(gpu: Any) -> None:
    d, stream = gpu.device, gpu.device.stream()
    cell = d.buffer(0)
    with gpu.gate(stream):
        d.fill(cell, 1, stream)
        assert gpu.peek(cell) == 0


def test_query_tells_whether_a_stream_is_idle(gpu: Any) -> None:
    stream = gpu.device.stream()
    eventually(stream.query)
    with gpu.gate(stream) as open_gate:
        assert stream.query() is False
        open_gate()
        eventually(stream.query)


def test_synchronize_waits_for_one_stream_only(gpu: Any) -> None:
    d = gpu.device
    held, free = d.stream(), d.stream()
    with gpu.gate(held):
        d.fill(d.buffer(0), 1, free)
        free.synchronize()
        assert not held.query()


def test_device_synchronize_waits_for_every_stream(gpu: Any) -> None:
    d = gpu.device
    streams = [d.stream(), d.stream()]
    cells = [d.buffer(0), d.buffer(0)]
    done = threading.Event()

    def synchronize() -> None:
        d.synchronize()
        done.set()

    with gpu.gate(streams[0]) as open_first, gpu.gate(streams[1]) as open_second:
        for cell, stream in zip(cells, streams, strict=True):
            d.fill(cell, 1, stream)
        thread = threading.Thread(target=synchronize)
        thread.start()
        open_first()
        streams[0].synchronize()
        assert not done.is_set()
        open_second()
        thread.join()
    assert [gpu.peek(cell) for cell in cells] == [1, 1]


def test_record_event_returns_a_recorded_event(gpu: Any) -> None:
    stream = gpu.device.stream()
    with gpu.gate(stream) as open_gate:
        event = stream.record_event()
        assert not event.query()
        open_gate()
        event.synchronize()


def test_wait_event_is_the_event_s_wait(gpu: Any) -> None:
    d = gpu.device
    producer, consumer = d.stream(), d.stream()
    with gpu.gate(producer) as open_gate:
        consumer.wait_event(producer.record_event())
        assert not consumer.query()
        open_gate()
        consumer.synchronize()


def test_wait_stream_orders_after_the_present_work(gpu: Any) -> None:
    d = gpu.device
    producer, consumer = d.stream(), d.stream()
    with gpu.gate(producer) as open_gate:
        consumer.wait_stream(producer)
        assert not consumer.query()
        open_gate()
        consumer.synchronize()


def test_wait_stream_does_not_order_after_later_work(gpu: Any) -> None:
    d = gpu.device
    producer, consumer = d.stream(), d.stream()
    consumer.wait_stream(producer)
    with gpu.gate(producer):
        consumer.synchronize()


def test_the_current_stream_is_the_default_stream_at_first(gpu: Any) -> None:
    assert gpu.device.current_stream() == gpu.device.default_stream()


def test_use_sets_and_restores_the_current_stream(gpu: Any) -> None:
    d = gpu.device
    outer, inner = d.stream(), d.stream()
    with d.use(outer):
        with d.use(inner):
            assert d.current_stream() == inner
        assert d.current_stream() == outer
    assert d.current_stream() == d.default_stream()


def test_the_current_stream_belongs_to_a_thread(gpu: Any) -> None:
    """H9: a helper thread does not inherit its parent's `with stream` (ROCm/pytorch#1053)."""
    d, seen = gpu.device, []
    with d.use(d.stream()):
        thread = threading.Thread(target=lambda: seen.append(d.current_stream()))
        thread.start()
        thread.join()
    assert seen == [d.default_stream()]


def test_the_legacy_default_stream_waits_for_blocking_streams(gpu: Any) -> None:
    d, blocking = gpu.device, gpu.blocking_stream()
    cell = d.buffer(0)
    with gpu.gate(blocking) as open_gate:
        d.fill(cell, 1, d.default_stream())
        assert not d.default_stream().query()
        open_gate()
        d.default_stream().synchronize()
    assert gpu.peek(cell) == 1


def test_blocking_streams_wait_for_the_legacy_default_stream(gpu: Any) -> None:
    d, blocking = gpu.device, gpu.blocking_stream()
    cell = d.buffer(0)
    with gpu.gate(d.default_stream()) as open_gate:
        d.fill(cell, 1, blocking)
        assert not blocking.query()
        open_gate()
        blocking.synchronize()


def test_blocking_streams_do_not_wait_for_each_other(gpu: Any) -> None:
    d, cell = gpu.device, gpu.device.buffer(0)
    held, free = gpu.blocking_stream(), gpu.blocking_stream()
    with gpu.gate(held):
        d.fill(cell, 1, free)
        free.synchronize()


def test_blocking_streams_are_ordered_through_the_legacy_default_stream(gpu: Any) -> None:
    """An action on the default stream waits for all blocking streams, and all of them wait for it."""
    d, cell = gpu.device, gpu.device.buffer(0)
    held, later = gpu.blocking_stream(), gpu.blocking_stream()
    with gpu.gate(held) as open_gate:
        d.fill(cell, 1, d.default_stream())
        d.fill(cell, 2, later)
        assert not later.query()
        open_gate()
        later.synchronize()


def test_the_legacy_default_stream_does_not_wait_for_non_blocking_streams(gpu: Any) -> None:
    """torch's own streams are of this kind."""
    d = gpu.device
    cell, held = d.buffer(0), d.stream()
    with gpu.gate(held):
        d.fill(cell, 1, d.default_stream())
        d.default_stream().synchronize()
        assert not held.query()


def test_non_blocking_streams_do_not_wait_for_the_legacy_default_stream(gpu: Any) -> None:
    d = gpu.device
    cell, free = d.buffer(0), d.stream()
    with gpu.gate(d.default_stream()):
        d.fill(cell, 1, free)
        free.synchronize()
        assert not d.default_stream().query()


def test_a_lower_number_is_a_higher_priority(gpu: Any) -> None:
    assert gpu.device.stream(priority=-1).priority < gpu.device.stream(priority=0).priority


@pytest.mark.parametrize("priority", [-100, 100])
def test_priorities_are_clamped(gpu: Any, priority: int) -> None:
    assert -100 < gpu.device.stream(priority=priority).priority < 100


def test_a_priority_orders_nothing(gpu: Any) -> None:
    d = gpu.device
    high, low = d.stream(priority=-1), d.stream()
    with gpu.gate(high):
        d.fill(d.buffer(0), 1, low)
        low.synchronize()


def test_the_33rd_stream_is_the_first_again(gpu: Any) -> None:
    """torch's pool: a missing wait between these two goes unnoticed."""
    d = gpu.device
    streams = [d.stream() for _ in range(33)]
    assert streams[0] == streams[32]
    assert len(set(streams)) == 32


def test_dropping_a_stream_keeps_its_pending_work(gpu: Any) -> None:
    d, stream = gpu.device, gpu.device.stream()
    cell, event = d.buffer(0), gpu.device.event()
    with gpu.gate(stream) as open_gate:
        d.fill(cell, 1, stream)
        event.record(stream)
        open_gate()
    del stream
    event.synchronize()
    assert gpu.peek(cell) == 1


def test_an_unordered_copy_reads_stale_memory(gpu: Any) -> None:
    d = gpu.device
    producer, consumer = d.stream(), d.stream()
    cell, seen = d.buffer(0), d.buffer(7)
    with gpu.gate(producer):
        d.fill(cell, 1, producer)
        d.copy(cell, seen, consumer)
        consumer.synchronize()
        assert gpu.peek(seen) == 0


def test_streams_of_two_devices_are_not_ordered(gpu: Any) -> None:
    other = gpu.other()
    if other is None:
        pytest.skip("one device here: this needs two")
    with gpu.gate(gpu.device.default_stream()):
        other.device.fill(other.device.buffer(0), 1, other.device.default_stream())
        other.device.default_stream().synchronize()


def test_an_error_in_a_kernel_surfaces_at_a_later_call_and_sticks(gpu: Any) -> None:
    if gpu.name != "sim":
        pytest.skip("it would end the process: cudaErrorLaunchFailure, 'the process must be terminated and relaunched'")
    stream = gpu.device.stream()
    gpu.fail(stream)
    with pytest.raises(RuntimeError, match="fails"):
        stream.synchronize()
    for later_call in (stream.query, stream.synchronize, gpu.device.synchronize, lambda: gpu.device.event().record()):
        with pytest.raises(RuntimeError, match="fails"):
            later_call()
