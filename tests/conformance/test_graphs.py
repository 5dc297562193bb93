"""Graph capture: one fact of the CUDA runtime a test. Source: the runtime API manual, sections Stream Management
(cudaStreamBeginCapture, cudaThreadExchangeStreamCaptureMode) and Graph Management; the codes are in driver_types.h.

Buffers are written by their own kernels only: none allocates, so that a capture holds nothing but what is written here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.threads import in_thread
from tests.waiting import eventually

INVALID_ARGUMENT = "invalid argument"
PRESENT_STATE = "the operation cannot be performed in the present state"
UNSUPPORTED = "operation not permitted when stream is capturing"
INVALIDATED = "operation failed due to a previous error during capture"
MERGE = "operation would result in a merge of separate capture sequences"
UNMATCHED = "capture was not ended in the same stream as it began"
UNJOINED = "capturing stream has unjoined work"
ISOLATION = "dependency created on uncaptured work in another stream"
IMPLICIT = "operation would make the legacy stream depend on a capturing blocking stream"
CAPTURED_EVENT = "operation not permitted on an event last recorded in a capturing stream"
WRONG_THREAD = "attempt to terminate a thread-local capture sequence from another thread"

MODES = ("global", "thread_local", "relaxed")


def refused(text: str) -> Any:
    return pytest.raises(RuntimeError, match=text)


@contextlib.contextmanager
def capturing(gpu: Any, mode: str = "global", stream: Any = None) -> Iterator[Any]:
    """A stream that is capturing, in the end no more."""
    stream = stream or gpu.device.stream()
    gpu.begin_capture(stream, mode)
    try:
        yield stream
    finally:
        if gpu.is_capturing(stream):
            with contextlib.suppress(RuntimeError):
                gpu.end_capture(stream)


def in_another_thread(call: Callable[[], Any]) -> None:
    with in_thread(call) as thread:
        thread.join()


def is_invalid(gpu: Any, stream: Any) -> None:
    """The capture has been invalidated: its end says so, and then the stream is as any other."""
    with refused(INVALIDATED):
        gpu.end_capture(stream)
    assert not gpu.is_capturing(stream)
    cell = gpu.device.buffer(0)
    gpu.device.fill(cell, 1, stream)
    stream.synchronize()
    assert gpu.peek(cell) == 1


# -- capture and launch


def test_what_is_captured_does_not_run(gpu: Any) -> None:
    d, stream, cell = gpu.device, gpu.device.stream(), gpu.device.buffer(0)
    with capturing(gpu, stream=stream):
        d.fill(cell, 1, stream)
        gpu.end_capture(stream)
    stream.synchronize()
    assert gpu.peek(cell) == 0


def test_a_launch_does_what_was_captured_and_each_one_again(gpu: Any) -> None:
    d, cell = gpu.device, gpu.device.buffer(0)
    with capturing(gpu) as stream:
        d.add(cell, 1, stream)
        d.add(cell, 10, stream)
        graph = gpu.end_capture(stream)
    gpu.launch(graph, stream)
    stream.synchronize()
    assert gpu.peek(cell) == 11
    for _ in range(3):
        gpu.launch(graph, stream)
    stream.synchronize()
    assert gpu.peek(cell) == 44


def test_an_empty_graph_can_be_launched(gpu: Any) -> None:
    with capturing(gpu) as stream:
        graph = gpu.end_capture(stream)
    gpu.launch(graph, stream)
    stream.synchronize()


def test_a_launch_comes_after_what_the_stream_holds_and_before_what_it_gets(gpu: Any) -> None:
    d, cell, seen = gpu.device, gpu.device.buffer(0), gpu.device.buffer(0)
    with capturing(gpu) as stream:
        d.add(cell, 1, stream)
        graph = gpu.end_capture(stream)
    other = d.stream()
    with gpu.gate(other) as open_gate:
        d.fill(cell, 10, other)
        gpu.launch(graph, other)
        d.copy(cell, seen, other)
        assert not other.query()
        open_gate()
        other.synchronize()
    assert gpu.peek(seen) == 11


def test_a_captured_stream_does_not_wait_for_what_it_held_before(gpu: Any) -> None:
    """The capture begins anew: what the stream was given before belongs to no graph."""
    d, cell, seen = gpu.device, gpu.device.buffer(3), gpu.device.buffer(0)
    stream, other = d.stream(), d.stream()
    with gpu.gate(stream) as open_gate:
        d.fill(cell, 4, stream)
        with capturing(gpu, stream=stream):
            d.copy(cell, seen, stream)
            graph = gpu.end_capture(stream)
        gpu.launch(graph, other)
        other.synchronize()
        assert gpu.peek(seen) == 3
        open_gate()
        stream.synchronize()
        assert gpu.peek(cell) == 4


def test_a_graph_does_not_overlap_itself_on_another_stream(gpu: Any) -> None:
    d, cell, seen = gpu.device, gpu.device.buffer(0), gpu.device.buffer(0)
    with capturing(gpu) as stream:
        d.copy(cell, seen, stream)
        d.add(cell, 1, stream)
        graph = gpu.end_capture(stream)
    other = d.stream()
    with gpu.gate(stream) as open_gate:
        gpu.launch(graph, stream)
        gpu.launch(graph, other)
        assert not other.query()
        open_gate()
        other.synchronize()
    assert (gpu.peek(cell), gpu.peek(seen)) == (2, 1)


def test_a_graph_may_be_launched_on_the_default_stream(gpu: Any) -> None:
    d, cell = gpu.device, gpu.device.buffer(0)
    with capturing(gpu) as stream:
        d.fill(cell, 1, stream)
        graph = gpu.end_capture(stream)
    gpu.launch(graph, d.default_stream())
    d.default_stream().synchronize()
    assert gpu.peek(cell) == 1


def test_a_graph_is_not_launched_into_a_capture(gpu: Any) -> None:
    d, cell = gpu.device, gpu.device.buffer(0)
    with capturing(gpu) as stream:
        d.add(cell, 1, stream)
        inner = gpu.end_capture(stream)
        gpu.begin_capture(stream)
        with pytest.raises(RuntimeError, match=UNSUPPORTED):
            gpu.launch(inner, stream)
        with pytest.raises(RuntimeError, match=INVALIDATED):
            gpu.end_capture(stream)


# -- forks and joins


def fork(gpu: Any, origin: Any, side: Any) -> None:
    event = gpu.device.event()
    event.record(origin)
    event.wait(side)


def test_a_stream_that_waits_on_an_event_of_a_capture_comes_into_it(gpu: Any) -> None:
    side = gpu.device.stream()
    with capturing(gpu) as stream:
        assert gpu.is_capturing(stream)
        assert not gpu.is_capturing(side)
        fork(gpu, stream, side)
        assert gpu.is_capturing(side)
        gpu.end_capture(stream)
    assert not gpu.is_capturing(side)
    assert not gpu.is_capturing(stream)


def test_a_forked_branch_runs_between_fork_and_join(gpu: Any) -> None:
    d = gpu.device
    cell, seen, after = d.buffer(0), d.buffer(0), d.buffer(0)
    side = d.stream()
    with capturing(gpu) as stream:
        d.fill(cell, 1, stream)
        fork(gpu, stream, side)
        d.copy(cell, seen, side)
        fork(gpu, side, stream)
        d.copy(seen, after, stream)
        graph = gpu.end_capture(stream)
    with gpu.gate(stream) as open_gate:
        gpu.launch(graph, stream)
        open_gate()
        stream.synchronize()
    assert (gpu.peek(seen), gpu.peek(after)) == (1, 1)


def test_the_launch_stream_waits_for_each_branch(gpu: Any) -> None:
    """The join may be the last thing that was captured."""
    d, side = gpu.device, gpu.device.stream()
    cell, seen = d.buffer(0), d.buffer(0)
    external = gpu.external_event()
    with gpu.gate(side) as open_gate:
        external.record(side)
        with capturing(gpu) as stream:
            branch = d.stream()
            fork(gpu, stream, branch)
            with d.use(branch):  # torch asks the *current* stream whether it captures
                external.wait(branch)
            d.fill(cell, 1, branch)
            fork(gpu, branch, stream)
            graph = gpu.end_capture(stream)
        gpu.launch(graph, stream)
        d.copy(cell, seen, stream)
        assert not stream.query()
        open_gate()
        stream.synchronize()
    assert gpu.peek(seen) == 1


def test_a_branch_waits_for_what_the_launch_stream_holds(gpu: Any) -> None:
    d, branch = gpu.device, gpu.device.stream()
    cell, seen = d.buffer(0), d.buffer(0)
    with capturing(gpu) as stream:
        fork(gpu, stream, branch)
        d.copy(cell, seen, branch)
        fork(gpu, branch, stream)
        graph = gpu.end_capture(stream)
    with gpu.gate(stream) as open_gate:
        d.fill(cell, 1, stream)
        gpu.launch(graph, stream)
        open_gate()
        stream.synchronize()
    assert gpu.peek(seen) == 1


def test_a_branch_does_not_run_on_the_stream_it_was_captured_on(gpu: Any) -> None:
    d, branch, cell = gpu.device, gpu.device.stream(), gpu.device.buffer(0)
    with capturing(gpu) as stream:
        fork(gpu, stream, branch)
        d.fill(cell, 1, branch)
        fork(gpu, branch, stream)
        graph = gpu.end_capture(stream)
    with gpu.gate(branch):
        gpu.launch(graph, stream)
        stream.synchronize()
        assert gpu.peek(cell) == 1


def test_a_branch_with_work_has_to_be_joined(gpu: Any) -> None:
    side, cell = gpu.device.stream(), gpu.device.buffer(0)
    with capturing(gpu) as stream:
        fork(gpu, stream, side)
        gpu.device.fill(cell, 1, side)
        with refused(UNJOINED):
            gpu.end_capture(stream)
        assert not gpu.is_capturing(side)
    gpu.device.fill(cell, 2, side)
    side.synchronize()
    assert gpu.peek(cell) == 2


def test_work_after_the_join_is_not_joined(gpu: Any) -> None:
    side, cell = gpu.device.stream(), gpu.device.buffer(0)
    with capturing(gpu) as stream:
        fork(gpu, stream, side)
        fork(gpu, side, stream)
        gpu.device.fill(cell, 1, side)
        with refused(UNJOINED):
            gpu.end_capture(stream)


def test_a_branch_without_work_need_not_be_joined(gpu: Any) -> None:
    with capturing(gpu) as stream:
        fork(gpu, stream, gpu.device.stream())
        gpu.end_capture(stream)


# -- what may not be waited for


def test_a_capture_cannot_wait_for_what_is_not_captured(gpu: Any) -> None:
    event = gpu.device.event()
    event.record(gpu.device.stream())
    event.synchronize()  # done, and refused all the same
    with capturing(gpu) as stream:
        with refused(ISOLATION):
            event.wait(stream)
        is_invalid(gpu, stream)


def test_a_wait_in_a_capture_on_an_unrecorded_event_is_a_no_op(gpu: Any) -> None:
    d, cell = gpu.device, gpu.device.buffer(0)
    with capturing(gpu) as stream:
        d.event().wait(stream)
        d.fill(cell, 1, stream)
        graph = gpu.end_capture(stream)
    gpu.launch(graph, stream)
    stream.synchronize()
    assert gpu.peek(cell) == 1


def test_two_captures_do_not_merge(gpu: Any) -> None:
    event = gpu.device.event()
    with capturing(gpu) as stream, capturing(gpu) as other:
        event.record(stream)
        with refused(MERGE):
            event.wait(other)
        is_not_usable(gpu, stream)
        for each in (stream, other):
            with refused(INVALIDATED):
                gpu.end_capture(each)


def is_not_usable(gpu: Any, stream: Any) -> None:
    with refused(INVALIDATED):
        gpu.device.event().record(stream)
    assert gpu.is_capturing(stream)


def test_an_event_of_a_capture_that_is_over_is_an_invalid_argument(gpu: Any) -> None:
    event = gpu.device.event()
    with capturing(gpu) as stream:
        event.record(stream)
        gpu.end_capture(stream)
    with refused(INVALID_ARGUMENT):
        event.wait(gpu.device.stream())
    with refused(INVALID_ARGUMENT):
        event.query()
    with refused(INVALID_ARGUMENT):
        event.synchronize()
    with capturing(gpu) as stream:
        with refused(INVALID_ARGUMENT):
            event.wait(stream)
        is_invalid(gpu, stream)


def test_an_event_that_is_recorded_outside_again_is_one_as_any_other(gpu: Any) -> None:
    event, side = gpu.device.event(), gpu.device.stream()
    with capturing(gpu) as stream:
        event.record(stream)
        gpu.end_capture(stream)
    event.record(side)
    event.synchronize()
    event.wait(stream)
    assert event.query()


def test_the_legacy_default_stream_cannot_come_into_a_capture(gpu: Any) -> None:
    event = gpu.device.event()
    with capturing(gpu) as stream:
        event.record(stream)
        with refused(IMPLICIT):
            event.wait(gpu.device.default_stream())
        is_invalid(gpu, stream)


def test_the_legacy_default_stream_works_on_beside_a_capture(gpu: Any) -> None:
    d, cell = gpu.device, gpu.device.buffer(0)
    with capturing(gpu) as stream:
        d.fill(cell, 1, d.default_stream())
        gpu.end_capture(stream)
    d.default_stream().synchronize()
    assert gpu.peek(cell) == 1


def test_the_legacy_default_stream_cannot_work_while_a_blocking_stream_captures(gpu: Any) -> None:
    d, cell = gpu.device, gpu.device.buffer(0)
    with capturing(gpu, "relaxed", gpu.blocking_stream()) as stream:
        with refused(IMPLICIT):
            d.fill(cell, 1, d.default_stream())
        is_invalid(gpu, stream)


# -- beginning and ending


def test_a_capture_cannot_begin_on_the_legacy_default_stream(gpu: Any) -> None:
    with refused(UNSUPPORTED):
        gpu.begin_capture(gpu.device.default_stream())


def test_a_capturing_stream_cannot_begin_again(gpu: Any) -> None:
    with capturing(gpu) as stream:
        with refused(PRESENT_STATE):
            gpu.begin_capture(stream)
        gpu.end_capture(stream)


def test_what_does_not_capture_cannot_end(gpu: Any) -> None:
    with capturing(gpu) as stream:
        with refused(PRESENT_STATE):
            gpu.end_capture(gpu.device.stream())
        gpu.end_capture(stream)


def test_a_capture_ends_on_the_stream_where_it_began(gpu: Any) -> None:
    side = gpu.device.stream()
    with capturing(gpu) as stream:
        fork(gpu, stream, side)
        with refused(UNMATCHED):
            gpu.end_capture(side)
        is_invalid(gpu, stream)


@pytest.mark.parametrize("mode", ["global", "thread_local"])
def test_a_capture_ends_in_the_thread_that_began_it(gpu: Any, mode: str) -> None:
    with capturing(gpu, mode) as stream:

        def end() -> None:
            with refused(WRONG_THREAD):
                gpu.end_capture(stream)

        in_another_thread(end)
        assert not gpu.is_capturing(stream)


def test_a_relaxed_capture_may_end_in_any_thread(gpu: Any) -> None:
    with capturing(gpu, "relaxed") as stream:
        in_another_thread(lambda: gpu.end_capture(stream))
        assert not gpu.is_capturing(stream)


# -- what the host may not ask


UNSAFE = {
    "Event.query": lambda event, stream: event.query(),
    "Event.synchronize": lambda event, stream: event.synchronize(),
    "Stream.query": lambda event, stream: stream.query(),
    "Stream.synchronize": lambda event, stream: stream.synchronize(),
}
#: May a thread make a call that is unsafe, while it or another thread captures in that mode?
ALLOWED = {
    ("own", "global"): False,
    ("own", "thread_local"): False,
    ("own", "relaxed"): True,
    ("other", "global"): False,
    ("other", "thread_local"): True,
    ("other", "relaxed"): True,
}


@pytest.mark.parametrize("call", UNSAFE)
@pytest.mark.parametrize(("whose", "mode"), ALLOWED)
def test_the_mode_says_who_may_make_an_unsafe_call(gpu: Any, call: str, whose: str, mode: str) -> None:
    event, idle = gpu.device.event(), gpu.device.stream()
    event.record(idle)
    gpu.device.synchronize()
    with capturing(gpu, mode) as stream:

        def make_it() -> None:
            with contextlib.nullcontext() if ALLOWED[whose, mode] else refused(UNSUPPORTED):
                UNSAFE[call](event, idle)

        if whose == "own":
            make_it()
        else:
            in_another_thread(make_it)
        if ALLOWED[whose, mode]:
            gpu.end_capture(stream)
        else:
            is_invalid(gpu, stream)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("call", ["Event.query", "Event.synchronize"])
def test_an_event_of_a_capture_cannot_be_asked_in_any_mode(gpu: Any, call: str, mode: str) -> None:
    event = gpu.device.event()
    with capturing(gpu, mode) as stream:
        event.record(stream)
        with refused(CAPTURED_EVENT):
            UNSAFE[call](event, stream)
        is_invalid(gpu, stream)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("call", ["Stream.query", "Stream.synchronize"])
def test_a_capturing_stream_cannot_be_asked_in_any_mode(gpu: Any, call: str, mode: str) -> None:
    with capturing(gpu, mode) as stream:
        with refused(UNSUPPORTED):
            UNSAFE[call](None, stream)
        is_invalid(gpu, stream)


@pytest.mark.parametrize("mode", MODES)
def test_a_device_with_a_capture_cannot_be_waited_for(gpu: Any, mode: str) -> None:
    with capturing(gpu, mode) as stream:

        def synchronise() -> None:
            with refused(UNSUPPORTED):
                gpu.device.synchronize()

        in_another_thread(synchronise)
        is_invalid(gpu, stream)


def test_an_invalid_capture_takes_nothing_more(gpu: Any) -> None:
    event, cell = gpu.device.event(), gpu.device.buffer(0)
    with capturing(gpu) as stream:
        event.record(stream)
        with refused(UNSUPPORTED):
            stream.query()
        with refused(INVALIDATED):
            gpu.device.fill(cell, 1, stream)
        with refused(INVALID_ARGUMENT):
            event.wait(gpu.device.stream())
        is_invalid(gpu, stream)


# -- external events


def test_the_record_of_an_external_event_acts_at_each_launch(gpu: Any) -> None:
    d, event, side = gpu.device, gpu.external_event(), gpu.device.stream()
    cell, seen, held_back = d.buffer(0), d.buffer(0), gpu.external_event()
    with gpu.gate(side) as open_gate:
        held_back.record(side)
        with capturing(gpu) as stream:
            d.fill(cell, 1, stream)
            with d.use(stream):
                event.record()
                held_back.wait()
            d.fill(cell, 2, stream)
            graph = gpu.end_capture(stream)
        gpu.launch(graph, stream)
        other = d.stream()
        event.wait(other)
        d.copy(cell, seen, other)
        other.synchronize()  # it waits for the middle of the graph, not for its end
        assert gpu.peek(seen) == 1
        eventually(event.query)
        assert not stream.query()
        open_gate()
        stream.synchronize()


def test_the_wait_for_an_external_event_acts_at_each_launch(gpu: Any) -> None:
    d, event, side = gpu.device, gpu.external_event(), gpu.device.stream()
    cell, seen = d.buffer(0), d.buffer(0)
    event.record(side)
    with capturing(gpu) as stream:
        with d.use(stream):
            event.wait()
        d.copy(cell, seen, stream)
        graph = gpu.end_capture(stream)
    gpu.launch(graph, stream)
    stream.synchronize()
    assert gpu.peek(seen) == 0
    with gpu.gate(side) as open_gate:
        d.fill(cell, 1, side)
        event.record(side)
        gpu.launch(graph, stream)
        assert not stream.query()
        open_gate()
        stream.synchronize()
    assert gpu.peek(seen) == 1
