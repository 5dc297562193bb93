"""What becomes of one of torch's operations on a simulated device.

Each operator is looked at once and gets a way of its own:

* a *view* is made at once: it is other sizes and strides of the same memory;
* what *makes* tensors is enqueued. Their layouts are inferred, memory is allocated, and when the stream gets there the
  operator runs on the memory of its arguments and fills that of its results;
* what *writes* to its arguments is enqueued;
* what has to know the values (`.item()`, `nonzero`, `equal`) waits for the stream, as it does on CUDA.

Whatever cannot be inferred goes the last way: it is right, though it waits where a real device might not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from cpugpu.errors import NotSimulated
from cpugpu.simulate import backward, moves
from cpugpu.simulate.pinned import PinnedTensor, pinned
from cpugpu.simulate.runtime import Runtime
from cpugpu.simulate.shapes import Unknown, infer
from cpugpu.simulate.tensor import SimTensor, wrap

_aten: Any = torch.ops.aten
_Way = Callable[[Any, Sequence[Any], dict[str, Any]], Any]

#: Views, though their schemas do not say so.
_VIEWS = {_aten._unsafe_view.default, _aten.lift_fresh.default}  # noqa: SLF001
#: Makes tensors whose contents nobody has asked for.
_EMPTY = {_aten.empty_like.default, _aten.new_empty.default, _aten.new_empty_strided.default}
#: Change sizes and strides of the tensor itself.
_RESHAPING = {
    "as_strided_", "detach_", "resize_", "resize_as_", "set_", "squeeze_", "swapaxes_", "swapdims_", "t_", "transpose_",
    "unsqueeze_",
}  # fmt: skip
#: Arguments that are about where a result is. It is where the other tensors are.
_PLACES = ("device", "pin_memory", "layout")


def run(cls: Any, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:  # noqa: ARG001
    """`__torch_dispatch__` of `SimTensor`."""
    way = _ways.get(func)
    if way is None:
        way = _ways[func] = _way_of(func)
    return way(func, args, kwargs or {})


def run_with_pinned(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """`__torch_dispatch__` of `PinnedTensor`: on the host, unless a tensor on a device takes part."""
    if func is _aten.copy_.default and isinstance(args[1], SimTensor):
        return _copy(func, args, kwargs)
    tensors = _tensors((*args, *kwargs.values()))
    if any(isinstance(each, SimTensor) for each in tensors):
        return run(None, func, (), args, kwargs)
    result = func(*_on_host(args), **{name: _on_host(value) for name, value in kwargs.items()})
    memory = next((each for each in tensors if isinstance(each, PinnedTensor)), None)
    assert memory is not None
    if func.is_view or func in _VIEWS:
        if isinstance(result, list | tuple):
            return type(result)([pinned(each, memory._memory.runtime, memory._memory) for each in result])
        return pinned(result, memory._memory.runtime, memory._memory)
    written = [value for argument, value in zip(func._schema.arguments, args, strict=False) if _writes(argument)]
    return written[0] if len(written) == 1 and isinstance(result, torch.Tensor) else result


class _Call:
    """The arguments of an operation as tensors of the host, and what they tell about it."""

    __slots__ = ("block", "raw", "raw_kwargs", "reads", "runtime")

    def __init__(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        self.block: Any = None  # of the first tensor
        self.reads: list[object] = []
        self.raw = [self._unwrap(value) for value in args]
        self.raw_kwargs = {name: self._unwrap(value) for name, value in kwargs.items()} if kwargs else kwargs
        if self.block is None:
            raise NotSimulated(f"{func} has no tensor on a simulated device")
        self.runtime: Runtime = self.block.runtime
        if self.runtime.over:
            self.runtime.check()

    def _unwrap(self, value: Any) -> Any:
        if isinstance(value, SimTensor):
            block = value._block
            if self.block is None:
                self.block = block
            elif block.index != self.block.index:
                raise RuntimeError(
                    "Expected all tensors to be on the same device, but found at least two devices,"
                    f" cuda:{self.block.index} and cuda:{block.index}!"
                )
            self.reads.append(block.memory)
            return value._raw
        kind = type(value)
        if kind is list or kind is tuple:
            return kind([self._unwrap(each) for each in value])
        if isinstance(value, torch.Tensor):
            return _from_host(value)
        return value


def _from_host(value: torch.Tensor) -> torch.Tensor:
    """A tensor of the host among those of a device: a number, which is read now."""
    if value.dim() or value.requires_grad:
        raise RuntimeError(
            "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"
        )
    return (value._raw if isinstance(value, PinnedTensor) else value).clone()


def _view(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    call = _Call(func, args, kwargs)
    result = func(*call.raw, **call.raw_kwargs)
    if isinstance(result, torch.Tensor):
        return wrap(result, call.block)
    return type(result)([wrap(each, call.block) for each in result])


def _make(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    if kwargs:
        kwargs = {name: value for name, value in kwargs.items() if name not in _PLACES}
    try:
        spec = infer(func, args, kwargs)
    except Unknown:
        return _wait(func, args, kwargs)
    call = _Call(func, args, kwargs)
    runtime, index = call.runtime, call.block.index
    stream = backward.stream(runtime, index, args)
    blocks: list[Any] = []
    raws: list[Any] = []
    for layout in spec.layouts:
        block, raw = (None, None) if layout is None else runtime.allocate(layout, index, stream)
        blocks.append(block)
        raws.append(raw)
    if func not in _EMPTY:
        writes = [block.memory for block in blocks if block is not None]
        kernel = _kernel(func, call, raws)
        operation = runtime.launch(stream, _label(func), kernel, call.reads, writes)
        backward.made(operation, blocks, runtime)
    if spec.pack is None:
        return None if raws[0] is None else wrap(raws[0], blocks[0], stream)
    return spec.pack(
        [None if block is None else wrap(raw, block, stream) for raw, block in zip(raws, blocks, strict=True)]
    )


def _kernel(func: Any, call: _Call, raws: list[Any]) -> Callable[[], object]:
    out = _out.get(func, _out)
    if out is _out:
        out = _out[func] = _out_variant(func)
    if out is not None:
        overload, names = out
        return partial(overload, *call.raw, **call.raw_kwargs, **dict(zip(names, raws, strict=True)))
    return partial(_run_and_copy, func, call.raw, call.raw_kwargs, raws)


def _run_and_copy(func: Any, args: Sequence[Any], kwargs: dict[str, Any], targets: Sequence[Any]) -> None:
    results = func(*args, **kwargs)
    if isinstance(results, torch.Tensor):
        results = (results,)
    for target, result in zip(targets, results, strict=True):
        if target is not None:
            if target.shape != result.shape:
                raise RuntimeError(f"{func} was to make a tensor of {target.shape} and made one of {result.shape}")
            target.copy_(result)


def _write(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    try:
        infer(func, args, kwargs)  # what is wrong with the arguments has to be said now
    except Unknown:
        return _wait(func, args, kwargs)
    call = _Call(func, args, kwargs)
    written, writes = _written(func, args, kwargs)
    stream = backward.stream(call.runtime, call.block.index, args)
    call.runtime.launch(stream, _label(func), partial(func, *call.raw, **call.raw_kwargs), call.reads, writes)
    return _returned(func, written)


def _random_fill(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Random numbers are drawn by the host when they are asked for, so that they are the same in every schedule."""
    call = _Call(func, args, kwargs)
    drawn = func(torch.empty_like(call.raw[0]), *call.raw[1:], **call.raw_kwargs)
    stream = backward.stream(call.runtime, call.block.index, args)
    call.runtime.launch(stream, _label(func), partial(call.raw[0].copy_, drawn), (), (args[0]._block.memory,))
    return args[0]


