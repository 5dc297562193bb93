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

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from cpugpu.device.simulated.graph import Renewed
from cpugpu.simulate import backward, moves
from cpugpu.simulate.calls import Call, Way, is_composite, is_written, on_host, returned, tensors, written
from cpugpu.simulate.memory import layout, layout_of
from cpugpu.simulate.pinned import PinnedTensor, pinned
from cpugpu.simulate.runtime import Runtime
from cpugpu.simulate.shapes import Spec, Unknown, infer
from cpugpu.simulate.tensor import SimTensor, wrap

_aten: Any = torch.ops.aten
_has_kernel: Any = torch._C._dispatch_has_kernel_for_dispatch_key  # noqa: SLF001

#: Views, though their schemas do not say so.
_VIEWS = {_aten._unsafe_view.default, _aten.lift_fresh.default}  # noqa: SLF001
#: Makes tensors whose contents nobody has asked for.
_EMPTY = {_aten.empty_like.default, _aten.new_empty.default, _aten.new_empty_strided.default}
#: Use their result for what they compute on the way, and make it larger for that.
_THROUGH_ITS_RESULT = {_aten.mse_loss.default, _aten.smooth_l1_loss.default}
#: Change sizes and strides of the tensor itself.
_RESHAPING = {
    "as_strided_", "detach_", "resize_", "resize_as_", "set_", "squeeze_", "swapaxes_", "swapdims_", "t_", "transpose_",
    "unsqueeze_",
}  # fmt: skip
#: Arguments that are about where a result is. It is where the other tensors are.
_PLACES = ("device", "pin_memory", "layout")
#: Has the operator a kernel that makes its result and one that fills a result, of the same code ("structured")?
_STRUCTURED = "CompositeExplicitAutogradNonFunctional"


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
    if is_composite(func):
        return _decompose(func, args, kwargs)
    found = tensors((*args, *kwargs.values()))
    if any(isinstance(each, SimTensor) for each in found):
        return run(None, func, (), args, kwargs)
    result = func(*on_host(args), **{name: on_host(value) for name, value in kwargs.items()})
    memory = next((each for each in found if isinstance(each, PinnedTensor)), None)
    assert memory is not None
    if func.is_view or func in _VIEWS:
        if isinstance(result, list | tuple):
            return type(result)([pinned(each, memory._memory.runtime, memory._memory) for each in result])
        return pinned(result, memory._memory.runtime, memory._memory)
    writes = [value for argument, value in zip(func._schema.arguments, args, strict=False) if is_written(argument)]
    return writes[0] if len(writes) == 1 and isinstance(result, torch.Tensor) else result


