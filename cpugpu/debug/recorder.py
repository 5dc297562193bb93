"""Writing an operation down: what is cheap to know when it begins and when it ends."""

from __future__ import annotations

import contextlib
import sys
import time
from types import FrameType
from typing import Any

from cpugpu.debug.journal import Ring, journal
from cpugpu.debug.nvtx import start_range
from cpugpu.debug.operation import Kind, Operation
from cpugpu.debug.state import EventState
from cpugpu.device import Device
from cpugpu.event import CpuGpuEvent

_now = time.perf_counter_ns
_getframe = sys._getframe  # noqa: SLF001
_RECORDING = CpuGpuEvent.recording.__wrapped__.__code__  # type: ignore[attr-defined]


def begin(ring: Ring, kind: Kind, state: EventState, device: Device, stream: Any) -> Operation:
    """Write down, in the calling thread's `ring`, that the caller's caller has called a method of an event.

    Every line of this is paid for in each call under `CPUGPU_DEBUG=log` (benchmarks/debug.py).
    """
    operation = Operation()
    operation.kind = kind
    operation.state = state
    operation.thread = thread = ring.thread
    operation.thread_name = thread._name  # type: ignore[attr-defined]  # noqa: SLF001  # the property costs 0.1 µs
    frame = _getframe(1).f_back
    if frame is not None:  # the caller is no C function, as at exit, or at the start of a bare thread
        code = frame.f_code
        if code is _RECORDING:
            frame = _user_of(frame)
            code = frame.f_code
        operation.code = code
        operation.instruction = frame.f_lasti
    if stream is None and state.only_sight is not None:
        operation.sight = state.only_sight
    else:
        _look(operation, device, stream)
    if ring.now is not None:
        operation.outer = ring.now
    if start_range is not None:
        operation.end_range = start_range(kind.value, state.name)
    operation.begin_ns = _now()
    ring.now = operation
    ring.operations.append(operation)
    return operation


def _look(operation: Operation, device: Device, stream: Any) -> None:
    operation.implicit = stream is None
    try:
        operation.sight = sight = device.sight(stream)
    except Exception as error:  # for the call itself to raise
        operation.refusal = f"{type(error).__name__}: {error}"
        return
    if sight.capture:
        operation.capture = sight.capture
        journal.captured[sight.stream] = device


def a_capture_goes_on() -> bool:
    """Is one of the streams that were seen in a capture still in it? Asking for that is always allowed."""
    for stream, device in tuple(journal.captured.items()):
        if device.sight(stream).capture:
            return True
        journal.captured.pop(stream, None)
    return False


def _user_of(frame: FrameType) -> FrameType:
    """The frame with the `with event.recording():`."""
    while frame.f_back is not None and frame.f_code.co_filename in (_RECORDING.co_filename, contextlib.__file__):
        frame = frame.f_back
    return frame
