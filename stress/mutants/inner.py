"""Small programs about the simulated device and the rules, for the explorer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from cpugpu import CpuGpuEvent, scenario
from cpugpu.debug import journal
from cpugpu.debug.examples import PAIRS, Pair, Stage, play
from cpugpu.debug.examples.stage import CapturingDevice
from cpugpu.device import resolve, using
from cpugpu.device.simulated import SimulatedDevice, Simulator, no_latency
from cpugpu.errors import DeviceError, HandoffTimeout
from cpugpu.rig import HANG, Rig, Scenario
from stress.mutants.small import refused, stalling_after
from stress.stress_device_facts import ORDERED, STALE
from stress.stress_rules import TOLD, WRONG, held, older_objects_left_alone

# -- the device; with the explorer's threads and clock, its driver for real time is a program like any other ----------


@contextmanager
def real_time(rig: Any, devices: int = 2) -> Iterator[SimulatedDevice]:
    """The device that the hammer has, in the place of the explorer's."""
    before, rig.device = rig.device, SimulatedDevice(Simulator(devices, latency=no_latency))
    try:
        with using(rig.device):
            yield rig.device
    finally:
        rig.device = before


def in_real_time(each: Scenario) -> Scenario:
    """The scenario on that device."""

    def played(rig: Rig) -> Any:
        with real_time(rig):
            return each(rig)

    return replace(each, function=played, name=f"{each.name}_in_real_time")


@scenario(accept={"whole": "all of it, or nothing"}, forbid={"torn": "a kernel was seen half done"}, racy=True)
def tears(rig: Rig) -> str:
    """A demonstration: it fails if no schedule shows a copy of half a fill."""
    cell, seen = rig.buffer(0, 2), rig.buffer(0, 2)
    rig.fill(cell, 1, rig.stream())
    rig.copy(cell, seen, rig.stream())
    return "torn" if len(set(rig.read(seen))) == 2 else "whole"


@scenario(accept={"told": "every call reported the error"}, forbid={"forgotten": "one went through"})
def tells_of_an_error(rig: Rig) -> str:
    """A kernel that fails breaks its device for good."""
    outcome = rig.cell("told")

    def fails() -> None:
        raise ArithmeticError("as the program had asked")

    def body() -> None:
        with real_time(rig) as device:
            stream, event = device.stream(), device.event()
            event.record(stream)
            device.launch(stream, fails)
            calls: list[Callable[[], object]] = [stream.synchronize, stream.query, lambda: event.record(stream)]
            for call in calls:
                if not refused(call, DeviceError):
                    outcome.set("forgotten")

    rig.run(body)
    return outcome.get()


@scenario(accept={"woken": "both went on"}, forbid={HANG: "a thread was not woken"})
def wakes_all(rig: Rig) -> str:
    """Two threads block on one operation."""
    with real_time(rig) as device:
        stream, gate = device.stream(), threading.Event()

        def held_up() -> None:
            gate.wait()

        device.launch(stream, held_up)
        rig.run(stream.synchronize, stream.synchronize, gate.set)
    return "woken"


@scenario(accept={"done": "the work was done"}, forbid={HANG: "a worker has left it behind"})
def goes_on_after_two_reasons(rig: Rig) -> str:
    """A blocking stream waits for the default one for two reasons; and it can be used afterwards."""
    with real_time(rig) as device:
        default, blocking, event = device.default_stream(), device.simulator.stream(0, blocking=True), device.event()
        event.record(default)
        event.wait(blocking)
        for value in range(2):
            device.fill(device.buffer(0), value, blocking)
            blocking.synchronize()
        return "done"


@scenario(accept={"done": "the work was done"}, forbid={HANG: "a worker has left it behind"})
def works_after_a_rest(rig: Rig) -> str:
    """Work comes in when a worker has been idle for so long that it ends."""
    with real_time(rig) as device:
        stream, cell = device.stream(), device.buffer(0)
        device.fill(cell, 1, stream)
        stream.synchronize()
        device.fill(cell, 2, stream)
        stream.synchronize()
        return "done"


@scenario(accept=ORDERED, forbid=STALE)
def two_reasons(rig: Rig) -> str:
    """A stream waits for the records of two others before it goes on."""
    with real_time(rig) as device:
        cells, waits, wrong = [device.buffer(0), device.buffer(0)], device.stream(), device.buffer(0)
        for cell in cells:
            stream, event = device.stream(), device.event()
            device.fill(cell, 1, stream)
            event.record(stream)
            event.wait(waits)
        for cell in cells:
            device.mismatches(cell, 1, wrong, waits)
        return "ordered" if rig.read(wrong) == 0 else "stale"


@scenario(accept={"either": "a record of each device"}, forbid={"raises DeviceError": "it was recorded again"})
def records_on_two_devices(rig: Rig) -> str:
    """The spare event of the first hand-off belongs to the other device."""
    ready = CpuGpuEvent()

    def body() -> None:
        device: Any = resolve()
        for number in range(2):
            stream = rig.stream(device=number)
            with device.use(stream):
                ready.record(stream)
                ready.wait(stream)

    rig.run(body)
    return "either"


#: About the device: of these every trace can be tried, and of those too many.
DEVICE = (tears, tells_of_an_error, wakes_all, works_after_a_rest, records_on_two_devices)
LARGER = (two_reasons, goes_on_after_two_reasons)

# -- the rules ---------------------------------------------------------------------------------------------------------

#: After so many seconds a wait stalls, as it does outside the explorer, where that is off.
MINUTE = 60.0
#: Examples that the explorer cannot play, and why.
UNEXPLORED = {
    "used-after-fork": "it forks",
    "unblocking-blocking-event": "it is about the time on a processor, which is not the explorer's",
}


def waits_with_a_timeout(stage: Stage) -> None:
    """The producer is dead, and the wait will end by itself."""
    ready, (p, c) = stage.event(), stage.actors("p", "c")
    p(ready.record)
    c(ready.wait)
    stage.blocks(c, ready, ready.wait, None, 1000.0)
    p.end()
    stage.beat(later=120)
    try:
        c.result()
    except HandoffTimeout:
        return


def hands_over_within_a_capture(stage: Stage) -> None:
    """Record and wait are in one capture, and go into one graph."""
    device, stream = CapturingDevice(stage.sim), stage.sim.stream()
    device.capture[stream] = 1
    ready, (p, c) = stage.event(device), stage.actors("p", "c")
    p(ready.record, stream)
    c(ready.wait, stream)


def rule(pair: Pair) -> Scenario:
    """The two programs of a rule: the first breaks it and no other, the second none."""

    def programs(rig: Rig) -> str:  # noqa: ARG001
        with stalling_after(MINUTE):
            return held([pair])

    programs.__name__ = pair.violates.__name__
    return scenario(accept=TOLD, forbid=WRONG)(programs)


def breaks_no_other(program: Callable[[Stage], object], *broken: str) -> Scenario:
    """A program that breaks these rules and no other."""

    def played(rig: Rig) -> str:  # noqa: ARG001
        with stalling_after(MINUTE), journal.set_aside(), older_objects_left_alone():
            return ", ".join(sorted({*play(program)[0]} ^ {*broken})) or "right"

    return replace(scenario(accept={"right": "these rules and no other"})(played), name=program.__name__)


#: Of all rules that the explorer can play, and programs that say more than the examples.
RULES = (
    *(rule(pair) for name, pair in PAIRS.items() if name not in UNEXPLORED),
    breaks_no_other(waits_with_a_timeout),
    breaks_no_other(hands_over_within_a_capture, "wait-inside-capture"),
)
