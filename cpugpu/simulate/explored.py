"""Tensors under the explorer: what a thread asks of torch is a step, and others may come before it.

`__torch_function__` is called before torch's C++ is entered, and that is where a thread can be made to wait. Below it
nothing may switch to another thread: all logical threads are one thread of the operating system, whose state torch
keeps (which dispatch keys are on, which gradient is computed). So what an operation has to wait for on the way is
waited for here, and the call is made again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from cpugpu.simulate import dispatch, session
from cpugpu.simulate.pinned import HostMemory, PinnedTensor
from cpugpu.simulate.runtime import NotYet
from cpugpu.simulate.tensor import SimTensor

#: Look at sizes and the like, or make a view: nothing is enqueued, and no memory is touched.
_QUIET = {
    "__get__", "__len__", "__hash__", "__set__", "as_strided", "backward", "chunk", "data_ptr", "detach", "dim",
    "element_size", "expand", "expand_as", "flatten", "get_device", "is_complex", "is_contiguous", "is_floating_point",
    "is_pinned", "is_same_size", "movedim", "narrow", "ndimension", "nelement", "numel", "permute", "record_stream",
    "register_hook", "requires_grad_", "select", "size", "split", "squeeze", "storage_offset", "stride", "swapaxes",
    "t", "transpose", "unbind", "unflatten", "unsqueeze", "untyped_storage", "view", "view_as",
}  # fmt: skip


class ExploredTensor(SimTensor):
    """A tensor on a simulated device whose streams the explorer schedules."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _step(func, args, kwargs or {})

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        with session.runtime().uninterrupted():
            return dispatch.run(cls, func, types, args, kwargs)


class ExploredPinned(PinnedTensor):
    """Pinned memory that the explorer watches: each look is a step."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _step(func, args, kwargs or {})

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        runtime = session.current()
        if runtime is None:
            return super().__torch_dispatch__(func, types, args, kwargs)
        with runtime.uninterrupted():
            return super().__torch_dispatch__(func, types, args, kwargs)


def _step(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    runtime = session.current()
    name = getattr(func, "__name__", "")
    if runtime is not None and not _quiet(name, args):
        reads, writes = _looked_at(name, args, kwargs)
        runtime.step(name.strip("_"), reads, writes)
    while True:
        try:
            with torch._C.DisableTorchFunctionSubclass():  # noqa: SLF001
                return func(*args, **kwargs)
        except NotYet as pending:  # noqa: PERF203 - rare
            assert runtime is not None
            runtime.driver.block([pending.stream.last])


def _quiet(name: str, args: Sequence[Any]) -> bool:
    if name == "__getitem__":
        keys = args[1] if isinstance(args[1], tuple) else (args[1],)
        return all(key is None or key is Ellipsis or isinstance(key, int | slice) for key in keys)
    return name in _QUIET


def _looked_at(name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[list[HostMemory], list[HostMemory]]:
    """The pinned memory that the host reads and writes when it makes this call."""
    values = [each for each in (*args, *kwargs.values()) if isinstance(each, PinnedTensor)]
    if not values or any(isinstance(each, SimTensor) for each in args):
        return [], []  # a copy: the stream does it, or waits for it
    if name == "__setitem__" or (name.endswith("_") and not name.endswith("__")) or name.startswith("__i"):
        return [each._memory for each in values if each is not args[0]], [
            each._memory for each in values if each is args[0]
        ]
    out = kwargs.get("out")
    return [each._memory for each in values if each is not out], [each._memory for each in values if each is out]


class TorchState:
    """What torch keeps about a thread of the operating system, and what the logical threads there have each."""

    def take(self) -> bool:
        """As it is now."""
        return torch.is_grad_enabled()

    def put(self, state: bool | None) -> None:
        """As it was; None: as it is in a new thread."""
        torch._C._set_grad_enabled(state is None or state)  # noqa: SLF001
