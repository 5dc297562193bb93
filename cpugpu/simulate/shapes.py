"""What an operation will return, before it has run: sizes, strides and types.

The host needs to know at once, for it goes on with the next operation. torch's meta kernels tell, but half of them are
written in Python and take most of a millisecond, so what they have told is kept: an operation on tensors of the same
layouts, with the same integers, returns the same. Numbers that are no integers do not count: no shape depends on one,
except where they come in lists (scale factors).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Any

import torch

from cpugpu.simulate.memory import Layout
from cpugpu.simulate.tensor import SimTensor

#: So many answers are kept; the oldest goes first.
_KEPT = 20_000


class Unknown(Exception):
    """Only the operation itself can tell: its shape depends on data, or it has no meta kernel, or it will fail."""


class Spec:
    """What comes back: the layouts of the tensors, and how they are packed (`None`: one tensor by itself)."""

    __slots__ = ("layouts", "pack")

    def __init__(self, layouts: Sequence[Layout | None], pack: type | None) -> None:
        self.layouts = layouts
        self.pack = pack


_known: OrderedDict[Hashable, Spec | None] = OrderedDict()


def infer(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Spec:
    """The result of `func`. `Unknown` where it cannot be told."""
    key = (func, _key(args), _key(kwargs.items()) if kwargs else None)
    try:
        spec = _known[key]
    except KeyError:
        spec = _known[key] = _ask(func, args, kwargs)
        if len(_known) > _KEPT:
            _known.popitem(last=False)
    if spec is None:
        raise Unknown
    return spec


def _key(values: Any) -> Hashable:
    return tuple([_part(value) for value in values])


def _part(value: Any) -> Hashable:
    if isinstance(value, torch.Tensor):
        if type(value) is SimTensor or isinstance(value, SimTensor):
            value = value._raw
            return (value.shape, value.stride(), value.dtype)
        return (value.shape, value.dtype, "host")
    kind: Any = type(value)
    if kind is list or kind is tuple:
        return tuple([each if type(each) in (int, float) else _part(each) for each in value])
    if kind is float or kind is complex:
        return kind
    if kind is bool:
        return (bool, value)  # True is 1 otherwise
    found: Hashable = value
    return found


def _ask(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Spec | None:
    try:
        result = func(*_on_meta(args), **{name: _on_meta(value) for name, value in kwargs.items()})
    except Exception:
        return None  # the operation itself will say why, if it has something against its arguments
    if result is None or isinstance(result, torch.Tensor):
        return Spec((_layout(result),), None)
    if isinstance(result, list | tuple) and all(each is None or isinstance(each, torch.Tensor) for each in result):
        return Spec([_layout(each) for each in result], type(result))
    return None


def _on_meta(value: Any) -> Any:
    if isinstance(value, SimTensor):
        return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")
    if isinstance(value, list | tuple):
        return type(value)([_on_meta(each) for each in value])
    if isinstance(value, torch.device):
        return torch.device("meta")
    return value


def _layout(value: torch.Tensor | None) -> Layout | None:
    return None if value is None else (value.shape, value.stride(), value.dtype)


def _warm_up() -> None:
    """The first of its kind takes torch seconds, for it imports much: not in the middle of a schedule."""
    torch.ops.aten.add.Tensor(torch.empty(1, device="meta"), torch.empty(1, device="meta"))


_warm_up()