def _decompose(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """In inference mode what is made of other operators comes as a whole: some of these are views at times."""
    return func.decompose(*args, **kwargs)


def _view(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    call = Call(func, args, kwargs)
    result = func(*call.raw, **call.raw_kwargs)
    if isinstance(result, torch.Tensor):
        return wrap(result, call.block)
    return type(result)([wrap(each, call.block) for each in result])


def _make(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    if kwargs:
        kwargs = {name: value for name, value in kwargs.items() if name not in _PLACES}
    call = Call(func, args, kwargs)
    try:
        spec = infer(call.key, func, args, kwargs)
    except Unknown:
        return _wait(func, args, kwargs)
    runtime, index = call.runtime, call.block.index
    stream = backward.stream(runtime, index, args)
    if spec.pack is None and spec.layouts[0] is not None:
        one = spec.layouts[0]
        block, raw = runtime.allocate(one, index, stream)
        if func not in _EMPTY:
            memory = block.memory
            kernel = _renewed(_kernel(func, call, [memory.target(one)]), kwargs)
            operation = runtime.launch(stream, _labels[func], kernel, call.reads, (memory,))
            backward.made(operation, (memory,), runtime)
        return wrap(raw, block, one, stream)
    made: list[Any] = []
    targets: list[Any] = []
    for each in spec.layouts:
        if each is None:
            made.append(None)
            targets.append(None)
        else:
            block, raw = runtime.allocate(each, index, stream)
            made.append(wrap(raw, block, each, stream))
            targets.append(block.memory.target(each))
    writes = [each._block.memory for each in made if each is not None]
    if func._schema.is_mutable:
        writes += written(func, args, kwargs)[1]
    operation = runtime.launch(
        stream, _labels[func], _renewed(_kernel(func, call, targets), kwargs), call.reads, writes
    )
    backward.made(operation, writes, runtime)
    return made[0] if spec.pack is None else spec.pack(made)


def _renewed(kernel: Callable[..., object], kwargs: dict[str, Any]) -> Callable[[], object]:
    """`kernel`; where it has a generator, one that draws anew at each replay of a graph."""
    generator = kwargs.get("generator")
    return kernel if generator is None else _Seeded(kernel, generator)


def _kernel(func: Any, call: Call, targets: list[Any]) -> Callable[[], object]:
    """What runs `func` on these arguments and fills the targets."""
    out = _out.get(func, _out)
    if out is _out:
        out = _out[func] = _out_variant(func)
    if out is None or targets[0].is_complex():  # some leave their result marked as conjugated
        return partial(_run_and_copy, func, call.raw, call.raw_kwargs, targets)
    overload, names = out
    if len(names) == 1:
        return partial(overload, *call.raw, **call.raw_kwargs, **{names[0]: targets[0]})
    return partial(overload, *call.raw, **call.raw_kwargs, **dict(zip(names, targets, strict=True)))


def _run_and_copy(
    func: Any, args: Sequence[Any], kwargs: dict[str, Any], targets: Sequence[Any], **others: Any
) -> None:
    kwargs = {**kwargs, **others}
    results = func(*args, **kwargs)
    if isinstance(results, torch.Tensor):
        results = (results,)
    for target, result in zip(targets, results, strict=True):
        if target is not None and result is not None:
            if target.shape != result.shape:
                raise RuntimeError(f"{func} was to make a tensor of {target.shape} and made one of {result.shape}")
            target.copy_(result)


def _clone(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    call = Call(func, args, kwargs)
    one = infer(call.key, func, args, kwargs).layouts[0]
    assert one is not None
    stream = backward.stream(call.runtime, call.block.index, args)
    block, raw = call.runtime.allocate(one, call.block.index, stream)
    copy = partial(block.memory.target(one).copy_, call.raw[0])
    backward.made(
        call.runtime.launch(stream, "clone", copy, call.reads, (block.memory,)), (block.memory,), call.runtime
    )
    return wrap(raw, block, one, stream)


def _write(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    call = Call(func, args, kwargs)
    if call.fresh:
        return _wait(func, args, kwargs)
    try:
        spec = infer(call.key, func, args, kwargs)  # what is wrong with the arguments has to be said now
    except Unknown:
        return _wait(func, args, kwargs)
    written_to, writes = written(func, args, kwargs)
    if func._schema.arguments[-1].is_out and _resized(written_to, spec):
        call = Call(func, args, kwargs)
        writes = [each._block.memory for each in written_to]
    if func._schema.arguments[-1].is_out:  # whose sizes the kernel may change while it runs
        call.raw_kwargs = {
            name: value.detach() if isinstance(value, torch.Tensor) else value
            for name, value in call.raw_kwargs.items()
        }
    stream = backward.stream(call.runtime, call.block.index, args)
    call.runtime.launch(stream, _labels[func], partial(func, *call.raw, **call.raw_kwargs), call.reads, writes)
    return returned(func, written_to)


def _resized(targets: list[Any], spec: Spec) -> bool:
    """Give other memory to the `out=` arguments that have another size than what is to be written to them."""
    found = False
    for target, one in zip(targets, spec.layouts, strict=False):
        if one is not None and isinstance(target, SimTensor) and target.shape != one.size:
            runtime, index = target._runtime, target._block.index
            block, raw = runtime.allocate(one, index, runtime.current(index))
            target.data = wrap(raw, block, one)
            found = True
    return found


def _random_fill(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Random numbers are drawn by the host when they are asked for, so that they are the same in every schedule."""
    call = Call(func, args, kwargs)
    draw = _draw(func, call)
    stream = backward.stream(call.runtime, call.block.index, args)
    kernel = moves.Drawn(call.raw[0], draw, draw())
    call.runtime.launch(stream, _labels[func], kernel, (), (args[0]._block.memory,))
    return args[0]


def _random_like(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    call = Call(func, args, {name: value for name, value in kwargs.items() if name not in _PLACES})
    draw = _draw(func, call)
    drawn = draw()
    stream = backward.stream(call.runtime, call.block.index, args)
    block, raw = call.runtime.allocate(layout_of(drawn), call.block.index, stream)
    call.runtime.launch(stream, _labels[func], moves.Drawn(raw, draw, drawn), (), (block.memory,))
    return wrap(raw, block)


def _draw(func: Any, call: Call) -> Callable[[], torch.Tensor]:
    return lambda: func(torch.empty_like(call.raw[0]), *call.raw[1:], **call.raw_kwargs)


def _random(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Where the draw depends on data it gets a generator of its own, seeded now."""
    if not any(argument.name == "generator" for argument in func._schema.arguments):
        return _wait(func, args, kwargs)
    if kwargs.get("generator") is None:
        generator = torch.Generator("cpu")
        generator.manual_seed(_seed())
        kwargs = {**kwargs, "generator": generator}
    return _make(func, args, kwargs)


def _seed() -> int:
    return int(torch.randint(2**62, (), device="cpu"))


class _Seeded(Renewed):
    """An operation with a generator of its own: at each replay of a graph one with another seed."""

    def __init__(self, kernel: Callable[..., object], generator: torch.Generator) -> None:
        self._kernel = kernel
        self._generator = generator

    def __call__(self) -> None:
        self._kernel(generator=self._generator)

    def anew(self) -> _Seeded:
        """With another seed."""
        generator = torch.Generator("cpu")
        generator.manual_seed(_seed())
        return _Seeded(self._kernel, generator)


def _wait(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Run it while the host waits."""
    kwargs = {name: value for name, value in kwargs.items() if name not in _PLACES}
    call = Call(func, args, kwargs)
    runtime, index = call.runtime, call.block.index
    written_to, writes = written(func, args, kwargs)
    stream = backward.stream(runtime, index, args)
    results: list[Any] = []
    errors: list[Exception] = []

    def kernel() -> None:
        try:
            results.append(func(*call.raw, **call.raw_kwargs))
        except Exception as error:  # of the call, not of the device
            errors.append(error)

    runtime.run(stream, _labels[func], kernel, call.reads, writes)
    if errors:
        raise errors[0]
    if writes and not any(each.alias_info is None for each in func._schema.returns):
        return returned(func, written_to)
    return _on_device(results[0], runtime, index)


def _on_device(value: Any, runtime: Runtime, index: int) -> Any:
    """What an operation has returned that has already run."""
    if isinstance(value, torch.Tensor):
        block, raw = runtime.allocate(layout_of(value), index, runtime.current(index))
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
    if func.overloadpacket.__name__ in ("resize_", "resize_as_"):
        _make_room(tensor, args[1] if func.overloadpacket.__name__ == "resize_" else args[1].shape)
    with torch._C._DisableTorchDispatch():  # noqa: SLF001
        func(tensor, *on_host(args[1:]), **kwargs)
    raw = tensor._raw.detach()
    func(raw, *on_host(args[1:]), **kwargs)
    tensor._raw, tensor._layout = raw, layout_of(raw)
    if len(args) > 1 and isinstance(args[1], SimTensor):
        tensor._block = args[1]._block
    return tensor


def _make_room(tensor: SimTensor, size: Sequence[int]) -> None:
    """Where its memory is too small for `size`, give it another, with a copy of what it has."""
    items = math.prod(size)
    if tensor.storage_offset() * tensor.itemsize + items * tensor.itemsize <= tensor._block.memory.size:
        return
    runtime, index = tensor._runtime, tensor._block.index
    stream = runtime.current(index)
    block, raw = runtime.allocate(layout((items,), (1,), tensor.dtype), index, stream)
    old = tensor._raw
    new: SimTensor = wrap(raw.as_strided(old.shape, old.stride()), block)
    if old.numel():
        moves.copy(new, tensor, non_blocking=True)
    tensor.data = new


def _way_of(func: Any) -> Way:
    schema, tags = func._schema, func.tags
    if is_composite(func):
        return _decompose
    if func is _aten.copy_.default:
        return _copy
    if func.overloadpacket.__name__ in _RESHAPING:
        return _reshape
    if func.is_view or func in _VIEWS:
        return _view
    if func is _aten.clone.default:
        return _clone
    writes = any(is_written(argument) for argument in schema.arguments)
    if any(each.alias_info is None for each in schema.returns):
        writes = False  # it makes something beside: `_make` looks after both
    if torch.Tag.nondeterministic_seeded in tags:
        if writes:
            return _random_fill if not any("Tensor" in str(each.type) for each in schema.arguments[1:]) else _write
        return _random_like if schema.name.endswith("_like") else _random
    if func is _aten._linalg_check_errors.default:  # noqa: SLF001 - what it raises is the caller's
        return _wait
    if torch.Tag.data_dependent_output in tags:
        return _wait
    return _write if writes else _make


def _out_variant(func: Any) -> tuple[Any, list[str]] | None:
    """The overload that writes its results where it is told to, and the names of those arguments."""
    schema = func._schema
    if func in _THROUGH_ITS_RESULT:
        return None
    if any(str(each.type) != "Tensor" for each in schema.returns) or not _has_kernel(func.name(), _STRUCTURED):
        return None
    wanted = [(each.name, str(each.type)) for each in schema.arguments]
    for name in func.overloadpacket.overloads():
        other = getattr(func.overloadpacket, name)
        out = [each.name for each in other._schema.arguments if each.is_out]
        rest = [(each.name, str(each.type)) for each in other._schema.arguments if not each.is_out]
        if len(out) == len(schema.returns) and rest == wanted:
            return other, out
    return None


class _Labels(dict[Any, str]):
    """The names of operators."""

    def __missing__(self, func: Any) -> str:
        name: str = func.overloadpacket.__name__
        self[func] = name
        return name


_labels = _Labels()
_ways: dict[Any, Way] = {}
_out: dict[Any, Any] = {}
SimTensor.__torch_dispatch__ = classmethod(run)
