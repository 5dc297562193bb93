"""The end, at every moment: of an event that is empty, recorded, being consumed, failed, or closed already.

vLLM's balancing worker could not be stopped: it was a daemon, blocked in `wait()`, while the main thread tore down what
it was using (vllm#56854). People ask for a timeout (vllm#57905), and for an end that reaches a blocked thread
(vllm#39431, NVIDIA/cuda-python#2924). What is expected here: nobody hangs, every waiter is told why, and what was
handed over is neither lost nor handed over twice.

`closed_in_any_state` and `failed_in_any_state` end an event in each state, with the consumer in each of its calls.
`timeouts_lose_nothing` gives up waits and synchronisations in the middle of hand-offs.

    $ cpugpu stress stress/stress_shutdown.py --stress-seconds=9
    closed_in_any_state[CpuGpuEvent]: passed (33 executions in 2.9 s)
        outcome  times   share  grade     meaning
        told        33  100.0%  accepted  consumers got what was there, or less, and were told that the event is closed
    failed_in_any_state[CpuGpuEvent]: passed (65 executions in 1.4 s)
        outcome   times   share  grade     meaning
        in order     65  100.0%  accepted  every consumer got what was there, and then the failure
    timeouts_lose_nothing[CpuGpuEvent]: passed (138 executions in 1.1 s)
        outcome  times   share  grade     meaning
        whole      138  100.0%  accepted  every record was consumed once, however many calls had given up before
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cpugpu import CpuGpuEvent, HandoffClosed, HandoffTimeout, ProducerFailed, scenario
from cpugpu.rig import Rig

SLOW, GENERATIONS = 6, 3
#: Seconds. A consumer that gets HandoffTimeout after that was forgotten.
LONG = 60.0
#: The states to end an event in, and what a consumer finds there.
STATES = {"empty": [], "recorded": ["record"], "consuming": ["record"], "failed": ["failure"], "closed": ["closed"]}


def prepared(rig: Rig, event: CpuGpuEvent, state: str, stream: Any) -> CpuGpuEvent:
    """Bring a new event into a state."""
    if state == "consuming":  # the device is not there yet, so that a synchronisation lasts
        cell = rig.buffer(0)
        for value in range(SLOW):
            rig.fill(cell, value, stream)
    if state in ("recorded", "consuming"):
        event.record(stream)
    elif state == "failed":
        event.fail(ValueError("the first"))
    elif state == "closed":
        event.close()
    return event


def calls(event: CpuGpuEvent, stream: Any) -> list[Callable[[], None]]:
    """What a consumer may be in when the end comes."""
    return [
        lambda: event.wait(stream),
        lambda: event.wait(stream, timeout=LONG),
        event.synchronize,
        lambda: event.synchronize(timeout=LONG),
    ]


def brought(call: Callable[[], None]) -> str:
    """What a call brings."""
    try:
        call()
    except ProducerFailed:
        return "failure"
    except HandoffClosed:
        return "closed"
    except HandoffTimeout:
        return "nothing"
    return "record"


def received(call: Callable[[], None], most: int) -> list[str]:
    """What so many calls bring, up to the end."""
    got: list[str] = []
    while len(got) < most and (not got or got[-1] in ("record", "failure")):
        got.append(brought(call))
    return got


def end_all(
    rig: Rig, make_event: type[CpuGpuEvent], end: Callable[[CpuGpuEvent], None], right: Callable[..., bool]
) -> bool:
    """In each state and each call: `end` an event under its consumer. Was what the consumer received `right`?

    And the producer: is it told that the event is closed, and only then?
    """
    records, consumes, good = rig.stream(), rig.stream(), rig.cell(True)

    def end_one(event: CpuGpuEvent, call: Callable[[], None], holds: list[str]) -> None:
        def consumer() -> None:
            good.update(lambda before: right(event, received(call, most=len(holds) + 1), holds) and before)

        def ender() -> None:
            end(event)

        rig.run(consumer, ender)
        if brought(lambda: event.record(records)) != ("closed" if event.closed else "record"):
            good.set(False)

    for state, holds in STATES.items():
        for number in range(4):
            event = prepared(rig, make_event(), state, records)
            end_one(event, calls(event, consumes)[number], holds)
    return good.get()


@scenario(
    accept={"told": "consumers got what was there, or less, and were told that the event is closed"},
    forbid={"lost": "a consumer was forgotten, or got what was not there"},
    needs=("close", "fail", "synchronize"),
    only=("real time",),
)
def closed_in_any_state(rig: Rig, make_event: type[CpuGpuEvent] = CpuGpuEvent) -> str:
    """`close()`."""

    def right(event: CpuGpuEvent, got: list[str], holds: list[str]) -> bool:
        return got in (["closed"], [*holds, "closed"]) and event.closed and not event.pending

    return "told" if end_all(rig, make_event, lambda event: event.close(), right) else "lost"


@scenario(
    accept={"in order": "every consumer got what was there, and then the failure"},
    forbid={"lost": "a consumer was forgotten, or a record or a failure was lost"},
    needs=("close", "fail", "synchronize"),
    only=("real time",),
    breaks=("never-consumed",),
)
def failed_in_any_state(rig: Rig, make_event: type[CpuGpuEvent] = CpuGpuEvent) -> str:
    """`fail()`."""

    def right(event: CpuGpuEvent, got: list[str], holds: list[str]) -> bool:
        return got == (["closed"] if event.closed else [*holds, "failure"])

    def end(event: CpuGpuEvent) -> None:
        event.fail(ValueError("the second"))

    return "in order" if end_all(rig, make_event, end, right) else "lost"


@scenario(
    accept={"whole": "every record was consumed once, however many calls had given up before"},
    forbid={"stale": "a call returned although its record was not there"},
    needs=("synchronize", "pending"),
)
def timeouts_lose_nothing(rig: Rig, make_event: type[CpuGpuEvent] = CpuGpuEvent) -> str:
    """The consumer gives up several times before it waits in earnest. A lost record shows as a hang."""
    ready, wrong = make_event(), rig.buffer(0)
    cells = [rig.buffer(0, SLOW) for _ in range(GENERATIONS)]
    consumed = rig.cell(0)

    def producer() -> None:
        stream = rig.stream()
        for number, cell in enumerate(cells):
            for value in range(SLOW, 0, -1):
                rig.fill(cell, value, stream)
            rig.until(lambda: consumed.get() == number, consumed)
            ready.record(stream)

    def consumer() -> None:
        stream = rig.stream()

        for number, cell in enumerate(cells):
            impatient = [lambda: ready.synchronize(0), lambda: ready.synchronize(1e-3)]
            if number % 2:
                impatient.insert(0, lambda: ready.wait(stream, 0))
            else:  # the record is there, and the device may well not be
                rig.until(lambda: ready.pending)
            for call in (*impatient, ready.synchronize):
                if brought(call) == "record":
                    break
            rig.check(cell, 1, wrong, stream)
            consumed.update(lambda times: times + 1)

    rig.run(producer, consumer)
    return "whole" if rig.read(wrong) == 0 else "stale"
