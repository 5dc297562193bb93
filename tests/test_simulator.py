"""The simulated device's own promises, beside CUDA's facts in tests/conformance."""

from __future__ import annotations

import gc
import threading
from typing import Any

import pytest

from cpugpu import CpuGpuEvent
from cpugpu.device.simulated import SimulatedDevice, Simulator, no_latency, realtime
from cpugpu.device.simulated.model import Machine
from tests.waiting import eventually


def test_the_model_is_a_graph_that_knows_no_threads() -> None:
    """The drawing in model.py: what each operation waits for is known when it is enqueued."""
    machine = Machine()
    first, second = (machine.stream(machine.devices[0]) for _ in range(2))
    from cpugpu.device.simulated.model import EventState

    event = EventState(timing=False)
    assert machine.wait(event, second) is None
    fill = machine.enqueue(first, "fill")
    record = machine.record(event, first)
    later = machine.enqueue(first, "fill")
    wait = machine.wait(event, second)
    assert wait is not None
    copy = machine.enqueue(second, "copy")
    assert (fill.waits_for, record.waits_for, later.waits_for) == (set(), {fill}, {record})
    assert (wait.waits_for, copy.waits_for) == ({record}, {wait})
    assert machine.finish(fill, 1.0) == [record]
    assert machine.finish(record, 2.0) == [later, wait]
    assert machine.finish(wait, 3.0) == [copy]
    assert event.done
    assert not second.idle
    assert machine.finish(copy, 4.0) == []
    assert second.idle
    assert list(machine.devices[0].pending) == [later]


def test_what_is_done_is_forgotten(sim: Any) -> None:
    import weakref

    class Payload:
        """Something that a kernel holds."""

    payload = Payload()
    seen = weakref.ref(payload)
    stream, event = sim.stream(), sim.event()
    sim.launch(stream, lambda held=payload: None)
    event.record(stream)
    stream.synchronize()
    del payload
    gc.collect()
    assert seen() is None


def test_a_kernel_may_be_seen_half_done(sim: Any) -> None:
    """Torn reads: between the two halves of a fill another stream may read."""
    cell, seen = sim.buffer(0, 2), []
    driver, stream = sim.simulator.driver, sim.stream()
    opened = threading.Event()
    sim.launch(stream, opened.wait)
    sim.fill(cell, 1, stream)
    operation = stream.state.last
    operation.parts = [operation.parts[0], lambda: seen.append(sim.read(cell)), operation.parts[1]]
    opened.set()
    driver.block([operation])
    assert seen == [(1, 0)]
    assert sim.read(cell) == (1, 1)


def test_the_same_seed_draws_the_same_latencies() -> None:
    def latencies(seed: int) -> list[float]:
        drawn: list[float] = []

        def latency(rng: Any) -> Any:
            return lambda: drawn.append(rng.random()) or 0.0

        device = SimulatedDevice(Simulator(seed=seed, latency=latency))
        stream = device.stream()
        for _ in range(20):
            device.fill(device.buffer(0), 1, stream)
        stream.synchronize()
        return drawn

    assert latencies(1) == latencies(1) != latencies(2)


def test_priorities_and_pool_are_options() -> None:
    device = SimulatedDevice(Simulator(latency=no_latency, pool=None))
    assert len({device.stream() for _ in range(40)}) == 40


def test_an_idle_worker_ends_and_a_dropped_stream_is_forgotten(sim: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(realtime, "_IDLE_SECONDS", 0.01)
    blocking = sim.stream(blocking=True)
    sim.fill(sim.buffer(0), 1, blocking)
    blocking.synchronize()
    state = sim.simulator.driver.machine.devices[0]
    assert len(state.blocking) == 1
    eventually(lambda: not sim.simulator.driver._workers)
    sim.fill(sim.buffer(0), 1, blocking)  # starts another one
    blocking.synchronize()
    del blocking
    eventually(lambda: (gc.collect(), not state.blocking)[1])


@pytest.mark.parametrize("timeout", [1e300, float("inf")])
def test_a_huge_timeout_is_for_ever(sim: Any, timeout: float) -> None:
    assert sim.synchronize(timeout)


def test_synchronize_gives_up_and_leaves_nothing_behind(sim: Any) -> None:
    stream, opened = sim.stream(), threading.Event()
    sim.launch(stream, opened.wait)
    assert not sim.synchronize(0.001)
    assert stream.state.last.waiters == []
    assert sim.simulator.pending() == ["wait on stream 0.1 waits for its turn"]
    opened.set()
    assert sim.synchronize()


def test_a_latency_that_raises_is_an_error_of_the_device() -> None:
    def latency(rng: Any) -> Any:
        def draw() -> float:
            raise ArithmeticError("no latency today")

        return draw

    device = SimulatedDevice(Simulator(latency=latency))
    stream = device.stream()
    device.fill(device.buffer(0), 1, stream)
    with pytest.raises(RuntimeError, match="no latency today"):
        stream.synchronize()


def test_sizes_must_agree(sim: Any) -> None:
    with pytest.raises(ValueError, match="size 2 to one of size 3"):
        sim.copy(sim.buffer(0, 2), sim.buffer(0, 3), sim.stream())


def test_a_stream_of_another_simulator(sim: Any) -> None:
    other = SimulatedDevice(Simulator(latency=no_latency))
    with pytest.raises(ValueError, match="belongs to another simulator"):
        CpuGpuEvent(sim).record(other.stream())


def test_a_machine_has_a_device() -> None:
    with pytest.raises(ValueError, match="devices=0"):
        Simulator(devices=0)


def test_streams_of_many_threads_all_come_to_an_end(sim: Any) -> None:
    """The driver under contention: every operation runs once, whoever enqueues it."""
    counts = [sim.buffer(0) for _ in range(4)]

    def enqueue(count: Any) -> None:
        stream = sim.stream()
        for _ in range(50):
            sim.add(count, 1, stream)
            stream.wait_event(stream.record_event())

    threads = [threading.Thread(target=enqueue, args=(count,)) for count in counts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sim.synchronize()
    assert [sim.read(count) for count in counts] == [(50,)] * 4
    eventually(lambda: sim.simulator.pending() == [])
