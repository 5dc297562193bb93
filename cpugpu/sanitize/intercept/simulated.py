"""The simulated device: its tensors tell of their operations themselves, in every thread."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch

from cpugpu.patches import Patch
from cpugpu.sanitize.intercept.watch import Watch
from cpugpu.simulate import dispatch, moves, pinned
from cpugpu.simulate.tensor import SimTensor

_aten: Any = torch.ops.aten


def patches(watch: Watch) -> Iterator[Patch]:
    """Where operations, copies and looks of the host pass."""
    yield SimTensor, "__torch_dispatch__", classmethod(_dispatch(watch, dispatch.run))
    yield dispatch, "run_with_pinned", _with_pinned(watch, dispatch.run_with_pinned)
    yield moves, "copy", _copy(watch, moves.copy)
    yield moves, "filled", _filled(watch, moves.filled)
    yield pinned, "look", _look(watch, pinned.look)
    yield SimTensor, "record_stream", _record_stream(watch, SimTensor.record_stream)


def _dispatch(watch: Watch, original: Callable[..., Any]) -> Callable[..., Any]:
    def run(cls: Any, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = original(cls, func, types, args, kwargs)
        if func is not _aten.copy_.default:  # that comes by way of `moves.copy`
            watch.operation(func, args, kwargs or {}, result)
        return result

    return run


def _with_pinned(watch: Watch, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def run(func: Any, args: Any, kwargs: Any) -> Any:
        result = original(func, args, kwargs)
        if func is not _aten.copy_.default or not isinstance(args[1], SimTensor):
            watch.operation(func, args, kwargs, result)
        return result

    return run


def _copy(watch: Watch, original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def copy(target: torch.Tensor, source: torch.Tensor, *, non_blocking: bool) -> None:
        original(target, source, non_blocking=non_blocking)
        watch.copy(target, source, non_blocking=non_blocking)

    return copy


def _filled(watch: Watch, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def filled(*args: Any, **kwargs: Any) -> Any:
        tensor = original(*args, **kwargs)
        watch.filled(tensor)
        return tensor

    return filled


def _look(watch: Watch, original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def look(tensor: Any) -> None:
        original(tensor)
        watch.look(tensor)

    return look


def _record_stream(watch: Watch, original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def record_stream(self: Any, stream: Any) -> None:
        original(self, stream)
        watch.recorded(self, stream)

    return record_stream
