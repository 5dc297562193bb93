"""What an operation will return, before it has run: sizes, strides and types; and how it is run.

The host needs to know at once, for it goes on with the next operation. torch's meta kernels tell, but half of them are
written in Python and take most of a millisecond, so what they have told is kept: an operation on tensors of the same
layouts, with the same integers, returns the same. A few operators return other types or other strides on a CPU than
the meta kernels say; those are asked themselves, on zeros.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Any

import torch

from cpugpu.simulate.memory import Layout, layout_of
from cpugpu.simulate.tensor import SimTensor

#: So many answers are kept; the oldest goes first.
_KEPT = 20_000
#: Operators whose meta kernels do not speak for the CPU: other types, other strides.
_ASK_ITSELF = {
    "_batch_norm_with_update", "_embedding_bag", "_embedding_bag_forward_only", "convolution",
    "convolution_backward", "mkldnn_rnn_layer",
    "mkldnn_rnn_layer_backward", "_native_batch_norm_legit", "batch_norm_backward", "native_batch_norm",
    "native_batch_norm_backward", "native_group_norm", "native_group_norm_backward", "native_layer_norm",
    "native_layer_norm_backward",
}  # fmt: skip


class Unknown(Exception):
    """Only the operation itself can tell: its shape depends on data, or it has no meta kernel, or it will fail."""


class Spec:
    """What comes back: the layouts of the tensors, and how they are packed (`None`: one tensor by itself)."""

    __slots__ = ("layouts", "pack")

    def __init__(self, layouts: Sequence[Layout | None], pack: type | None) -> None:
        self.layouts = layouts
        self.pack = pack


#: Statistics that are not there, for autograd takes no `None`.
_NOTHING = layout_of(torch.empty(0))
_known: OrderedDict[Hashable, Spec | None] = OrderedDict()


def infer(key: Hashable, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Spec:
    """The result of `func`; `key` says all that it depends on. `Unknown` where it cannot be told."""
    try:
        spec = _known[key]
    except KeyError:
        spec = _known[key] = _ask(func, args, kwargs)
        if len(_known) > _KEPT:
            _known.popitem(last=False)
    if spec is None:
        raise Unknown
    return spec


def _ask(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Spec | None:
    device = "cpu" if func.overloadpacket.__name__ in _ASK_ITSELF else "meta"
    try:
        result = func(*_like(args, device), **{name: _like(value, device) for name, value in kwargs.items()})
    except Exception:
        return None  # the operation itself will say why, if it has something against its arguments
    if result is None or isinstance(result, torch.Tensor):
        return Spec((_layout(result),), None)
    if isinstance(result, list | tuple) and all(each is None or isinstance(each, torch.Tensor) for each in result):
        return Spec([_NOTHING if each is None and device == "cpu" else _layout(each) for each in result], type(result))
    return None


def _like(value: Any, device: str) -> Any:
    if isinstance(value, torch.Tensor):
        if isinstance(value, SimTensor):
            size, stride, dtype = value._layout.parts
        else:
            size, stride, dtype = value.shape, value.stride(), value.dtype
        return torch.empty_strided(size, stride, dtype=dtype, device=device).zero_()
    if isinstance(value, list | tuple):
        return type(value)([_like(each, device) for each in value])
    if isinstance(value, torch.device):
        return torch.device(device)
    return value


def _layout(value: torch.Tensor | None) -> Layout | None:
    return None if value is None else layout_of(value)


def _warm_up() -> None:
    """The first of its kind takes torch seconds, for it imports much: not in the middle of a schedule."""
    torch.ops.aten.add.Tensor(torch.empty(1, device="meta"), torch.empty(1, device="meta"))


_warm_up()
