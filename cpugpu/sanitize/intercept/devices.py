"""On which device a thread is: whether it has chosen one before it makes something without naming a device.

Only where there are several, and in threads whose starter was on another than the first, where they begin themselves.
What a real device makes is seen by a function mode in such a thread, for an operator is given a device with its number;
the simulated one tells it itself.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from cpugpu.patches import Patch
from cpugpu.sanitize.clocks import Actor
from cpugpu.sanitize.intercept.watch import Watch
from cpugpu.simulate import moves


def patches(watch: Watch) -> Iterator[Patch]:
    """Where a thread chooses its device; and where the simulated device takes the current one."""
    if not watch.backend.several:
        return
    module, accelerator = watch.backend.module, torch.accelerator
    for where, name in ((module, "set_device"), (accelerator, "set_device_index"), (accelerator, "set_device_idx")):
        if hasattr(where, name):
            yield where, name, _chosen(watch, getattr(where, name))
    yield module, "stream", _chosen(watch, module.stream)
    blocks = [module.device]
    if watch.backend.simulated:
        yield moves, "device_for", _device_for(watch, moves.device_for)
    elif hasattr(accelerator, "device_index"):
        blocks.append(accelerator.device_index)
    for block in blocks:
        yield block, "__enter__", _enter(watch, block.__enter__)
        yield block, "__exit__", _exit(watch, block.__exit__)


def names_none(device: Any, kind: str) -> bool:
    """Is it "cuda", without a number? `kind`: what devices are called here."""
    if isinstance(device, torch.device):
        return device.type == kind and device.index is None
    return isinstance(device, str) and device == kind


def watch_thread(watch: Watch) -> None:
    """See what the calling thread makes, if it may have to choose a device."""
    me = watch.model.me()
    if me.starter is not None:
        _Mode(watch, me).__enter__()  # type: ignore[no-untyped-call]  # for as long as the thread lives


class _Mode(TorchFunctionMode):
    """What the program asks torch for, as it asks for it."""

    def __init__(self, watch: Watch, thread: Actor) -> None:
        super().__init__()
        self._watch = watch
        self._thread = thread

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        watch = self._watch
        if self._thread.starter is None or watch.over:
            return result
        if isinstance(result, torch.Tensor) and watch.backend.is_on(result) and not (args and result is args[0]):
            kind = watch.backend.name
            named = [*args[1:], kwargs["device"]] if "device" in kwargs else args[1:]
            moves_there = func is getattr(torch.Tensor, kind) and all(each is None for each in named)
            if moves_there or any(names_none(each, kind) for each in named):
                watch.unplaced(func.__name__)
        return result


def _chosen(watch: Watch, original: Callable[..., Any]) -> Callable[..., Any]:
    """Of a stream too: who goes to one does not care any more where it was."""

    @functools.wraps(original)
    def choose(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        watch.model.me().starter = None
        return result

    return choose


def _enter(watch: Watch, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def enter(self: Any) -> Any:
        me = watch.model.me()
        self._cpugpu_starter = me.starter
        if self.idx is not None and self.idx >= 0:
            me.starter = None
        return original(self)

    return enter


def _exit(watch: Watch, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def leave(self: Any, *exc_info: Any) -> Any:
        watch.model.me().starter = self.__dict__.pop("_cpugpu_starter", None)
        return original(self, *exc_info)

    return leave


def _device_for(watch: Watch, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def device_for(device: Any) -> Any:
        found = original(device)
        if device is None or names_none(device, watch.backend.name):
            watch.unplaced("something new")
        return found

    return device_for
