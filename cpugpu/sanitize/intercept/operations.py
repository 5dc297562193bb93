"""What one of torch's operations does to memory: read from its schema, once an operator.

A tensor argument is read, and written where the schema says so; a result that is no view of an argument is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from cpugpu.simulate.calls import is_composite

_aten: Any = torch.ops.aten

#: Makes tensors and leaves their contents as they are.
_EMPTY = {
    _aten.empty.memory_format, _aten.empty_like.default, _aten.empty_strided.default, _aten.new_empty.default,
    _aten.new_empty_strided.default,
}  # fmt: skip
#: Changes what a tensor is, not what its memory holds.
_METADATA = {"as_strided_", "detach_", "set_", "squeeze_", "t_", "transpose_", "unsqueeze_", "resize_", "record_stream"}
#: Bring running statistics up to date, the arguments 3 and 4, if argument 5 says that they train. No schema tells.
_NORMS = {"native_batch_norm", "cudnn_batch_norm", "miopen_batch_norm"}
_STATISTICS = frozenset((3, 4))


class Effect:
    """What an operator does.

    `whole`: it is made of others, which tell of themselves, and comes as a whole, as in inference mode. `view`:
    nothing. `makes`: new tensors; `fresh`: and fills them. `waits`: the host waits for the stream, for it has to know
    the values; see `waits_for`. `trains`: its running statistics may be written too.
    """

    __slots__ = ("fresh", "makes", "name", "trains", "view", "waits", "whole", "writes")

    def __init__(self, func: Any) -> None:
        schema = func._schema
        self.name: str = func.overloadpacket.__name__
        self.whole = is_composite(func)
        self.view = (
            self.whole
            or func.is_view
            or self.name in _METADATA
            or func in (_aten._unsafe_view.default, _aten.lift_fresh.default)  # noqa: SLF001
        )
        self.writes = frozenset(
            place
            for place, argument in enumerate(schema.arguments)
            if argument.alias_info is not None and argument.alias_info.is_write
        )
        self.makes = any(each.alias_info is None for each in schema.returns)
        self.fresh = self.makes and func not in _EMPTY
        self.trains = self.name in _NORMS
        tags = func.tags
        self.waits = torch.Tag.data_dependent_output in tags or torch.Tag.dynamic_output_shape in tags


_effects: dict[Any, Effect] = {}


def effect_of(func: Any) -> Effect:
    """Of an operator."""
    found = _effects.get(func)
    if found is None:
        found = _effects[func] = Effect(func)
    return found


def waits_for(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> bool:
    """Does the host wait in this call of an operator of which some do?

    An index has to be looked at if it is a mask, and to be copied if it is on the host. Numbers of repetitions are
    added up where their sum is not given.
    """
    if func is _aten.index.Tensor:
        indices = [each for each in args[1] if each is not None]
        return any(each.dtype in (torch.bool, torch.uint8) or each.device != args[0].device for each in indices)
    return not (func is _aten.repeat_interleave.Tensor and kwargs.get("output_size") is not None)


def touched(
    func: Any, effect: Effect, args: Sequence[Any], kwargs: dict[str, Any], result: Any
) -> list[tuple[torch.Tensor, bool]]:
    """The tensors that it touches, and whether it writes to them."""
    found: list[tuple[torch.Tensor, bool]] = []
    writes = effect.writes
    if effect.trains and args[5]:
        writes |= _STATISTICS
    for place, value in enumerate(args):
        if isinstance(value, torch.Tensor):
            found.append((value, place in writes))
        elif type(value) is list or type(value) is tuple:
            _add(value, place in writes, found)
    if kwargs:
        for place, argument in enumerate(func._schema.arguments):
            value = kwargs.get(argument.name)
            if value is not None:
                _add((value,), place in writes, found)
    if effect.fresh:
        if isinstance(result, torch.Tensor):
            found.append((result, True))
        elif isinstance(result, list | tuple):
            _add(result, True, found)
    return found


def _add(values: Sequence[Any], writes: bool, found: list[tuple[torch.Tensor, bool]]) -> None:
    for value in values:
        if isinstance(value, torch.Tensor):
            found.append((value, writes))
        elif isinstance(value, list | tuple):
            _add(value, writes, found)
