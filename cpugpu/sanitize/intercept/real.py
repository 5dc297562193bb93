"""A real device: a dispatch mode in each thread sees what torch comes down to.

Modes belong to a thread. Threads that are started while the program is watched get one when they begin, others when
they first use a stream or an event; what such a thread launches before is not seen. What C++ does on its own (NCCL, a
graph's replay, an extension's kernels) is not an operation of torch's and not seen either.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack

from cpugpu.patches import Patch
from cpugpu.sanitize.intercept.watch import Watch

_aten: Any = torch.ops.aten


class Mode(TorchDispatchMode):
    """Tells `watch` of each operation of its thread, after it was launched."""

    def __init__(self, watch: Watch) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._watch = watch
        self._thread = threading.get_ident()
        self._actor = watch.model.me()

    def adopt(self) -> None:
        """A thread of autograd's works on behalf of the one that has called `backward()`, and has this mode of it."""
        if threading.get_ident() != self._thread:
            self._watch.model.adopt(self._actor)

    def is_of(self, watch: Watch) -> bool:
        """Does it tell this one?"""
        return self._watch is watch

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        watch = self._watch
        if watch.over:
            return result
        self.adopt()
        if func is _aten.copy_.default:
            target, source = args[0], args[1]
            if target.is_cuda or source.is_cuda:
                non_blocking = args[2] if len(args) > 2 else kwargs.get("non_blocking", False)
                watch.copy(target, source, non_blocking=non_blocking)
                return result
        elif func is _aten._to_copy.default and result.device != args[0].device:  # noqa: SLF001
            watch.copy(result, args[0], non_blocking=kwargs.get("non_blocking", False))
            return result
        watch.operation(func, args, kwargs, result)
        return result


class Modes:
    """The modes of all threads."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._local = threading.local()

    def enter(self) -> None:
        """See to it that the calling thread has one."""
        if hasattr(self._local, "mode"):
            return
        for mode in _get_current_dispatch_mode_stack():
            if isinstance(mode, Mode) and mode.is_of(self._watch):
                mode.adopt()
                return
        self._local.mode = Mode(self._watch)
        self._local.mode.__enter__()

    def leave(self) -> None:
        """Take away the calling thread's. Those of other threads do nothing any more."""
        mode = getattr(self._local, "mode", None)
        if mode is not None:
            mode.__exit__(None, None, None)
            del self._local.mode


def patches(watch: Watch) -> Iterator[Patch]:
    """Where the host looks at its own memory without an operation, and what the allocator is told."""
    for name in ("tolist", "numpy", "__array__", "__repr__"):
        yield torch.Tensor, name, _look(watch, getattr(torch.Tensor, name))
    yield torch.Tensor, "record_stream", _record_stream(watch, torch.Tensor.record_stream)


def _look(watch: Watch, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def look(self: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if not self.is_cuda:
            watch.look(self)
        return original(self, *args, **kwargs)

    return look


def _record_stream(watch: Watch, original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def record_stream(self: torch.Tensor, stream: Any) -> None:
        original(self, stream)
        watch.recorded(self, stream)

    return record_stream
