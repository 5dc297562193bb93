"""What a thread has spent: the difference between one that spins, one that sleeps, and one that polls."""

from __future__ import annotations

import resource
import time

import pytest

from cpugpu.debug.effort import Effort, spent
from cpugpu.debug.operation import Kind, Operation
from cpugpu.debug.rules.timing import unblocking_blocking_event
from cpugpu.debug.state import EventState


def judged(effort: Effort | None, ready_ns: int = 1) -> str | None:
    operation = Operation()
    operation.kind, operation.state = Kind.SYNCHRONIZE, EventState("ready")
    operation.thread_name, operation.effort = "c", effort
    operation.ready_ns, operation.end_ns = ready_ns, 60_000_000_000
    return unblocking_blocking_event(operation.state, operation)


def test_a_thread_that_spins_is_told() -> None:
    assert "c has spun for 20 ms of 60000 ms in synchronize() of 'ready'" in str(judged(Effort(20_000_000, 3)))


@pytest.mark.parametrize(
    "effort",
    [
        None,
        pytest.param(Effort(9_000_000, 0), id="short"),
        pytest.param(Effort(20_000_000, 21), id="polls, or waits for the GIL"),
    ],
)
def test_others_are_not(effort: Effort | None) -> None:
    assert judged(effort) is None


def test_a_wait_that_had_no_record_is_not() -> None:
    assert judged(Effort(20_000_000, 0), ready_ns=0) is None


def test_processor_time_is_counted() -> None:
    before = spent()
    while time.thread_time_ns() < before.cpu_ns + 1_000_000:
        pass
    assert spent().since(before).cpu_ns >= 1_000_000


@pytest.mark.skipif(not hasattr(resource, "RUSAGE_THREAD"), reason="this system does not count them for a thread")
def test_rests_are_counted() -> None:
    before = spent()
    for _ in range(10):
        time.sleep(1e-4)
    assert spent().since(before).rests >= 10
