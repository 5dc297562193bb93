"""Hand-offs for the sanitizer's engine: each brings one situation about, so that a single run is enough.

Where a mutant takes an order away, a stream reads what no order lets it read, however late the read happens to come.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from cpugpu import CpuGpuEvent, HandoffTimeout, ProducerFailed, scenario
from cpugpu.device import resolve
from cpugpu.errors import DeviceError
from cpugpu.rig import Rig, Scenario

GENERATIONS = 3
#: So long that the device is not done when it is asked.
LATE_SECONDS = 0.02
FRESH = {"fresh": "every look was ordered after the record that it was handed"}
STALE = {"stale": "a look was ordered after another record, or after none"}


class SlowWaits:
    """The device that is in use. All waits but the first are stuck in the driver until `let` says that they may go."""

    def __init__(self, rig: Rig) -> None:
        self._rig, self._device = rig, resolve()
        self._waits = 0
        self.let = rig.cell(1)

    def wait(self, event: Any, stream: Any) -> None:
        """Wait when it is let through."""
        self._waits += 1
        number = self._waits
        self._rig.until(lambda: self.let.get() >= number, self.let)
        self._device.wait(event, stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._device, name)


@scenario(accept=FRESH, forbid=STALE)
def waits_when_it_is_there(rig: Rig) -> str:
    """The consumer comes when the record is pending: which tells it so, and orders nothing."""
    ready, cell, wrong = CpuGpuEvent(), rig.buffer(0), rig.buffer(0)

    def producer() -> None:
        stream = rig.stream()
        rig.fill(cell, 1, stream)
        ready.record(stream)

    def consumer() -> None:
        stream = rig.stream()
        rig.until(lambda: ready.pending)
        ready.wait(stream)
        rig.check(cell, 1, wrong, stream)

    rig.run(producer, consumer)
    return "fresh" if rig.read(wrong) == 0 else "stale"


@scenario(accept=FRESH, forbid=STALE)
def records_while_a_wait_is_in_the_driver(rig: Rig) -> str:
    """P1: the third record comes on another stream, when a wait has taken the second one and is not made yet."""
    device: Any = SlowWaits(rig)
    ready, wrong, returned = CpuGpuEvent(device), rig.buffer(0), rig.cell(0)
    cells = [rig.buffer(0) for _ in range(GENERATIONS)]

    def producer() -> None:
        streams = [rig.stream(), rig.stream()]
        for number, cell in enumerate(cells):
            rig.until(lambda: returned.get() == 1 if number == 1 else not ready.pending, returned)
            rig.fill(cell, 1, streams[number % 2])
            ready.record(streams[number % 2])
        device.let.set(GENERATIONS)

    def consumer() -> None:
        stream = rig.stream()
        for cell in cells:
            ready.wait(stream)
            returned.update(lambda times: times + 1)
            rig.check(cell, 1, wrong, stream)

    rig.run(producer, consumer)
    return "fresh" if rig.read(wrong) == 0 else "stale"


@scenario(accept=FRESH, forbid=STALE)
def goes_on_after_a_failure(rig: Rig) -> str:
    """P2: the second record raises; what was to be handed over is looked at if the wait for it returns."""
    ready, wrong, consumed = CpuGpuEvent(), rig.buffer(0), rig.cell(False)
    cells = [rig.buffer(0), rig.buffer(0)]

    def producer() -> None:
        stream = rig.stream()
        rig.fill(cells[0], 1, stream)
        ready.record(stream)
        rig.until(consumed.get, consumed)
        rig.fill(cells[1], 1, stream)
        rig.break_driver()
        with suppress(DeviceError):
            ready.record(stream)

    def consumer() -> None:
        stream = rig.stream()
        ready.wait(stream)
        rig.check(cells[0], 1, wrong, stream)
        consumed.set(True)
        with suppress(ProducerFailed):
            ready.wait(stream)
            rig.check(cells[1], 1, wrong, stream)

    rig.run(producer, consumer)
    return "fresh" if rig.read(wrong) == 0 else "stale"


@scenario(accept=FRESH, forbid=STALE)
def records_again_after_a_failure(rig: Rig) -> str:
    """The record raises, and is made again before the consumer has looked."""
    ready, cell, wrong, recorded = CpuGpuEvent(), rig.buffer(0), rig.buffer(0), rig.cell(False)

    def producer() -> None:
        stream = rig.stream()
        rig.fill(cell, 1, stream)
        rig.break_driver()
        with suppress(DeviceError):
            ready.record(stream)
        ready.record(stream)
        recorded.set(True)

    def consumer() -> None:
        stream = rig.stream()
        rig.until(recorded.get, recorded)
        ready.wait(stream)
        rig.check(cell, 1, wrong, stream)

    rig.run(producer, consumer)
    return "fresh" if rig.read(wrong) == 0 else "stale"


@scenario(accept=FRESH, forbid=STALE)
def looks_after_a_synchronization(rig: Rig) -> str:
    """The consumer's stream does not wait: the consumer has."""
    return synchronized(rig, None)


@scenario(accept=FRESH, forbid=STALE)
def synchronizes_in_vain_at_first(rig: Rig) -> str:
    """The same; the time for the first attempt is up at once."""
    return synchronized(rig, 0.0)


def synchronized(rig: Rig, timeout: float | None) -> str:
    """Hand over what takes its time."""
    ready, cell, wrong = CpuGpuEvent(), rig.buffer(0), rig.buffer(0)
    recorded = rig.cell(False)

    def producer() -> None:
        stream = rig.stream()
        resolve().delay(stream, LATE_SECONDS)
        rig.fill(cell, 1, stream)
        ready.record(stream)
        recorded.set(True)

    def consumer() -> None:
        rig.until(recorded.get, recorded)
        try:
            ready.synchronize(timeout)
        except HandoffTimeout:
            ready.synchronize()
        rig.check(cell, 1, wrong, rig.stream())

    rig.run(producer, consumer)
    return "fresh" if rig.read(wrong) == 0 else "stale"


#: In the order in which a mutant meets them.
HANDED: tuple[Scenario, ...] = tuple(each for each in list(vars().values()) if isinstance(each, Scenario))
