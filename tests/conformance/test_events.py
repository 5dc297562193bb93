"""Events: one fact of the CUDA runtime's event management a test. Sources: the runtime API manual, section Event
Management; torch's CUDAEvent.h for the lazy creation and the choice of errors."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.waiting import eventually


def test_wait_on_an_unrecorded_event_is_a_no_op(gpu: Any) -> None:
    d, event = gpu.device, gpu.device.event()
    producer, consumer = d.stream(), d.stream()
    cell, seen = d.buffer(0), d.buffer(7)
    with gpu.gate(producer):
        d.fill(cell, 1, producer)
        event.wait(consumer)
        d.copy(cell, seen, consumer)
        consumer.synchronize()
        assert gpu.peek(seen) == 0


def test_query_of_an_unrecorded_event_is_true(gpu: Any) -> None:
    assert gpu.device.event().query() is True


def test_synchronize_with_an_unrecorded_event_returns_at_once(gpu: Any) -> None:
    with gpu.gate(gpu.device.stream()):
        gpu.device.event().synchronize()


def test_an_event_is_bound_to_a_device_by_its_first_record(gpu: Any) -> None:
    event = gpu.device.event()
    assert gpu.event_device(event) is None
    event.record(gpu.device.stream())
    assert gpu.event_device(event) == 0


def test_query_is_false_until_the_captured_work_is_done(gpu: Any) -> None:
    event, stream = gpu.device.event(), gpu.device.stream()
    with gpu.gate(stream) as open_gate:
        event.record(stream)
        assert event.query() is False
        open_gate()
        eventually(event.query)


def test_record_captures_the_work_before_it(gpu: Any) -> None:
    d, event, stream = gpu.device, gpu.device.event(), gpu.device.stream()
    cell = d.buffer(0)
    with gpu.gate(stream) as open_gate:
        d.fill(cell, 1, stream)
        event.record(stream)
        assert not event.query()
        open_gate()
        event.synchronize()
        assert gpu.peek(cell) == 1


def test_record_does_not_capture_the_work_after_it(gpu: Any) -> None:
    event, stream = gpu.device.event(), gpu.device.stream()
    event.record(stream)
    with gpu.gate(stream):
        eventually(event.query)
        assert not stream.query()


def test_synchronize_waits_for_the_captured_work_only(gpu: Any) -> None:
    d, event, stream = gpu.device, gpu.device.event(), gpu.device.stream()
    cell = d.buffer(0)
    d.fill(cell, 1, stream)
    event.record(stream)
    with gpu.gate(stream):
        d.fill(cell, 2, stream)
        event.synchronize()
        assert gpu.peek(cell) == 1


def test_record_does_not_block_the_host(gpu: Any) -> None:
    stream = gpu.device.stream()
    with gpu.gate(stream):
        gpu.device.event().record(stream)
        assert not stream.query()


def test_wait_does_not_block_the_host(gpu: Any) -> None:
    d, event = gpu.device, gpu.device.event()
    producer, consumer = d.stream(), d.stream()
    with gpu.gate(producer):
        event.record(producer)
        event.wait(consumer)
        assert not event.query()


def test_wait_orders_the_later_work_of_the_stream(gpu: Any) -> None:
    d, event = gpu.device, gpu.device.event()
    producer, consumer = d.stream(), d.stream()
    cell, seen = d.buffer(0), d.buffer(7)
    with gpu.gate(producer) as open_gate:
        d.fill(cell, 1, producer)
        event.record(producer)
        event.wait(consumer)
        d.copy(cell, seen, consumer)
        assert not consumer.query()
        open_gate()
        consumer.synchronize()
        assert gpu.peek(seen) == 1


def test_wait_does_not_hold_back_the_earlier_work_of_the_stream(gpu: Any) -> None:
    d, event, before = gpu.device, gpu.device.event(), gpu.device.event()
    producer, consumer = d.stream(), d.stream()
    cell = d.buffer(0)
    with gpu.gate(producer):
        event.record(producer)
        d.fill(cell, 1, consumer)
        before.record(consumer)
        event.wait(consumer)
        before.synchronize()
        assert gpu.peek(cell) == 1


def test_wait_is_not_affected_by_a_later_record(gpu: Any) -> None:
    """ "... uses the most recently captured state at the time of the call, and is not affected by later calls"."""
    d, event = gpu.device, gpu.device.event()
    first, second, consumer = d.stream(), d.stream(), d.stream()
    event.record(first)
    event.wait(consumer)
    with gpu.gate(second):
        event.record(second)
        consumer.synchronize()
        assert not event.query()


def test_wait_uses_the_most_recent_record(gpu: Any) -> None:
    d, event = gpu.device, gpu.device.event()
    first, second, consumer = d.stream(), d.stream(), d.stream()
    event.record(first)
    with gpu.gate(second) as open_gate:
        event.record(second)
        event.wait(consumer)
        assert not consumer.query()
        open_gate()
        consumer.synchronize()


def test_recording_again_overwrites_the_fence_on_the_first_stream(gpu: Any) -> None:
    """sgl#30435: an event holds a single capture."""
    d, event = gpu.device, gpu.device.event()
    first, second, consumer = d.stream(), d.stream(), d.stream()
    cell, seen = d.buffer(0), d.buffer(7)
    with gpu.gate(first):
        d.fill(cell, 1, first)
        event.record(first)
        event.record(second)
        event.wait(consumer)
        d.copy(cell, seen, consumer)
        consumer.synchronize()
        assert gpu.peek(seen) == 0


