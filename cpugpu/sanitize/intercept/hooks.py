"""torch's trace hooks: the events that C++ records and waits for on its own.

Autograd's engine, `torch.distributed`, and whatever calls `at::cuda::CUDAEvent` in an extension put events between
streams that no Python sees. torch calls back for each (`torch.cuda._gpu_trace`, what CSAN is built on). A callback
that comes while one of the patched methods is under way in the same thread is that method's own, and known already.

The hooks fire after the driver's call and outside any lock of ours: two threads that record and wait for one event at
once may be seen in the other order. They say nothing of a query, nor of a call on an event that was never recorded.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch

from cpugpu.sanitize.clocks import Actor
from cpugpu.sanitize.events import Event
from cpugpu.sanitize.intercept.watch import Watch
from cpugpu.sanitize.places import here


class Hooks:
    """From `enter` to `leave`, what C++ does is entered too. `adopt` says on whose behalf the calling thread works."""

    def __init__(self, watch: Watch, adopt: Callable[[], None]) -> None:
        self._watch = watch
        self._adopt = adopt
        trace: Any = importlib.import_module(f"torch.{watch.backend.name}._gpu_trace")
        self._callbacks = [
            (trace.EventRecordCallbacks, self._recorded),
            (trace.EventWaitCallbacks, self._waits),
            (trace.EventDeletionCallbacks, self._deleted),
            (trace.EventSynchronizationCallbacks, self._synchronizes),
            (trace.StreamSynchronizationCallbacks, self._synchronizes_stream),
            (trace.DeviceSynchronizationCallbacks, self._synchronizes_device),
        ]

    def enter(self) -> None:
        """Begin. torch calls its hooks until the process ends, from the first time on that this is asked for."""
        torch._C._activate_gpu_trace()  # noqa: SLF001 - what CSAN calls
        for registry, callback in self._callbacks:
            registry.add_callback(callback)

    def leave(self) -> None:
        """These are not called any more."""
        for registry, callback in self._callbacks:
            registry.callback_list.remove(callback)

    def _recorded(self, event: int, stream: int) -> None:
        call = getattr(self._watch.local, "call", None)
        if call is not None:
            if call.event is not None:
                self._watch.pointers[event] = call.event
            return
        found = self._watch.pointers.get(event)
        if found is None:
            found = self._watch.pointers[event] = Event("an event of torch's own")
        self._adopt()
        model = self._watch.model
        with found.lock:
            model.record(model.me(), found, self._stream(stream), here())

    def _waits(self, event: int, stream: int) -> None:
        found = self._unknown(event)
        if found is not None:
            model = self._watch.model
            with found.lock:
                model.wait(model.me(), found, self._stream(stream), here())

    def _synchronizes(self, event: int) -> None:
        found = self._unknown(event)
        if found is not None:
            model = self._watch.model
            model.reached(model.me(), model.bind_event(model.me(), found, here()))

    def _synchronizes_stream(self, stream: int) -> None:
        if getattr(self._watch.local, "call", None) is None:
            self._adopt()
            model = self._watch.model
            model.synchronize_stream(model.me(), self._stream(stream), here())

    def _synchronizes_device(self) -> None:
        if getattr(self._watch.local, "call", None) is None:
            self._adopt()
            model, backend = self._watch.model, self._watch.backend
            model.synchronize_device(model.me(), backend.device(backend.current_device()), here())

    def _deleted(self, event: int) -> None:
        self._watch.pointers.pop(event, None)

    def _unknown(self, event: int) -> Event | None:
        """The event, if no patched method tells of this call and its record was seen."""
        found = self._watch.pointers.get(event) if getattr(self._watch.local, "call", None) is None else None
        if found is not None:
            self._adopt()
        return found

    def _stream(self, handle: int) -> Actor:
        """C++ has made the stream's device the current one."""
        return self._watch.by_handle(self._watch.backend.current_device(), handle)
