"""Graph capture: what is enqueued on a capturing stream does not run. It becomes a graph, which is launched later.

A capture begins on one stream. Another stream gets into it by waiting on an event that was recorded in it (the fork),
and its work has to come back by a wait the other way round (the join):

    origin   begin ── fill ── record e ─────────────── wait f ── copy ── end
                                 └────────┐              │
    side                              wait e ── copy ── record f

While a capture is under way there are calls that it does not survive: they raise, the capture is *invalid* from then
on, each later call on its streams raises 901, and so does its end. The rules are those of the CUDA runtime API ("Stream
Management", cudaStreamBeginCapture and cudaThreadExchangeStreamCaptureMode). Each was tried on an H100, also where the
manual says nothing: which refusals invalidate, and that an event of a capture which is over is an invalid argument.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from cpugpu.errors import DeviceError

if TYPE_CHECKING:
    from cpugpu.device.simulated.model import DeviceState, EventState, Operation, StreamState

#: What a capture forbids to the threads of the process: `cudaStreamCaptureMode`.
MODES = ("global", "thread_local", "relaxed")

_ERRORS = {
    1: ("invalid argument", "cudaErrorInvalidValue"),
    401: ("the operation cannot be performed in the present state", "cudaErrorIllegalState"),
    900: ("operation not permitted when stream is capturing", "cudaErrorStreamCaptureUnsupported"),
    901: ("operation failed due to a previous error during capture", "cudaErrorStreamCaptureInvalidated"),
    902: ("operation would result in a merge of separate capture sequences", "cudaErrorStreamCaptureMerge"),
    903: ("capture was not ended in the same stream as it began", "cudaErrorStreamCaptureUnmatched"),
    904: ("capturing stream has unjoined work", "cudaErrorStreamCaptureUnjoined"),
    905: ("dependency created on uncaptured work in another stream", "cudaErrorStreamCaptureIsolation"),
    906: (
        "operation would make the legacy stream depend on a capturing blocking stream",
        "cudaErrorStreamCaptureImplicit",
    ),
    907: ("operation not permitted on an event last recorded in a capturing stream", "cudaErrorCapturedEvent"),
    908: (
        "attempt to terminate a thread-local capture sequence from another thread",
        "cudaErrorStreamCaptureWrongThread",
    ),
}


class HostThread:
    """A thread of the program, as the rules know it. `relaxed`: by cudaThreadExchangeStreamCaptureMode."""

    __slots__ = ("relaxed",)

    def __init__(self) -> None:
        self.relaxed = False


class Capture:
    """A capture under way. `operations` are what was captured so far, records and waits too; none of them ever runs."""

    def __init__(self, number: int, origin: StreamState, mode: str, thread: HostThread, pool: object) -> None:
        self.number = number
        self.origin = origin
        self.mode = mode
        self.thread = thread
        self.pool = pool  # where the memory of what is allocated on its streams comes from
        self.valid = True
        self.over = False
        self.operations: list[Operation] = []
        self.external: dict[Operation, tuple[str, EventState]] = {}  # records and waits that are nodes
        self._before: dict[StreamState, Operation | None] = {}  # what its streams held when they came into it

    @property
    def alive(self) -> bool:
        """May its events be used?"""
        return self.valid and not self.over

    @property
    def streams(self) -> Iterable[StreamState]:
        """Those that are in it."""
        return self._before

    def take(self, stream: StreamState) -> None:
        """From now on `stream` is in it."""
        self._before[stream] = stream.last
        stream.capture, stream.last = self, None

    def close(self) -> None:
        """Its streams are as they were before."""
        self.over = True
        for stream, last in self._before.items():
            stream.capture, stream.last = None, last
        for operation in self.operations:
            operation.finished_at = 0.0  # there is nothing to wait for


class Captures:
    """The captures under way on a machine, and what they refuse."""

    def __init__(self) -> None:
        self.active: list[Capture] = []
        self._numbers = itertools.count(1)

    def begin(self, stream: StreamState, mode: str, thread: HostThread, pool: object = None) -> Capture:
        """From now on what is enqueued on `stream` is captured."""
        if mode not in MODES:
            raise ValueError(f"capture mode {mode!r}: allowed are {', '.join(MODES)}")
        stream.device.raise_error()
        if stream is stream.device.default:
            raise _error(900, f"a capture cannot begin on the legacy default stream, {stream}")
        if stream.capture is not None:
            raise _error(401, f"{stream} is capturing already")
        capture = Capture(next(self._numbers), stream, mode, thread, pool)
        capture.take(stream)
        self.active.append(capture)
        return capture

    def end(self, stream: StreamState, thread: HostThread) -> Capture:
        """The capture that began on `stream` is over, also if this raises: unless another one's stream was given."""
        capture = stream.capture
        if capture is None:
            raise _error(401, f"{stream} is not capturing")
        if stream is not capture.origin:
            raise self._refuse(903, f"the capture began on {capture.origin}, and {stream} was given", capture)
        last = stream.last
        self.active.remove(capture)
        capture.close()
        if not capture.valid:
            raise _error(901, f"the capture of {stream}")
        if capture.mode != "relaxed" and capture.thread is not thread:
            raise _error(908, f"the capture of {stream}")
        reached: set[Operation] = set()
        waiting = [last] if last is not None else []
        while waiting:
            operation = waiting.pop()
            if operation not in reached:
                reached.add(operation)
                waiting += operation.after
        for operation in capture.operations:
            if operation not in reached and is_node(operation, capture):
                raise _error(904, f"{operation} comes to no wait of {stream}, on which the capture began")
        return capture

    def admit(self, stream: StreamState, after: Sequence[Operation]) -> Capture | None:
        """What `stream` is about to enqueue behind `after` goes into this capture; None: it is to run."""
        if stream.capture is None and self.active and stream is stream.device.default:
            self._check_legacy(stream)
        if stream.capture is not None and not stream.capture.valid:
            raise _error(901, f"{stream} is in that capture")
        for operation in after:
            if operation.capture is not stream.capture:
                self._cross(stream, operation)
        return stream.capture

    def _cross(self, stream: StreamState, after: Operation) -> None:
        """`stream` is to wait for what is in another capture than it is itself, or only one of the two is in one."""
        here, there = stream.capture, after.capture
        if there is None:
            assert here is not None
            raise self._refuse(905, f"{stream} is captured, and {after} is not", here)
        invalidated = () if here is None else (here,)
        if not there.alive:
            raise self._refuse(1, f"{stream} was to wait on an event recorded in a capture that is over", *invalidated)
        if here is not None:
            raise self._refuse(902, f"the captures of {here.origin} and {there.origin}", here, there)
        if stream is stream.device.default:
            raise self._refuse(906, f"{stream} was to wait on an event of the capture of {there.origin}", there)
        there.take(stream)

    # -- what the host may not ask meanwhile -------------------------------------------------------------------------

    def check_event(self, event: EventState, thread: HostThread) -> None:
        """A thread is about to query `event`, or to wait for it."""
        capture = None if event.captured is None else event.captured.capture
        if capture is not None:
            if not capture.alive:
                raise _error(1, "the event was last recorded in a capture that is over")
            raise self._refuse(907, f"the capture of {capture.origin}", capture)
        self._check_unsafe(thread)

    def check_stream(self, stream: StreamState, thread: HostThread) -> None:
        """A thread is about to query `stream`, or to wait for it."""
        if stream.capture is not None:
            raise self._refuse(900, f"{stream} is capturing", stream.capture)
        if self.active:
            if stream is stream.device.default:
                self._check_legacy(stream)
            self._check_unsafe(thread)

    def check_launch(self, stream: StreamState) -> None:
        """A graph is about to be launched on `stream`: not into a capture. (Tried on an H200, in all three modes.)"""
        if stream.capture is not None:
            raise self._refuse(900, f"{stream} is capturing", stream.capture)

    def check_device(self, device: DeviceState) -> None:
        """A thread is about to wait for all that a device has."""
        concerned = [each for each in self.active if any(stream.device is device for stream in each.streams)]
        if concerned:
            raise self._refuse(900, f"{concerned[0].origin} is capturing", *concerned)

    def _check_unsafe(self, thread: HostThread) -> None:
        if not self.active or thread.relaxed:
            return
        concerned = [
            each
            for each in self.active
            if each.mode == "global" or (each.thread is thread and each.mode == "thread_local")
        ]
        if concerned:
            whose = "this" if concerned[0].thread is thread else "another"
            why = f"{whose} thread captures {concerned[0].origin} in the mode {concerned[0].mode!r}"
            raise self._refuse(900, why, *concerned)

    def _check_legacy(self, stream: StreamState) -> None:
        blocking = [
            each
            for each in self.active
            if any(other.blocking and other.device is stream.device for other in each.streams)
        ]
        if blocking:
            raise self._refuse(906, f"{blocking[0].origin} is capturing", *blocking)

    def _refuse(self, code: int, why: str, *invalidated: Capture) -> DeviceError:
        for capture in invalidated:
            capture.valid = False
        return _error(code, why)


def is_node(operation: Operation, capture: Capture) -> bool:
    """Does it do anything? What only orders others is no node: it becomes edges."""
    return bool(operation.parts) or operation in capture.external


def _error(code: int, why: str) -> DeviceError:
    text, name = _ERRORS[code]
    return DeviceError(f"CUDA error: {text} ({name}): {why}")
