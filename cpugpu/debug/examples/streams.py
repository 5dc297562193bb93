"""Programs about streams, devices and captures. In each, `p` is the producer's thread and `c` the consumer's."""

from __future__ import annotations

import contextlib
from typing import Any

from cpugpu import annotate
from cpugpu.debug.examples.pairs import clean, violates
from cpugpu.debug.examples.stage import CapturingDevice, Stage
from cpugpu.device.simulated import SimulatedDevice


@violates("wrong-declared-stream")
def records_the_default_stream(stage: Stage) -> None:
    ready, (p, c), work = stage.event(stage.sim), stage.actors("p", "c"), stage.sim.stream()
    annotate.declare(ready, producer=work)
    p(ready.record, stage.sim.default_stream())
    c(ready.wait, stage.sim.stream())


@clean("wrong-declared-stream")
def records_where_the_work_is(stage: Stage) -> None:
    ready, (p, c), work = stage.event(stage.sim), stage.actors("p", "c"), stage.sim.stream()
    annotate.declare(ready, producer=work)
    p(ready.record, work)
    c(ready.wait, stage.sim.stream())


@violates("implicit-stream-in-helper-thread")
def helper_inherits_nothing(stage: Stage) -> None:
    with stage.sim.use(stage.sim.stream()):
        ready, (helper, c) = stage.event(stage.sim), stage.actors("helper", "c")
        helper(ready.record)
    c(ready.wait, stage.sim.stream())


@clean("implicit-stream-in-helper-thread")
def helper_is_told_the_stream(stage: Stage) -> None:
    side = stage.sim.stream()
    with stage.sim.use(side):
        ready, (helper, c) = stage.event(stage.sim), stage.actors("helper", "c")
        helper(ready.record, side)
    c(ready.wait, stage.sim.stream())


@violates("stale-cached-stream")
def caches_the_current_stream(stage: Stage) -> None:
    ready, (p, c) = stage.event(stage.sim), stage.actors("p", "c")
    cached = stage.sim.current_stream()

    def produce() -> None:
        with stage.sim.use(stage.sim.stream()):
            ready.record(cached)

    p(produce)
    c(ready.wait, stage.sim.stream())


@clean("stale-cached-stream")
def asks_for_the_current_stream(stage: Stage) -> None:
    ready, (p, c) = stage.event(stage.sim), stage.actors("p", "c")

    def produce() -> None:
        with stage.sim.use(stage.sim.stream()):
            ready.record()

    p(produce)
    c(ready.wait, stage.sim.stream())


@violates("thread-on-wrong-device")
def thread_without_set_device(stage: Stage) -> None:
    second = SimulatedDevice(stage.simulator, 1)
    ready, (p, c) = stage.event(second), stage.actors("p", "c")
    p(ready.record)
    c(ready.wait, stage.sim.stream())


@clean("thread-on-wrong-device")
def thread_with_set_device(stage: Stage) -> None:
    second = SimulatedDevice(stage.simulator, 1)
    ready, (p, c) = stage.event(second), stage.actors("p", "c")
    p(stage.simulator.set_current_index, 1)
    p(ready.record)
    c(ready.wait, stage.sim.stream())


@violates("device-mismatch")
def event_of_another_device(stage: Stage) -> None:
    ready, (p,) = stage.event(stage.sim), stage.actors("p")
    p(stage.simulator.set_current_index, 1)
    p(ready.record, SimulatedDevice(stage.simulator, 1).stream())


@clean("device-mismatch")
def event_of_the_streams_device(stage: Stage) -> None:
    second = SimulatedDevice(stage.simulator, 1)
    ready, (p, c) = stage.event(second), stage.actors("p", "c")
    p(stage.simulator.set_current_index, 1)
    p(ready.record, second.stream())
    c(ready.wait, stage.sim.stream())  # a wait may cross


@violates("generic-stream-mix")
def stream_of_another_library(stage: Stage) -> None:
    ready, (p,) = stage.event("host"), stage.actors("p")
    p(ready.record, stage.sim.stream())


@clean("generic-stream-mix")
def stream_of_the_devices_own(stage: Stage) -> None:
    ready, (p, c) = stage.event(stage.sim), stage.actors("p", "c")
    p(ready.record, stage.sim.stream())
    c(ready.wait, stage.sim.stream())


def _capturing(stage: Stage) -> tuple[Any, Any]:
    """A device, and a stream of it that is being captured."""
    device, stream = CapturingDevice(stage.sim), stage.sim.stream()
    device.capture[stream] = 1
    return device, stream


@violates("wait-inside-capture")
def hands_over_inside(stage: Stage) -> None:
    device, captured = _capturing(stage)
    ready, (p, c) = stage.event(device), stage.actors("p", "c")
    p(ready.record, stage.sim.stream())
    c(ready.wait, captured)


@clean("wait-inside-capture")
def hands_over_before(stage: Stage) -> None:
    device, captured = _capturing(stage)
    ready, (p, c) = stage.event(device), stage.actors("p", "c")
    device.capture.clear()
    p(ready.record, stage.sim.stream())
    c(ready.wait, captured)
    device.capture[captured] = 2


@violates("captured-event-outside")
def waits_outside(stage: Stage) -> None:
    device, captured = _capturing(stage)
    ready, (p, c) = stage.event(device), stage.actors("p", "c")
    p(ready.record, captured)
    device.capture.clear()
    c(ready.wait, stage.sim.stream())


@clean("captured-event-outside")
def records_after_the_capture(stage: Stage) -> None:
    device, captured = _capturing(stage)
    ready, (p, c) = stage.event(device), stage.actors("p", "c")
    device.capture.clear()
    p(ready.record, captured)
    c(ready.wait, stage.sim.stream())


@violates("query-during-capture")
def synchronises_meanwhile(stage: Stage) -> None:
    device, captured = _capturing(stage)
    ready, other, (p, c) = stage.event(device), stage.event(device, "other"), stage.actors("p", "c")
    p(ready.record, stage.sim.stream())
    with contextlib.suppress(RuntimeError):
        p(other.record, captured)  # by which the instruments know of the capture
    c(ready.synchronize)


@clean("query-during-capture")
def synchronises_afterwards(stage: Stage) -> None:
    device, _captured = _capturing(stage)
    ready, (p, c) = stage.event(device), stage.actors("p", "c")
    p(ready.record, stage.sim.stream())
    device.capture.clear()
    c(ready.synchronize)
