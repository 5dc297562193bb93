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
from cpugpu.sanitize.clocks import Actor
from cpugpu.sanitize.intercept import stack
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
        self.passes: list[Pass] = []  # those of autograd that the thread has called and that are not over

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
        if watch.over or self.unseen:
            return result
        self.adopt()
        if self.passes and here() is None:
            self._goes_on(args, result)
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

    def _goes_on(self, args: Any, result: Any) -> None:
        """No frame of the program's is below: it is a node of the backward pass."""
        for value in (result, *args):
            if isinstance(value, torch.Tensor) and value.is_cuda:
                self.passes[-1].goes_on(self._watch.current(value.get_device()))
                return


class Pass:
    """A backward pass. Its nodes run on the streams of the forward pass, and torch puts events in between, in C++.

    All streams of the nodes are taken to be one after the other, more than torch sees to: none of its events are missed
    so. What a hook or a `Function` of the program's own does is not a node's, and has to wait for itself.
    """

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._before = [watch.current(index) for index in range(torch.cuda.device_count())]
        self._last: Actor | None = None
        self._devices: set[str] = set()

    def goes_on(self, stream: Actor) -> None:
        """A node has put something on that stream."""
        if stream.device not in self._devices:
            self._devices.add(stream.device)
            self._watch.follows(self._of(stream.device), stream)
        if self._last is not stream:
            if self._last is not None:
                self._watch.follows(self._last, stream)
            self._last = stream

    def ends(self) -> None:
        """Whoever has called it goes on behind it."""
        for device in self._devices:
            assert self._last is not None
            self._watch.follows(self._last, self._of(device))

    def _of(self, device: str) -> Actor:
        return next(each for each in self._before if each.device == device)


class Modes:
    """The modes of all threads."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._local = threading.local()
        watch.unseen = self.unseen

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

    def unseen(self, now: bool) -> None:
        """From True to False what the calling thread launches is told of as a whole."""
        mode = _mode_of(self._watch)
        if mode is not None:
            mode.unseen = now

    def leave(self) -> None:
        """Take away the calling thread's. Those of other threads do nothing any more."""
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
        if not self.is_cuda:
            watch.look(self)
        return original(self, *args, **kwargs)

    return look


def _run_backward(watch: Watch, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def run_backward(*args: Any, **kwargs: Any) -> Any:
        mode = _mode_of(watch)
        if mode is None or not torch.cuda.is_initialized():
            return original(*args, **kwargs)
        its = Pass(watch)
        mode.passes.append(its)
        try:
            result = original(*args, **kwargs)
        finally:
            mode.passes.remove(its)
        its.ends()
        return result

    return run_backward


def _record_stream(watch: Watch, original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def record_stream(self: torch.Tensor, stream: Any) -> None:
        original(self, stream)
        watch.recorded(self, stream)

    return record_stream
