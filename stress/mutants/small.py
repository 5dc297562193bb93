"""Small programs about the event, for the explorer: of each it tries every trace, so what survives them is equivalent.

Each is a promise of `CpuGpuEvent` in as few operations as show it. The device is most often one that numbers its
records: which record a wait is for is seen at once, and not by way of kernels.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from cpugpu import CpuGpuEvent, HandoffClosed, HandoffTimeout, ProducerFailed, scenario
from cpugpu.device.base import DeviceEvent
from cpugpu.device.host import HostDevice, HostEvent
from cpugpu.errors import DeviceError
from cpugpu.rig import HANG, Rig, Scenario

OWN = {"own": "each wait was for the record that was its own"}
OTHER = {"another": "a wait was for another record", HANG: "a thread was not let on"}


class NumberedEvent(HostEvent):
    """Its `number` is that of the record that it has captured."""

    __slots__ = ("number",)

    def __init__(self) -> None:
        self.number = 0


class NumberingDevice(HostDevice):
    """Numbers its records. `waits` has the numbers that were waited for."""

    def __init__(self) -> None:
        self.waits: list[int] = []
        self._failing: set[tuple[str, int]] = set()
        self._records = 0

    def fail(self, call: str) -> None:
        """Let the calling thread's next `call` fail."""
        self._failing.add((call, threading.get_ident()))

    def record(self, stream: Any, spare: DeviceEvent | None) -> HostEvent:  # noqa: ARG002
        """The next number."""
        self._may_fail("record")
        event = spare if isinstance(spare, NumberedEvent) else NumberedEvent()
        self._records += 1
        event.number = self._records
        return event

    def wait(self, event: DeviceEvent, stream: Any) -> None:  # noqa: ARG002
        """Note which one."""
        self._may_fail("wait")
        assert isinstance(event, NumberedEvent)
        self.waits.append(event.number)

    def _may_fail(self, call: str) -> None:
        failing = call, threading.get_ident()
        if failing in self._failing:
            self._failing.discard(failing)
            raise DeviceError("the driver call failed, as the program had asked")


class FullQueue(NumberingDevice):
    """The launch queue is full until there is another record: a wait blocks inside the driver."""

    def __init__(self) -> None:
        super().__init__()
        self.room = threading.Event()

    def wait(self, event: DeviceEvent, stream: Any) -> None:
        """Block while it is full."""
        super().wait(event, stream)
        self.room.wait()


def refused(call: Callable[[], object], *kinds: type[BaseException]) -> bool:
    """Does it raise one of these?"""
    try:
        call()
    except kinds:
        return True
    return False


@scenario(accept=OWN, forbid={**OTHER, "refused": "the last record was consumed, and the next one refused"})
def records_in_turn(rig: Rig) -> str:
    """Three records, each made as soon as nothing is pending; three waits."""
    device = NumberingDevice()
    ready, was_refused = CpuGpuEvent(device), rig.cell(False)

    def producer() -> None:
        for _ in range(3):
            rig.until(lambda: not ready.pending)
            if refused(ready.record, RuntimeError):
                was_refused.set(True)

    def consumer() -> None:
        for _ in range(3):
            ready.wait()

    rig.run(producer, consumer)
    if was_refused.get():
        return "refused"
    return "own" if device.waits == [1, 2, 3] else "another"


@scenario(accept=OWN, forbid={**OTHER, "refused": "the next record was refused"})
def goes_on_in_a_full_queue(rig: Rig) -> str:
    """P1: the consumer is stuck inside the driver until the producer has recorded again."""
    device = FullQueue()
    ready = CpuGpuEvent(device)

    def producer() -> None:
        ready.record()
        rig.until(lambda: not ready.pending)
        ready.record()
        device.room.set()

    def consumer() -> None:
        ready.wait()
        ready.wait()

    rig.run(producer, consumer)
    return "own" if device.waits == [1, 2] else "another"


@scenario(accept={"told": "the consumer was told"}, forbid={"old": "it got a record that it had had", HANG: "it waits"})
def record_raises(rig: Rig) -> str:
    """P2: the second record raises."""
    device, outcome = NumberingDevice(), rig.cell("old")
    ready = CpuGpuEvent(device)

    def producer() -> None:
        ready.record()
        rig.until(lambda: not ready.pending)
        device.fail("record")
        with suppress(DeviceError):
            ready.record()

    def consumer() -> None:
        ready.wait()
        try:
            ready.wait()
        except ProducerFailed:
            outcome.set("told")

    rig.run(producer, consumer)
    return outcome.get()


@scenario(
    accept={"first": "the record, then the failure"},
    forbid={"lost": "the failure came in the place of the record", HANG: "the failure was not delivered"},
)
def fails_behind_a_record(rig: Rig) -> str:
    """`fail()` with a record unconsumed, or just being consumed."""
    device, outcome = NumberingDevice(), rig.cell("lost")
    ready = CpuGpuEvent(device)

    def producer() -> None:
        ready.record()
        ready.fail(ArithmeticError("as the program had asked"))

    def consumer() -> None:
        if refused(ready.wait, ProducerFailed):
            return
        if refused(ready.wait, ProducerFailed):
            outcome.set("first")

    rig.run(producer, consumer)
    return outcome.get()


@scenario(accept={"next": "the next record was accepted"}, forbid={"refused": "the next record was refused"})
def records_after_a_failure(rig: Rig) -> str:
    """A failure that was delivered is over."""
    device, outcome = NumberingDevice(), rig.cell("next")
    ready, told = CpuGpuEvent(device), rig.cell(False)

    def producer() -> None:
        ready.fail(ArithmeticError("as the program had asked"))
        rig.until(told.get, told)
        if refused(ready.record, RuntimeError):
            outcome.set("refused")

    def consumer() -> None:
        told.set(refused(ready.wait, ProducerFailed))

    rig.run(producer, consumer)
    return outcome.get()