def _random_like(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    call = _Call(func, args, {name: value for name, value in kwargs.items() if name not in _PLACES})
    drawn = func(torch.empty_like(call.raw[0]), *call.raw[1:], **call.raw_kwargs)
    stream = backward.stream(call.runtime, call.block.index, args)
    block, raw = call.runtime.allocate((drawn.shape, drawn.stride(), drawn.dtype), call.block.index, stream)
    call.runtime.launch(stream, _label(func), partial(raw.copy_, drawn), (), (block.memory,))
    return wrap(raw, block)


def _random(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Where the draw depends on data it gets a generator of its own, seeded now."""
    if not any(argument.name == "generator" for argument in func._schema.arguments):
        return _wait(func, args, kwargs)
    if kwargs.get("generator") is None:
        generator = torch.Generator()
        generator.manual_seed(int(torch.randint(2**62, ())))
        kwargs = {**kwargs, "generator": generator}
    return _make(func, args, kwargs)


def _wait(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Run it while the host waits."""
    kwargs = {name: value for name, value in kwargs.items() if name not in _PLACES}
    call = _Call(func, args, kwargs)
    runtime, index = call.runtime, call.block.index
    written, writes = _written(func, args, kwargs)
    stream = backward.stream(runtime, index, args)
    results: list[Any] = []
    errors: list[Exception] = []

    def kernel() -> None:
        try:
            results.append(func(*call.raw, **call.raw_kwargs))
        except Exception as error:  # of the call, not of the device
            errors.append(error)

    runtime.run(stream, _label(func), kernel, call.reads, writes)
    if errors:
        raise errors[0]
    if writes:
        return _returned(func, written)
    return _on_device(results[0], runtime, index)


def _on_device(value: Any, runtime: Runtime, index: int) -> Any:
    """What an operation has returned that has already run."""
    if isinstance(value, torch.Tensor):
        layout = (value.shape, value.stride(), value.dtype)
        block, raw = runtime.allocate(layout, index, runtime.current(index))
        raw.copy_(value)
        return wrap(raw, block)
    if isinstance(value, list | tuple):
        return type(value)([_on_device(each, runtime, index) for each in value])
    return value


def _copy(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:  # noqa: ARG001
    target, source = args[0], args[1]
    non_blocking = args[2] if len(args) > 2 else kwargs.get("non_blocking", False)
    if isinstance(target, SimTensor):
        target._runtime.check()
    if target.shape != source.shape:
        source = source.expand(target.shape)
    moves.copy(target, source, non_blocking=non_blocking)
    return target


def _reshape(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """The tensor itself gets other sizes."""
    tensor = args[0]
    with torch._C._DisableTorchDispatch():  # noqa: SLF001
        func(tensor, *_on_host(args[1:]), **kwargs)
    raw = tensor._raw.detach()
    func(raw, *_on_host(args[1:]), **kwargs)
    tensor._raw = raw
    if len(args) > 1 and isinstance(args[1], SimTensor):
        tensor._block = args[1]._block
    return tensor


def _way_of(func: Any) -> _Way:
    schema, tags = func._schema, func.tags
    if func is _aten.copy_.default:
        return _copy
    if func.overloadpacket.__name__ in _RESHAPING:
        return _reshape
    if func.is_view or func in _VIEWS:
        return _view
    writes = any(_writes(argument) for argument in schema.arguments)
    if torch.Tag.nondeterministic_seeded in tags:
        if writes:
            return _random_fill if not any("Tensor" in str(each.type) for each in schema.arguments[1:]) else _write
        return _random_like if schema.name.endswith("_like") else _random
    if torch.Tag.data_dependent_output in tags:
        return _wait
    return _write if writes else _make


def _out_variant(func: Any) -> tuple[Any, list[str]] | None:
    """The overload that writes its results where it is told to, and the names of those arguments."""
    schema = func._schema
    if any(str(each.type) != "Tensor" for each in schema.returns):
        return None
    wanted = [(each.name, str(each.type)) for each in schema.arguments]
    for name in func.overloadpacket.overloads():
        other = getattr(func.overloadpacket, name)
        out = [each.name for each in other._schema.arguments if each.is_out]
        rest = [(each.name, str(each.type)) for each in other._schema.arguments if not each.is_out]
        if len(out) == len(schema.returns) and rest == wanted:
            return other, out
    return None


def _writes(argument: Any) -> bool:
    return argument.alias_info is not None and argument.alias_info.is_write


def _written(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[list[Any], list[object]]:
    """The arguments that it writes to, and their memory."""
    written = []
    for place, argument in enumerate(func._schema.arguments):
        if _writes(argument):
            value = args[place] if place < len(args) else kwargs.get(argument.name)
            if value is not None:
                written.append(value)
    return written, [each._block.memory for each in _tensors(written) if isinstance(each, SimTensor)]


def _returned(func: Any, written: list[Any]) -> Any:
    returns = len(func._schema.returns)
    if not returns:
        return None
    return written[0] if returns == 1 else tuple(written)


def _tensors(values: Any) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []
    for value in values:
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += _tensors(value)
    return found


def _on_host(value: Any) -> Any:
    if isinstance(value, SimTensor | PinnedTensor):
        return value._raw
    if isinstance(value, list | tuple):
        return type(value)([_on_host(each) for each in value])
    return value


def _label(func: Any) -> str:
    return func.overloadpacket.__name__  # type: ignore[no-any-return]


_ways: dict[Any, _Way] = {}
_out: dict[Any, Any] = {}
SimTensor.__torch_dispatch__ = classmethod(run)