def test_recording_again_makes_a_done_event_pending(gpu: Any) -> None:
    event, stream = gpu.device.event(), gpu.device.stream()
    event.record(stream)
    event.synchronize()
    with gpu.gate(stream) as open_gate:
        event.record(stream)
        assert not event.query()
        open_gate()
        eventually(event.query)


def test_recording_a_pending_event_again_is_legal(gpu: Any) -> None:
    event, stream = gpu.device.event(), gpu.device.stream()
    with gpu.gate(stream) as open_gate:
        event.record(stream)
        event.record(stream)
        open_gate()
        event.synchronize()


def test_a_stream_may_wait_for_its_own_record(gpu: Any) -> None:
    event, stream = gpu.device.event(), gpu.device.stream()
    event.record(stream)
    event.wait(stream)
    stream.synchronize()


def test_many_streams_may_wait_for_one_record(gpu: Any) -> None:
    d, event, producer = gpu.device, gpu.device.event(), gpu.device.stream()
    consumers = [d.stream() for _ in range(4)]
    with gpu.gate(producer) as open_gate:
        event.record(producer)
        for consumer in consumers:
            event.wait(consumer)
        assert not any(consumer.query() for consumer in consumers)
        open_gate()
        for consumer in consumers:
            consumer.synchronize()


def test_a_stream_may_wait_for_many_records(gpu: Any) -> None:
    d, consumer = gpu.device, gpu.device.stream()
    first, second = d.stream(), d.stream()
    events = [d.event(), d.event()]
    with gpu.gate(first) as open_first, gpu.gate(second) as open_second:
        events[0].record(first)
        events[1].record(second)
        for event in events:
            event.wait(consumer)
        open_first()
        first.synchronize()
        assert not consumer.query()
        open_second()
        consumer.synchronize()


def test_order_is_transitive(gpu: Any) -> None:
    d = gpu.device
    first, second, third = [d.stream() for _ in range(3)]
    cell, seen = d.buffer(0), d.buffer(7)
    with gpu.gate(first) as open_gate:
        d.fill(cell, 1, first)
        second.wait_stream(first)
        third.wait_stream(second)
        d.copy(cell, seen, third)
        assert not third.query()
        open_gate()
        third.synchronize()
        assert gpu.peek(seen) == 1


def test_destroying_a_pending_event_keeps_the_waits_that_were_made(gpu: Any) -> None:
    d, event = gpu.device, gpu.device.event()
    producer, consumer = d.stream(), d.stream()
    cell, seen = d.buffer(0), d.buffer(7)
    with gpu.gate(producer) as open_gate:
        d.fill(cell, 1, producer)
        event.record(producer)
        event.wait(consumer)
        del event
        d.copy(cell, seen, consumer)
        assert not consumer.query()
        open_gate()
        consumer.synchronize()
        assert gpu.peek(seen) == 1