@scenario(accept={"closed": "it stays closed"}, forbid={"open": "it was opened again", HANG: "a wait blocks"})
def fails_after_the_end(rig: Rig) -> str:
    """`fail()` after, or against, `close()`: an except clause may always call it."""
    ready = CpuGpuEvent(NumberingDevice())

    def producer() -> None:
        ready.fail(ArithmeticError("as the program had asked"))

    rig.run(producer, ready.close)
    return "closed" if refused(ready.wait, HandoffClosed) and ready.closed else "open"


@scenario(accept={"ended": "each wait was told of the end"}, forbid={HANG: "a wait blocks for ever"})
def ends_against_a_wait(rig: Rig) -> str:
    """`close()` comes at any moment of a record and two waits."""
    ready = CpuGpuEvent(NumberingDevice())

    def producer() -> None:
        with suppress(HandoffClosed):
            ready.record()
        ready.close()

    def consumer() -> None:
        for _ in range(2):
            with suppress(HandoffClosed):
                ready.wait()

    rig.run(producer, consumer)
    return "ended"


@scenario(
    accept={"once": "no record was consumed twice"},
    forbid={"twice": "two waits were for one record", HANG: "a wait for a record that is there blocks"},
)
def puts_back_what_is_there(rig: Rig) -> str:
    """One wait raises inside the driver, when another consumer has had a newer record, or before that."""
    device, failed = NumberingDevice(), rig.cell(False)
    ready = CpuGpuEvent(device)
    ready.record()

    def producer() -> None:
        rig.until(lambda: failed.get() or not ready.pending, failed)
        ready.record()

    def unlucky() -> None:
        device.fail("wait")
        failed.set(refused(ready.wait, DeviceError))

    rig.run(producer, unlucky, ready.wait)
    with suppress(HandoffTimeout):
        ready.wait(timeout=0)
    return "once" if len(device.waits) == len(set(device.waits)) else "twice"


@scenario(accept={"again": "the wait was repeated"}, forbid={HANG: "its record is gone", "refused": "the next one is"})
def repeats_a_wait(rig: Rig) -> str:
    """P3: a wait raises inside the driver, and is called again; or the producer replaces the record before that."""
    device, outcome = NumberingDevice(), rig.cell("again")
    ready, failed = CpuGpuEvent(device), rig.cell(False)

    def producer() -> None:
        ready.record()
        rig.until(failed.get, failed)
        if refused(ready.record, RuntimeError):
            outcome.set("refused")

    def consumer() -> None:
        device.fail("wait")
        failed.set(refused(ready.wait, DeviceError))
        ready.wait()

    rig.run(producer, consumer)
    return outcome.get()


@scenario(accept={"told": "the consumer was told, once"}, forbid={"twice": "it was told again", HANG: "it waits"})
def tells_once(rig: Rig) -> str:
    """A record raises within `recording()`, which hands over what has been handed over already."""
    device = NumberingDevice()
    ready, told = CpuGpuEvent(device), rig.cell(False)

    def producer() -> None:
        device.fail("record")
        with suppress(DeviceError), ready.recording():
            ready.record()

    def consumer() -> None:
        told.set(refused(ready.wait, ProducerFailed))

    rig.run(producer, consumer)
    try:
        ready.wait(timeout=0)
    except HandoffTimeout:
        return "told"
    except ProducerFailed:
        return "twice"
    return "consumed"


@scenario(
    accept={"in time": "not before the device"},
    forbid={"early": "the device was not there", HANG: "the record is gone"},
)
def synchronizes_in_vain(rig: Rig) -> str:
    """The time is up before the device has reached the record, which is there for another wait then."""
    ready, stream, gate, outcome = CpuGpuEvent(), rig.stream(), threading.Event(), rig.cell("in time")

    def held_up() -> None:
        gate.wait()

    def body() -> None:
        rig.launch(stream, held_up)
        ready.record(stream)
        if not refused(lambda: ready.synchronize(timeout=0.002), HandoffTimeout):
            outcome.set("early")
        gate.set()
        if outcome.get() == "in time":
            ready.synchronize()

    rig.run(body)
    return outcome.get()


@contextmanager
def stalling_after(seconds: float) -> Iterator[None]:
    """Waits warn after so long."""
    before = os.environ.get("CPUGPU_STALL_SECONDS")
    os.environ["CPUGPU_STALL_SECONDS"] = str(seconds)
    try:
        yield
    finally:
        if before is None:
            del os.environ["CPUGPU_STALL_SECONDS"]
        else:
            os.environ["CPUGPU_STALL_SECONDS"] = before


@scenario(accept={"in time": "it ended when it had to"}, forbid={"late": "it lasted longer than it was given"})
def times_out_behind_a_stall(rig: Rig) -> str:
    """A timeout longer than the time after which a wait warns; in the explorer's own time, which is exact."""
    with stalling_after(2):
        ready = CpuGpuEvent(NumberingDevice())
    outcome = rig.cell("in time")

    def consumer() -> None:
        begin = time.monotonic()
        if refused(lambda: ready.wait(timeout=3), HandoffTimeout) and time.monotonic() - begin > 4:
            outcome.set("late")

    rig.run(consumer)
    return outcome.get()


#: In the order in which a mutant meets them.
SMALL: tuple[Scenario, ...] = tuple(each for each in list(vars().values()) if isinstance(each, Scenario))
