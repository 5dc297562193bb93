"""A forked child: it is not to use the device that its parent has used. Told before the driver or torch refuses it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cpugpu.patches import Patch
from cpugpu.sanitize.intercept.operations import effect_of
from cpugpu.sanitize.intercept.watch import Watch
from cpugpu.sanitize.places import here
from cpugpu.simulate import session
from cpugpu.simulate.runtime import Runtime


def patches(watch: Watch) -> Iterator[Patch]:
    """Where torch asks whether the device may be used."""
    if session.current() is not None:
        yield Runtime, "check", _check(watch, Runtime.check)
    else:
        yield torch.cuda, "_lazy_init", _lazy_init(watch, torch.cuda._lazy_init)  # noqa: SLF001


class Mode(TorchDispatchMode):
    """An operation on tensors that the parent has put on a real device: no function of torch's asks."""

    def __init__(self, watch: Watch) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._watch = watch

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not self._watch.over and not effect_of(func).view:
            used = [each for each in tree_leaves((args, kwargs)) if isinstance(each, torch.Tensor) and each.is_cuda]
            if used:
                _used(self._watch, effect_of(func).name, used[0].get_device())
        return func(*args, **kwargs)


def _used(watch: Watch, what: str, index: int) -> None:
    model = watch.model
    model.launch(model.me(), model.stream(f"cuda:{index}", 0), (), what, here())
    watch.told()


def _check(watch: Watch, original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def check(self: Runtime) -> None:
        if self.forked:
            _used(watch, "use of the device", 0)
        original(self)

    return check


def _lazy_init(watch: Watch, original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def lazy_init() -> None:
        if torch.cuda._is_in_bad_fork():  # noqa: SLF001
            _used(watch, "use of the device", 0)
        original()

    return lazy_init
