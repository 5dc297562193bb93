"""The simulated device: its tensors tell of their operations themselves, in every thread."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from cpugpu.device.simulated import SimStream
from cpugpu.device.simulated.model import Operation, StreamState
from cpugpu.patches import Patch
from cpugpu.sanitize.clocks import Actor
from cpugpu.sanitize.intercept.watch import Watch
from cpugpu.simulate import backward, dispatch, memory, moves, pinned, session
from cpugpu.simulate.runtime import Runtime
from cpugpu.simulate.tensor import SimTensor

_aten: Any = torch.ops.aten


def patches(watch: Watch) -> Iterator[Patch]:
    """Where operations, copies and looks of the host pass."""
    yield SimTensor, "__torch_dispatch__", classmethod(_dispatch(watch, dispatch.run))
    yield dispatch, "run_with_pinned", _with_pinned(watch, dispatch.run_with_pinned)
    yield moves, "copy", _copy(watch, moves.copy)
    yield moves, "filled", _filled(watch, moves.filled)
    yield pinned, "look", _look(watch, pinned.look)
    yield memory.Block, "__init__", _taken(watch, memory.Block.__init__)
    yield memory.Block, "use_on", _use_on(watch, memory.Block.use_on)
    yield backward, "_wait", _wait(watch, backward._wait)  # noqa: SLF001


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


def _taken(watch: Watch, original: Callable[..., None]) -> Callable[..., None]:
    """A tensor's memory is taken from a pool. Those of graphs are not in the model."""

    @functools.wraps(original)
    def init(self: memory.Block, *args: Any) -> None:
        original(self, *args)
        storage, pool = watch.shadows.block(self), self.memory.pool
        if isinstance(pool, StreamState):
            watch.model.alloc(storage, _actor(watch, pool))

    return init


def _use_on(watch: Watch, original: Callable[..., None]) -> Callable[..., None]:
    """`Tensor.record_stream`, called by the program or by the engine."""

    @functools.wraps(original)
    def use_on(self: memory.Block, stream: StreamState) -> None:
        original(self, stream)
        if self.shadow is not None and self.shadow.keeper is watch.shadows:
            watch.model.record_stream(self.shadow, _actor(watch, stream))

    return use_on


def _wait(watch: Watch, original: Callable[..., None]) -> Callable[..., None]:
    """The waits of a backward pass, which the engine puts between the streams of its nodes."""

    @functools.wraps(original)
    def wait(runtime: Runtime, stream: StreamState, after: Sequence[Operation]) -> None:
        original(runtime, stream, after)
        for operation in after:
            watch.follows(_actor(watch, operation.stream), _actor(watch, stream))

    return wait


def _actor(watch: Watch, stream: StreamState) -> Actor:
    return watch.stream(SimStream(session.runtime().simulator, stream))