def test_a_query_that_succeeds_shows_the_host_what_was_captured(gpu: Any) -> None:
    d, event, stream = gpu.device, gpu.device.event(), gpu.device.stream()
    cell = d.buffer(0)
    d.fill(cell, 1, stream)
    event.record(stream)
    eventually(event.query)
    assert gpu.peek(cell) == 1


def test_an_event_recorded_in_one_thread_is_waited_for_in_another(gpu: Any) -> None:
    d, event = gpu.device, gpu.device.event()
    producer, consumer = d.stream(), d.stream()
    with gpu.gate(producer) as open_gate:
        event.record(producer)
        thread = threading.Thread(target=event.wait, args=(consumer,))
        thread.start()
        thread.join()
        assert not consumer.query()
        open_gate()
        consumer.synchronize()


def test_an_event_can_be_synchronized_from_another_thread(gpu: Any) -> None:
    event, stream = gpu.device.event(), gpu.device.stream()
    with gpu.gate(stream) as open_gate:
        event.record(stream)
        thread = threading.Thread(target=event.synchronize)
        thread.start()
        open_gate()
        thread.join()
        assert event.query()


def test_record_without_a_stream_uses_the_current_stream(gpu: Any) -> None:
    d, event, stream = gpu.device, gpu.device.event(), gpu.device.stream()
    with gpu.gate(stream) as open_gate:
        with d.use(stream):
            event.record()
        assert not event.query()
        open_gate()
        event.synchronize()


def test_wait_without_a_stream_uses_the_current_stream(gpu: Any) -> None:
    d, event = gpu.device, gpu.device.event()
    producer, consumer = d.stream(), d.stream()
    with gpu.gate(producer) as open_gate:
        event.record(producer)
        with d.use(consumer):
            event.wait()
        assert not consumer.query()
        open_gate()
        consumer.synchronize()


def test_elapsed_time_needs_timing(gpu: Any) -> None:
    events = [gpu.device.event(), gpu.device.event()]
    for event in events:
        event.record(gpu.device.stream())
        event.synchronize()
    with pytest.raises(ValueError, match="timing"):
        events[0].elapsed_time(events[1])


def test_elapsed_time_needs_records(gpu: Any) -> None:
    start, end = gpu.device.event(timing=True), gpu.device.event(timing=True)
    start.record(gpu.device.stream())
    with pytest.raises(ValueError, match="recorded"):
        start.elapsed_time(end)


def test_elapsed_time_needs_completion(gpu: Any) -> None:
    stream = gpu.device.stream()
    start, end = gpu.device.event(timing=True), gpu.device.event(timing=True)
    start.record(stream)
    with gpu.gate(stream):
        end.record(stream)
        with pytest.raises(RuntimeError, match="completed"):
            start.elapsed_time(end)


def test_elapsed_time_is_not_negative_in_stream_order(gpu: Any) -> None:
    stream = gpu.device.stream()
    events = [gpu.device.event(timing=True) for _ in range(3)]
    for event in events:
        event.record(stream)
        gpu.device.fill(gpu.device.buffer(0), 1, stream)
    stream.synchronize()
    assert 0 <= events[0].elapsed_time(events[1]) <= events[0].elapsed_time(events[2])


def test_a_record_on_another_device_is_refused(gpu: Any) -> None:
    other = gpu.other()
    if other is None:
        pytest.skip("one device here: this needs two")
    event = gpu.device.event()
    event.record(gpu.device.stream())
    with pytest.raises(RuntimeError, match="device"):
        event.record(other.device.stream())


def test_a_wait_may_cross_devices(gpu: Any) -> None:
    other = gpu.other()
    if other is None:
        pytest.skip("one device here: this needs two")
    event, producer, consumer = gpu.device.event(), gpu.device.stream(), other.device.stream()
    with gpu.gate(producer) as open_gate:
        event.record(producer)
        event.wait(consumer)
        assert not consumer.query()
        open_gate()
        consumer.synchronize()
