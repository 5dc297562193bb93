"""The clocks of `time`, in the virtual time of the execution.

To read a clock is no step. It takes a moment, so that a loop against a deadline comes to its end. Whoever is no thread
of an exploration, the explorer for one, has the real clock.
"""

from __future__ import annotations

import operator
import time as real
from collections.abc import Callable
from typing import SupportsIndex

from cpugpu.explore.execution import current
from cpugpu.explore.operation import Operation
from cpugpu.explore.standins.steps import logical, take

#: What it takes to read a clock.
MOMENT = 1e-6
#: What `time()` tells at the beginning of an execution: the same in all of them.
EPOCH = 1_700_000_000

_sleep = real.sleep


def sleep(seconds: float | SupportsIndex, /) -> None:
    """Let the others go on; the time given has passed then."""
    if logical() is None:
        _sleep(seconds)
        return
    if not isinstance(seconds, float):
        seconds = operator.index(seconds)
    if seconds != seconds:
        raise ValueError("Invalid value NaN (not a number)")
    if seconds < 0:
        raise ValueError("sleep length must be non-negative")
    execution = current()
    until = execution.now + seconds
    take(Operation(f"sleep {seconds:g} s", (), rests=True))
    execution.now = max(execution.now, until)


def _seconds(real_clock: Callable[[], float], origin: int = 0) -> Callable[[], float]:
    def clock() -> float:
        if logical() is None:
            return real_clock()
        execution = current()
        execution.now += MOMENT
        return origin + execution.now

    clock.__name__ = clock.__qualname__ = real_clock.__name__
    return clock


def _nanoseconds(real_clock: Callable[[], int], origin: int = 0) -> Callable[[], int]:
    def clock() -> int:
        if logical() is None:
            return real_clock()
        execution = current()
        execution.now += MOMENT
        return origin * 1_000_000_000 + round(execution.now * 1e9)

    clock.__name__ = clock.__qualname__ = real_clock.__name__
    return clock


monotonic = _seconds(real.monotonic)
perf_counter = _seconds(real.perf_counter)
time = _seconds(real.time, EPOCH)
monotonic_ns = _nanoseconds(real.monotonic_ns)
perf_counter_ns = _nanoseconds(real.perf_counter_ns)
time_ns = _nanoseconds(real.time_ns, EPOCH)
