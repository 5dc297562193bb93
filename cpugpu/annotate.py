"""What a program may say of its hand-offs so that the debug mode can check it.

Each of these does nothing, and costs a look-up, unless the event is an instrumented one (`CPUGPU_DEBUG`).
"""

from __future__ import annotations

import threading
from typing import Any

from cpugpu.event import CpuGpuEvent


def declare(
    event: CpuGpuEvent,
    *,
    producer: Any = None,
    consumer: Any = None,
    producer_thread: threading.Thread | None = None,
) -> None:
    """The streams that the producer and the consumer of `event` use, and the thread that records it.

    Rule wrong-declared-stream checks the streams. The thread is who a wait is for before the first record: rules
    producer-died and cross-thread-cycle look at it.
    """
    if (call := _instrument(event, "declare")) is not None:
        call(producer, consumer, producer_thread)


def expect(event: CpuGpuEvent, generation: int) -> None:
    """The calling thread's next wait for `event` is meant for that generation. Rule stale-generation."""
    if (call := _instrument(event, "expect")) is not None:
        call(generation)


def stamp(event: CpuGpuEvent, payload: object) -> None:
    """By the producer, when it has filled `payload`: the next record of `event` hands it over."""
    if (call := _instrument(event, "stamp")) is not None:
        call(payload)


def use(event: CpuGpuEvent, payload: object) -> None:
    """By the consumer, after its wait: `payload` is what it got. Rule payload-generation."""
    if (call := _instrument(event, "use")) is not None:
        call(payload)


def teardown(*events: CpuGpuEvent) -> None:
    """What these events hand over is destroyed next. Rule teardown-while-waiting."""
    for event in events:
        if (call := _instrument(event, "teardown")) is not None:
            call()


def _instrument(event: CpuGpuEvent, name: str) -> Any:
    """The method of an instrumented event. (A class of somebody's own may have one of that name.)"""
    return getattr(event, name) if getattr(event, "instrumented", False) is True else None
