"""What the threads and streams of one execution did, and when: for the timeline of a failure, and for latencies."""

from __future__ import annotations

import threading
from collections import deque
from threading import get_ident
from time import perf_counter
from typing import Any

from cpugpu.hammer.latency import Latencies
from cpugpu.hammer.result import Step

#: The last steps are those that matter. To keep 2,000 costs the hammer an eighth of its rate.
_KEPT = 256


class Diary:
    """Notes of one execution after another, taken by any thread.

    A note costs half a microsecond, and every hand-off takes two: what they hold is made into words only when it is
    read.
    """

    def __init__(self) -> None:
        self._notes: deque[tuple[int, str, Any, float, float]] = deque(maxlen=_KEPT)
        self._operations: deque[Any] = deque(maxlen=_KEPT)  # of the simulated device
        self._recorded: dict[int, float] = {}  # when an event was recorded last, by its identity
        self._times: list[float] = []
        self._began = perf_counter()

    def begin(self) -> None:
        """A new execution: turn the page."""
        self._notes.clear()
        self._operations.clear()
        self._recorded.clear()
        self._began = perf_counter()

    def watch(self, simulator: Any) -> None:
        """Note the operations of a simulated device as well."""
        simulator.watch(self._operations)

    def note(self, what: str, stream: Any, began: float) -> None:
        """The calling thread has done something on `stream`, from `began` (of `time.perf_counter()`) until now."""
        self._notes.append((get_ident(), what, stream, began, perf_counter()))

    def recorded(self, event: Any, stream: Any, began: float) -> None:
        """The calling thread has recorded a device event, from `began` until now."""
        now = self._recorded[id(event)] = perf_counter()
        self._notes.append((get_ident(), "record", stream, began, now))

    def waited(self, event: Any, stream: Any, began: float) -> None:
        """The calling thread has made `stream` wait for a device event, from `began` until now.

        Counts the time since the event's record, once a record.
        """
        now = perf_counter()
        self._notes.append((get_ident(), "wait", stream, began, now))
        recorded = self._recorded.pop(id(event), None)
        if recorded is not None:
            self._times.append(now - recorded)

    def drain(self, into: Latencies) -> None:
        """Move the latencies of this execution to a histogram."""
        times, self._times = self._times, []
        for seconds in times:
            into.add(seconds)

    def steps(self) -> list[Step]:
        """The timeline of this execution so far, by thread and by stream."""
        begin = self._began
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        steps = [
            Step(
                names.get(thread, "a thread"),
                "thread",
                f"{what} on {_label(stream)}" if stream is not None else what,
                a - begin,
                b - begin,
            )
            for thread, what, stream, a, b in list(self._notes)
        ]
        last = max((step.began for step in steps), default=0.0)
        for operation in list(self._operations):
            started, finished = operation.started_at, operation.finished_at
            what = operation.label if started is not None else f"{operation.label}, not started"
            began = last if started is None else started - begin
            steps.append(
                Step(operation.stream.name, "stream", what, began, None if finished is None else finished - begin)
            )
        return sorted(steps, key=lambda step: step.began)


def _label(stream: Any) -> str:
    state = getattr(stream, "state", None)
    return str(state.name) if state is not None else str(stream)
