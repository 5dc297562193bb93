"""A real device: a dispatch mode in each thread sees what torch comes down to.

Modes belong to a thread. Threads that are started while the program is watched get one when they begin, others when
they first use a stream or an event; what such a thread launches before is not seen. The events that C++ uses on its own
are told by `hooks`; its own kernels (NCCL's, an extension's) are not operations of torch's and not seen.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack

from cpugpu.patches import Patch
from cpugpu.sanitize.intercept import devices, stack
from cpugpu.sanitize.intercept.hooks import Hooks
from cpugpu.sanitize.intercept.operations import effect_of
from cpugpu.sanitize.intercept.watch import Watch
from cpugpu.sanitize.places import here

_aten: Any = torch.ops.aten


class Mode(TorchDispatchMode):
    """Tells `watch` of each operation of its thread, after it was launched."""

    def __init__(self, watch: Watch) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._watch = watch
        self._thread = threading.get_ident()
        self._actor = watch.model.me()
        self.unseen = False  # torch's own work in the midst of a call that is told of as a whole
        self.passes = 0  # of autograd, that the thread has called and that are not over

    def adopt(self) -> None:
        """A thread of autograd's works on behalf of the one that has called `backward()`, and has this mode of it."""
        if threading.get_ident() != self._thread:
            self._watch.model.adopt(self._actor)

    def is_of(self, watch: Watch) -> bool:
        """Does it tell this one?"""
        return self._watch is watch

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        watch = self._watch
        if watch.over or self.unseen:
            return func(*args, **kwargs)
        self.adopt()
        if effect_of(func).whole:
            with self:
                return func.decompose(*args, **kwargs)
        result = func(*args, **kwargs)
        if self.passes and here() is None:  # no frame of the program's is below: it is a node of the backward pass
            self._recorded(args)
        if func is _aten.copy_.default:
            target, source = args[0], args[1]
            if watch.backend.is_on(target) or watch.backend.is_on(source):
                non_blocking = args[2] if len(args) > 2 else kwargs.get("non_blocking", False)
                watch.copy(target, source, non_blocking=non_blocking)
                return result
        elif func is _aten._to_copy.default and result.device != args[0].device:  # noqa: SLF001
            watch.copy(result, args[0], non_blocking=kwargs.get("non_blocking", False))
            return result
        watch.operation(func, args, kwargs, result)
        return result

    def _recorded(self, args: Any) -> None:
        """The engine has called `record_stream` for what comes from another stream; in C++, where no hook tells."""
        watch = self._watch
        for value in args:
            if isinstance(value, torch.Tensor) and watch.backend.is_on(value):
                found = watch.shadows.of(value)
                stream = watch.current(value.get_device())
                if found is not None and found[0].stream is not stream:
                    watch.model.record_stream(found[0], stream)


class Modes:
    """The modes of all threads, and torch's hooks."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._local = threading.local()
        watch.unseen = self.unseen
        self._hooks = Hooks(watch, self._adopt)
        self._hooks.enter()

    def enter(self) -> None:
        """See to it that the calling thread has one."""
        if hasattr(self._local, "mode"):
            return
        mode = _mode_of(self._watch)
        if mode is not None:
            mode.adopt()
            return
        self._local.mode = Mode(self._watch)
        stack.enter_below(self._local.mode)
        devices.watch_thread(self._watch)

    def _adopt(self) -> None:
        mode = _mode_of(self._watch)
        if mode is not None:
            mode.adopt()

    def unseen(self, now: bool) -> None:
        """From True to False what the calling thread launches is told of as a whole."""
        mode = _mode_of(self._watch)
        if mode is not None:
            mode.unseen = now

    def leave(self) -> None:
        """Take away the hooks and the calling thread's mode. Those of other threads do nothing any more."""
        self._hooks.leave()
        mode = getattr(self._local, "mode", None)
        if mode is not None:
            stack.leave(mode)
            del self._local.mode


def _mode_of(watch: Watch) -> Mode | None:
    for mode in _get_current_dispatch_mode_stack():
        if isinstance(mode, Mode) and mode.is_of(watch):
            return mode
    return None


def patches(watch: Watch) -> Iterator[Patch]:
    """Where the host looks at its own memory without an operation, and what the allocator is told."""
    for name in ("tolist", "numpy", "__array__", "__repr__"):
        yield torch.Tensor, name, _look(watch, getattr(torch.Tensor, name))
    yield torch.autograd, "_engine_run_backward", _run_backward(watch, torch.autograd.graph._engine_run_backward)  # noqa: SLF001
    yield torch.Tensor, "record_stream", _record_stream(watch, torch.Tensor.record_stream)


def _look(watch: Watch, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def look(self: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if not watch.backend.is_on(self):
            watch.look(self)
        return original(self, *args, **kwargs)

    return look


def _run_backward(watch: Watch, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def run_backward(*args: Any, **kwargs: Any) -> Any:
        mode = _mode_of(watch)
        if mode is None:
            return original(*args, **kwargs)
        mode.passes += 1
        try:
            return original(*args, **kwargs)
        finally:
            mode.passes -= 1

    return run_backward


def _record_stream(watch: Watch, original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def record_stream(self: torch.Tensor, stream: Any) -> None:
        original(self, stream)
        watch.recorded(self, stream)

    return record_stream
