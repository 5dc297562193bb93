"""`torch.Event` and `torch.Stream` of a real device.

Both are written in C, and nothing can be put into such a class. So classes over them take their names, and
`torch.accelerator` gives out streams of ours. What a program has imported by name before (`from torch import Event`) is
torch's own still: of that only the hooks tell (`hooks.py`), which do not see a query or a wait on an unrecorded event.
"""

from __future__ import annotations

import _thread
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch

from cpugpu.patches import Patch
from cpugpu.sanitize.intercept.devices import names_none
from cpugpu.sanitize.intercept.watch import Watch

_making = _thread.RLock()
_Calls = Callable[[Watch, Any], dict[str, Callable[..., Any]]]


class _Stands(type):
    """Of a class that stands for its base: whatever is an instance of that is one of this."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, cls.__mro__[1])

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, cls.__mro__[1])


def patches(watch: Watch, event_calls: _Calls, stream_calls: _Calls) -> Iterator[Patch]:
    """What takes the place of the two classes, and of what gives out their instances."""
    event = _event(watch, torch.Event, event_calls)
    stream = _stream(watch, torch.Stream, stream_calls, event)
    yield torch, "Event", event
    its = watch.backend.module.Stream
    yield its, "__new__", _new(watch, its.__new__)
    yield torch, "Stream", stream
    yield torch.accelerator, "current_stream", _current_stream(torch.accelerator.current_stream, stream)


def _event(watch: Watch, base: Any, calls: _Calls) -> Any:
    return _Stands("Event", (base,), {"__module__": "torch", "__doc__": base.__doc__, **calls(watch, base)})


def _stream(watch: Watch, base: Any, calls: _Calls, event: Any) -> Any:
    def record_event(self: Any, event_: Any = None) -> Any:
        made = event(self.device) if event_ is None else event_
        made.record(self)
        return made

    def wait_event(self: Any, event_: Any) -> None:
        event_.wait(self)

    def wait_stream(self: Any, stream: Any) -> None:
        self.wait_event(record_event(stream))

    methods = {"record_event": record_event, "wait_event": wait_event, "wait_stream": wait_stream}
    methods["__new__"] = _new(watch, base.__new__)
    body = {"__module__": "torch", "__doc__": base.__doc__, **calls(watch, base), **methods}
    return _Stands("Stream", (base,), body)


def _new(watch: Watch, original: Callable[..., Any]) -> Any:
    """Streams are made by one thread at a time, and on a device that it has chosen.

    The first one of a device makes the whole pool, in C++, within a `call_once` in which torch's trace hooks take the
    GIL. A thread that holds the GIL and makes its own first stream meanwhile waits for that `call_once` for ever.
    """

    def new(cls: Any, *args: Any, **kwargs: Any) -> Any:
        with _making:
            made = original(cls, *args, **kwargs)
        device = args[0] if args else kwargs.get("device")
        which = {"stream_id", "stream_ptr"} & kwargs.keys()  # of one that is there already
        if not which and (device is None or names_none(device, watch.backend.name)):
            watch.unplaced("a new stream")
        return made

    return staticmethod(new)


def _current_stream(original: Callable[..., Any], stream: Any) -> Callable[..., Any]:
    @functools.wraps(original)
    def current_stream(device: Any = None) -> Any:
        found = original(device)
        return stream(stream_id=found.stream_id, device_index=found.device_index, device_type=found.device_type)

    return current_stream
