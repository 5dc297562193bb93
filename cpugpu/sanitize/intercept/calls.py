"""Streams and events under torch's names: who records, waits, synchronizes and polls."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from cpugpu.device.simulated import SimEvent, SimStream
from cpugpu.patches import Patch
from cpugpu.sanitize.intercept import generic
from cpugpu.sanitize.intercept.watch import Watch
from cpugpu.sanitize.places import here


def patches(watch: Watch) -> Iterator[Patch]:
    """For the classes that torch has now, a real device's or a simulated one's."""
    module = watch.backend.module
    if torch.Event.__module__.startswith("cpugpu"):  # all of the simulated device's classes are over these two
        event: Any = SimEvent
        stream: Any = SimStream
    else:
        event, stream = module.Event, module.Stream
        yield from generic.patches(watch, event_calls, stream_calls)
    for name, call in event_calls(watch, event).items():
        yield event, name, call
    for name, call in stream_calls(watch, stream).items():
        yield stream, name, call
    graph = getattr(module, "CUDAGraph", None) or getattr(module, "XPUGraph", None)
    if graph is not None:
        yield graph, "capture_begin", _capture_begin(watch, graph.capture_begin)
        yield graph, "capture_end", _capture_end(watch, graph.capture_end)
        yield graph, "replay", _replay(watch, graph.replay)
    for where in (module, torch.accelerator):
        yield where, "synchronize", _synchronize_device(watch, where.synchronize)


def event_calls(watch: Watch, event: Any) -> dict[str, Callable[..., Any]]:
    """What takes the place of the methods of a class of events."""
    return {
        "record": _record(watch, event.record),
        "wait": _wait(watch, event.wait),
        "query": _query_event(watch, event.query),
        "synchronize": _synchronize_event(watch, event.synchronize),
    }


def stream_calls(watch: Watch, stream: Any) -> dict[str, Callable[..., Any]]:
    """And of a class of streams. The others (`wait_event`, `wait_stream`, `record_event`) come down to an event's."""
    return {"query": _query_stream(watch, stream.query), "synchronize": _synchronize_stream(watch, stream.synchronize)}


def _stream_of(watch: Watch, stream: Any) -> Any:
    return watch.backend.module.current_stream() if stream is None else stream


def _record(watch: Watch, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def record(self: Any, stream: Any = None) -> Any:
        watch.enter_thread()
        event = watch.event(self)
        with event.lock:
            with watch.calling(event):
                result = original(self) if stream is None else original(self, stream)
            watch.model.record(watch.model.me(), event, watch.stream(_stream_of(watch, stream)), here())
        watch.told()
        return result

    return record


def _wait(watch: Watch, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def wait(self: Any, stream: Any = None) -> Any:
        watch.enter_thread()
        event = watch.event(self)
        with event.lock:
            with watch.calling(event):
                result = original(self) if stream is None else original(self, stream)
            watch.model.wait(watch.model.me(), event, watch.stream(_stream_of(watch, stream)), here())
        watch.told()
        return result

    return wait


def _query_event(watch: Watch, original: Callable[..., bool]) -> Callable[..., bool]:
    @functools.wraps(original)
    def query(self: Any) -> bool:
        watch.enter_thread()
        event = watch.event(self)
        with event.lock:
            done = False
            try:
                done = original(self)
            finally:  # also where the call was refused: by a capture, say
                watch.model.query_event(watch.model.me(), event, done, here())
        watch.told()
        return done

    return query


def _synchronize_event(watch: Watch, original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def synchronize(self: Any) -> None:
        event, model = watch.event(self), watch.model
        with event.lock:
            bound = model.bind_event(model.me(), event, here())
        with watch.calling():
            original(self)
        model.reached(model.me(), bound)
        watch.told()

    return synchronize


def _query_stream(watch: Watch, original: Callable[..., bool]) -> Callable[..., bool]:
    @functools.wraps(original)
    def query(self: Any) -> bool:
        done = False
        try:
            done = original(self)
        finally:
            watch.model.query_stream(watch.model.me(), watch.stream(self), done, here())
        watch.told()
        return done

    return query


def _synchronize_stream(watch: Watch, original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def synchronize(self: Any) -> None:
        model = watch.model
        bound = model.bind_stream(model.me(), watch.stream(self), here())
        with watch.calling():
            original(self)
        model.reached(model.me(), bound)
        watch.told()

    return synchronize


def _synchronize_device(watch: Watch, original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def synchronize(device: Any = None) -> None:
        model = watch.model
        index = device if device is None or isinstance(device, int) else torch.device(device).index
        index = watch.backend.current_device() if index is None else index
        bound = model.bind_device(model.me(), watch.backend.device(index), here())
        with watch.calling():
            original(device)
        model.reached(model.me(), bound)
        watch.told()

    return synchronize


@contextmanager
def _as_a_whole(watch: Watch) -> Iterator[None]:
    """A graph fills in the seed of its random numbers by operations of its own: no part of the program."""
    watch.unseen(True)
    try:
        yield
    finally:
        watch.unseen(False)


def _capture_begin(watch: Watch, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def capture_begin(self: Any, pool: Any = None, capture_error_mode: str = "global", **options: Any) -> Any:
        with _as_a_whole(watch):
            result = original(self, pool, capture_error_mode, **options)
        watch.capture_begins(self, capture_error_mode)
        return result

    return capture_begin


def _capture_end(watch: Watch, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def capture_end(self: Any) -> Any:
        watch.capture_ends(self)
        with _as_a_whole(watch):
            return original(self)

    return capture_end


def _replay(watch: Watch, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def replay(self: Any) -> Any:
        with _as_a_whole(watch):
            result = original(self)
        watch.replayed(self)
        return result

    return replay
