"""The arguments of an operation: as tensors of the host, for the kernel, and as a key, for what is known of such calls.

An operation that is queued takes 50 µs or so, and this is run for each: one pass over the arguments makes both.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch

from cpugpu.errors import NotSimulated
from cpugpu.simulate.pinned import PinnedTensor
from cpugpu.simulate.runtime import Runtime
from cpugpu.simulate.tensor import SimTensor

_aten: Any = torch.ops.aten
#: These take indices that are on the host, as torch's CUDA does: they are moved to the device.
_TAKE_INDICES = {
    _aten.index.Tensor, _aten.index_put.default, _aten.index_put_.default, _aten._index_put_impl_.default,
    _aten._unsafe_index.Tensor, _aten._unsafe_index_put.default,  # noqa: SLF001
}  # fmt: skip
#: Numbers that are no integers do not count in a key, for no shape depends on one, except in a list (scale factors).
_UNCOUNTED = (float, complex)
#: `True` is 1 otherwise.
_BOOLS = ("False", "True")


class Call:
    """What an operation was called with."""

    __slots__ = ("block", "fresh", "key", "raw", "raw_kwargs", "reads", "runtime")

    def __init__(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        self.block = cast("Any", None)  # of the first tensor
        self.fresh = False  # does a tensor take part that torch's C++ has made on the host?
        self.reads: list[object] = []
        key: Any = [func]
        self.key = key
        self.raw = self._taken(args, key)
        if kwargs:
            self.raw_kwargs = dict(zip(kwargs, self._taken(kwargs.values(), key), strict=True))
            key += kwargs
        else:
            self.raw_kwargs = kwargs
        if self.block is None:
            raise NotSimulated(f"{func} has no tensor on a simulated device")
        self.key = tuple(key)
        self.runtime: Runtime = self.block.runtime
        self.runtime.check()

    def _taken(self, values: Any, key: list[Any]) -> list[Any]:
        raw: list[Any] = []
        for value in values:
            kind = type(value)
            if kind is SimTensor or isinstance(value, SimTensor):
                block = value._block
                if self.block is None:
                    self.block = block
                elif block.index != self.block.index:
                    raise _elsewhere(self.block.index, f"cuda:{block.index}")
                self.reads.append(block.memory)
                key.append(value._layout)
                raw.append(value._raw)
            elif kind is int or value is None:
                key.append(value)
                raw.append(value)
            elif kind in _UNCOUNTED:
                key.append(kind)
                raw.append(value)
            elif kind is bool:
                key.append(_BOOLS[value])
                raw.append(value)
            elif kind is list or kind is tuple:
                inner: list[Any] = []
                if value and type(value[0]) in (int, float):
                    inner += value
                    raw.append(value)
                else:
                    raw.append(kind(self._taken(value, inner)))
                key.append(tuple(inner))
            elif isinstance(value, torch.Tensor):
                host = _host_tensor(value, self)
                key.append((host.shape, host.stride(), host.dtype))
                raw.append(host)
            else:
                key.append(value)
                raw.append(value)
        return raw


def _host_tensor(value: torch.Tensor, call: Call) -> torch.Tensor:
    """A tensor of the host among those of a device: a number, which is read now, or one that torch has just made.

    Parts of torch's C++ make tensors where they take the others to be, which is the host. Such a one nobody else has:
    Python learns of it here. One that the program has is held by it as well.
    """
    if isinstance(value, PinnedTensor):
        fresh, value = False, value._raw
    else:
        fresh = sys.getrefcount(value) <= _FRESH
        if fresh and value._is_view():  # of a tensor that the program has?
            base = value._base
            fresh = sys.getrefcount(base) <= _FRESH - 2  # nobody has called a function with it, or put it in a list
    if fresh:
        call.fresh = True
        return value.detach()
    if (value.dim() or value.requires_grad) and call.key[0] not in _TAKE_INDICES:
        raise _elsewhere(0 if call.block is None else call.block.index, "cpu")
    return value.detach().clone()


def _elsewhere(index: int, other: str) -> RuntimeError:
    return RuntimeError(
        "Expected all tensors to be on the same device, but found at least two devices,"
        f" cuda:{index} and {other}! (when checking arguments)"
    )


def _count_of_fresh() -> int:
    """How many references there are to a tensor that only torch's C++ has, when `_host_tensor` looks."""
    counts: list[int] = []

    def host_tensor(value: torch.Tensor, call: Any) -> torch.Tensor:  # noqa: ARG001
        counts.append(sys.getrefcount(value))
        return value

    def taken(values: Any) -> None:
        for value in values:
            if type(value) is torch.Tensor:
                host_tensor(value, None)

    class Probe(torch.Tensor):
        __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]  # noqa: SLF001

        @classmethod
        def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
            taken(args)
            return probe()

    def probe() -> Any:
        return torch.Tensor._make_subclass(Probe, torch.ones(3))  # noqa: SLF001

    torch.combinations(probe())  # it makes a mask
    return max(counts)


_FRESH = _count_of_fresh()


def on_host(value: Any) -> Any:
    """The same with tensors of the host in place of those of a device."""
    if isinstance(value, SimTensor | PinnedTensor):
        return value._raw
    if isinstance(value, list | tuple):
        return type(value)([on_host(each) for each in value])
    return value


def tensors(values: Any) -> list[torch.Tensor]:
    """Those among the values, also in lists."""
    found: list[torch.Tensor] = []
    for value in values:
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += tensors(value)
    return found


@functools.cache
def is_composite(func: Any) -> bool:
    """Is the operator made of others? In inference mode it comes as a whole, elsewhere these come in its place."""
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd"))  # noqa: SLF001


def is_written(argument: Any) -> bool:
    """Does the operator write to this one of its arguments?"""
    return argument.alias_info is not None and argument.alias_info.is_write


def written(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[list[Any], list[object]]:
    """The arguments that it writes to, and their memory."""
    found = []
    for place, argument in enumerate(func._schema.arguments):
        if is_written(argument):
            value = args[place] if place < len(args) else kwargs.get(argument.name)
            if value is not None:
                found.append(value)
    return found, [each._block.memory for each in tensors(found) if isinstance(each, SimTensor)]


def returned(func: Any, written_to: list[Any]) -> Any:
    """What an operator returns that writes to its arguments."""
    returns = len(func._schema.returns)
    if not returns:
        return None
    return written_to[0] if returns == 1 else tuple(written_to)


Way = Callable[[Any, Sequence[Any], dict[str, Any]], Any]
