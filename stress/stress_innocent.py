"""Legal programs that a hasty rule would take for broken ones.

An instrument that cries wolf is switched off. Under `CPUGPU_DEBUG=raise` it is worse: it stops a program that is right.
Here nobody breaks a rule, and it looks a little as if: threads come and go, on other streams each time; a consumer has
nothing to do for a third of a second; one asks, with a timeout, whether there is anything left of a producer that has
ended; one comes when the event is closed already. `inside_a_capture` breaks one rule, and no other.

    $ cpugpu stress stress/stress_innocent.py --stress-seconds=8 --stress-subject=cpugpu.debug:InstrumentedEvent
    threads_come_and_go[CpuGpuEvent]: passed (57 executions in 0.4 s)
        outcome  times   share  grade     meaning
        fresh       57  100.0%  accepted  every wait was bound to its record
    idle_consumer[CpuGpuEvent]: passed (2 executions in 0.7 s)
        outcome  times   share  grade     meaning
        fresh        2  100.0%  accepted  every wait was bound to its record
    producer_has_ended[CpuGpuEvent]: passed (2 executions in 0.7 s)
        outcome  times   share  grade     meaning
        empty        2  100.0%  accepted  there was one record, and then a timeout
    late_consumer[CpuGpuEvent]: passed (1,190 executions in 0.8 s)
        outcome  times   share  grade     meaning
        told     1,190  100.0%  accepted  the wait raised HandoffClosed
    inside_a_capture[CpuGpuEvent]: passed (293 executions in 0.4 s)
        outcome  times   share  grade     meaning
        handed     293  100.0%  accepted  the hand-off went through, and no replay of the graph will repeat it
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from cpugpu import CpuGpuEvent, HandoffClosed, HandoffTimeout, ProtocolViolation, scenario
from cpugpu.debug.examples import CapturingDevice
from cpugpu.device import resolve, using
from cpugpu.rig import Rig

SIZE, SLOW, GENERATIONS = 8, 4, 4
#: A driver call of a quarter of a second counts as slow.
IDLE_SECONDS = 0.35
LOOK_SECONDS = 0.05
FRESH = {"fresh": "every wait was bound to its record"}
STALE = {"stale": "a wait was bound to another record, or to none"}


def together(*functions: Callable[[], None]) -> None:
    """Run them in threads that end, unlike those of the rig. What one raises is raised here, without the others."""
    raised: list[BaseException] = []

    def guarded(function: Callable[[], None]) -> None:
        try:
            function()
        except BaseException as exception:
            raised.append(exception)

    threads = [threading.Thread(target=guarded, args=(function,), daemon=True) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive() and not raised:
            thread.join(LOOK_SECONDS)
    for exception in raised:
        raise exception


def slowly(rig: Rig, cell: Any, stream: Any) -> None:
    """Fill `cell` with 1, so that whoever does not wait for it sees something else."""
    for value in range(SLOW, 0, -1):
        rig.fill(cell, value, stream)


@scenario(accept=FRESH, forbid=STALE)
def threads_come_and_go(rig: Rig, make_event: type[CpuGpuEvent] = CpuGpuEvent) -> str:
    """Each generation has a producer and a consumer of its own, on streams of their own."""
    ready = make_event()
    counts = [rig.buffer(0) for _ in range(GENERATIONS)]  # nothing orders the streams of two consumers

    def generation(wrong: Any) -> None:
        cell, records, waits = rig.buffer(0, SIZE), rig.stream(), rig.stream()

        def producer() -> None:
            slowly(rig, cell, records)
            ready.record(records)

        def consumer() -> None:
            ready.wait(waits)
            rig.check(cell, 1, wrong, waits)

        together(producer, consumer)

    def generations() -> None:
        for wrong in counts:
            generation(wrong)

    rig.run(generations)
    return "stale" if any(rig.read(wrong) for wrong in counts) else "fresh"


@scenario(accept=FRESH, forbid=STALE)
def idle_consumer(rig: Rig, make_event: type[CpuGpuEvent] = CpuGpuEvent) -> str:
    """The producer has nothing to hand over for a while; the consumer waits."""
    ready, wrong = make_event(), rig.buffer(0)
    cells = [rig.buffer(0, SIZE), rig.buffer(0, SIZE)]
    consumed = rig.cell(0)

    def producer() -> None:
        stream = rig.stream()
        for number, cell in enumerate(cells):
            rig.until(lambda: consumed.get() == number, consumed)
            if number:
                time.sleep(IDLE_SECONDS)
            slowly(rig, cell, stream)
            ready.record(stream)

    def consumer() -> None:
        stream = rig.stream()
        for cell in cells:
            ready.wait(stream)
            rig.check(cell, 1, wrong, stream)
            consumed.update(lambda times: times + 1)

    rig.run(producer, consumer)
    return "fresh" if rig.read(wrong) == 0 else "stale"


@scenario(
    accept={"empty": "there was one record, and then a timeout"},
    forbid={"full": "there was another one"},
)
def producer_has_ended(rig: Rig, make_event: type[CpuGpuEvent] = CpuGpuEvent) -> str:
    """The consumer waits once more, with a timeout, after the producer's thread has ended."""
    ready, outcome = make_event(), rig.cell("full")

    def consumer() -> None:
        stream = rig.stream()
        together(lambda: ready.record(stream))
        ready.wait(stream)
        try:
            ready.wait(stream, timeout=IDLE_SECONDS)
        except HandoffTimeout:
            outcome.set("empty")

    rig.run(consumer)
    return outcome.get()


@scenario(
    accept={"told": "the wait raised HandoffClosed"},
    forbid={"accused": "the thread was said to have broken a rule", "handed": "the wait returned"},
    needs=("close",),
)
def late_consumer(rig: Rig, make_event: type[CpuGpuEvent] = CpuGpuEvent) -> str:
    """The consumer waits for the first time when the event is closed: so it learns of the end."""
    ready, outcome = make_event(), rig.cell("handed")
    rig.run(ready.close)

    def consumer() -> None:
        try:
            ready.wait(rig.stream())
        except HandoffClosed as end:
            outcome.set("accused" if isinstance(end, ProtocolViolation) else "told")

    rig.run(consumer)
    return outcome.get()


@scenario(
    accept={
        "handed": "the hand-off went through, and no replay of the graph will repeat it",
        "told": "a thread was told that it hands over inside a capture",
    },
    only=("simulator",),
    breaks=("wait-inside-capture",),
)
def inside_a_capture(rig: Rig, make_event: type[CpuGpuEvent] = CpuGpuEvent) -> str:
    """Record and wait on one stream that is in a graph capture, or so the instruments are told."""
    simulated: Any = resolve()
    device, outcome = CapturingDevice(simulated), rig.cell("handed")
    stream = rig.stream()
    device.capture[stream] = 1
    with using(device):
        ready = make_event()

    def producer() -> None:
        try:
            ready.record(stream)
        except ProtocolViolation:
            outcome.set("told")
            ready.close()

    def consumer() -> None:
        try:
            ready.wait(stream)
        except (ProtocolViolation, HandoffClosed):
            outcome.set("told")

    rig.run(producer, consumer)
    device.capture.clear()  # else the instruments believe that it goes on
    return outcome.get()
