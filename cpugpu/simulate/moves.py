"""Between host and device, and between devices: what is copied when, and who waits.

torch's rules (aten/src/ATen/native/cuda/Copy.cu): a copy is enqueued on the current stream. Without `non_blocking` the
host then waits for that stream. With it, memory of the host that is pinned is read or written *when the stream gets
there*; memory that is not pinned is read at once (the driver stages it) and written while the host waits. A copy
between devices runs on the source's current stream, and the target's current stream takes part: nothing of it that came
before the copy runs later than it, and nothing that comes after runs earlier.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from cpugpu.device.simulated.graph import Renewed
from cpugpu.errors import NotSimulated, SimulationError
from cpugpu.simulate import session
from cpugpu.simulate.memory import UNTOUCHED, Layout, layout, layout_of
from cpugpu.simulate.pinned import PinnedTensor, pinned
from cpugpu.simulate.tensor import SimTensor, wrap

_HOST = torch.device("cpu")
_to: Any = torch._C.TensorBase.to  # noqa: SLF001 - torch's own, whatever has been put into its place


def device_of(device: Any) -> torch.device:
    """`device` as torch takes it, with its number. `None`: the current CUDA device."""
    found = torch.device("cuda", device) if isinstance(device, int) else torch.device(device or "cuda")
    if found.type != "cuda":
        return found
    simulator = session.runtime().simulator
    if found.index is None:
        return torch.device("cuda", simulator.current_index)  # type: ignore[unreachable]
    if found.index >= simulator.device_count:
        raise RuntimeError(
            f"CUDA error: invalid device ordinal: {found} was asked for, and the simulation has"
            f" {simulator.device_count}, from cuda:0 (simulate(devices=...))"
        )
    return found


def device_for(device: Any) -> torch.device:
    """The same, for something new: a tensor, a stream."""
    return device_of(device)


def cuda(
    tensor: torch.Tensor,
    device: Any = None,
    non_blocking: bool = False,
    memory_format: Any = torch.preserve_format,
) -> torch.Tensor:
    """`Tensor.cuda`, for any tensor."""
    named = torch.device("cuda", device) if isinstance(device, int) else torch.device(device or "cuda")
    return to(tensor, named, non_blocking=non_blocking, memory_format=memory_format)


def to(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """`Tensor.to`, for any tensor."""
    copy = kwargs.pop("copy", False)
    if args and isinstance(args[0], torch.Tensor):
        like, args = args[0], args[1:]
        args = (like.device, like.dtype, *args)
    device, dtype, non_blocking, memory_format = torch._C._nn._parse_to(*args, **kwargs)  # noqa: SLF001
    device = tensor.device if device is None else device
    if tensor.is_cuda and not isinstance(tensor, SimTensor):
        raise SimulationError(
            f"this tensor is on the real {tensor.device}, and a simulation is on: the two are never mixed; make it"
            " within the simulate() block"
        )
    if device.type == "cuda" and device_of(device) != tensor.device:
        device = device_for(device)
    device = device_of(device)
    if device == tensor.device or "cuda" not in (device.type, tensor.device.type):
        options: dict[str, Any] = {} if memory_format is None else {"memory_format": memory_format}
        if device != tensor.device:
            options["device"] = device
        same: torch.Tensor = _to(tensor, dtype=dtype or tensor.dtype, non_blocking=non_blocking, copy=copy, **options)
        return same
    if device.type not in ("cpu", "cuda"):
        raise NotSimulated(
            f"a copy from {tensor.device} to {device}: only the CPU and simulated CUDA devices take part"
        )
    move = partial(
        _move, device=device, dtype=dtype or tensor.dtype, non_blocking=non_blocking, memory_format=memory_format
    )
    if tensor.requires_grad and torch.is_grad_enabled():
        return _Move.apply(tensor, move)  # type: ignore[no-any-return, no-untyped-call]
    return move(tensor)


def type_as(tensor: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """`Tensor.type_as`, for any tensor."""
    return to(tensor, other.device, other.dtype)


class _Move(torch.autograd.Function):
    """A copy that gradients go back through."""

    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor, move: Any) -> torch.Tensor:
        """There."""
        ctx.source = (tensor.device, tensor.dtype)
        moved: torch.Tensor = move(tensor)
        return moved

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[torch.Tensor, None]:
        """And back."""
        device, dtype = ctx.source
        return grads[0].to(device, dtype), None


def _move(
    tensor: Any, device: torch.device, dtype: torch.dtype, *, non_blocking: bool, memory_format: Any
) -> torch.Tensor:
    if not isinstance(tensor, SimTensor):
        return to_device(tensor, device.index, dtype, non_blocking=non_blocking, memory_format=memory_format)
    if device == _HOST:
        return to_host(tensor, dtype, non_blocking=non_blocking, memory_format=memory_format)
    runtime = tensor._runtime
    stream = runtime.current(device.index)
    block, raw = runtime.allocate(_layout(tensor, dtype, memory_format), device.index, stream)
    target: SimTensor = wrap(raw, block)
    copy(target, tensor, non_blocking=non_blocking)
    return target


def to_device(
    host: torch.Tensor,
    index: int,
    dtype: torch.dtype | None = None,
    *,
    non_blocking: bool = False,
    memory_format: Any = None,
) -> torch.Tensor:
    """A copy of `host` on a device."""
    runtime = session.runtime()
    stream = runtime.current(index)
    runtime.step("copy to device")
    block, raw = runtime.allocate(_layout(host, dtype or host.dtype, memory_format), index, stream)
    target: torch.Tensor = wrap(raw, block)
    copy(target, host, non_blocking=non_blocking)
    return target


def filled(values: torch.Tensor, index: int, draw: Callable[[], torch.Tensor] | None = None) -> Any:
    """A tensor on a device that a kernel fills with `values`, which nobody else has; `draw` would make others."""
    runtime = session.runtime()
    stream = runtime.current(index)
    runtime.step("fill")
    block, raw = runtime.allocate(layout_of(values), index, stream)
    kernel = partial(raw.copy_, values) if draw is None else Drawn(raw, draw, values)
    runtime.launch(stream, "fill", kernel, (), (block.memory,))
    return wrap(raw, block)


class Drawn(Renewed):
    """Fill memory with random numbers. The host draws them: at each replay of a graph new ones."""

    def __init__(self, target: torch.Tensor, draw: Callable[[], torch.Tensor], values: torch.Tensor) -> None:
        self._target = target
        self._draw = draw
        self._values = values

    def __call__(self) -> None:
        """Now."""
        self._target.copy_(self._values)

    def anew(self) -> Drawn:
        """With other numbers."""
        return Drawn(self._target, self._draw, self._draw())


def to_host(
    tensor: SimTensor, dtype: torch.dtype | None = None, *, non_blocking: bool, memory_format: Any = None
) -> torch.Tensor:
    """A copy on the host. With `non_blocking` it is pinned, and filled only when the stream has come so far."""
    runtime = tensor._runtime
    runtime.check()
    runtime.step("copy to host")
    size, stride, kind = _layout(tensor, dtype or tensor.dtype, memory_format).parts
    host = torch.empty_strided(size, stride, dtype=kind, device="cpu")
    if non_blocking:
        storage: Any = host.untyped_storage()
        storage.fill_(UNTOUCHED)  # who looks too early must see the same each time
        host = pinned(host, runtime)
    copy(host, tensor, non_blocking=non_blocking)
    return host


def copy(target: torch.Tensor, source: torch.Tensor, *, non_blocking: bool) -> None:
    """`target.copy_(source)`, one of which at least is on a device."""
    if isinstance(target, SimTensor):
        if not isinstance(source, SimTensor):
            _from_host(target, source, non_blocking=non_blocking)
        elif target._block.index == source._block.index:
            runtime = target._runtime
            stream = backward.stream(runtime, target._block.index, (target, source))
            moved = runtime.launch(
                stream,
                "copy",
                partial(target._raw.copy_, source._raw),
                (source._block.memory,),
                (target._block.memory,),
            )
            backward.made(moved, (target._block.memory,), runtime)
        else:
            _between(target, source)
    else:
        assert isinstance(source, SimTensor)
        source._runtime.check()
        _from_device(target, source, non_blocking=non_blocking)


def _from_host(target: SimTensor, source: torch.Tensor, *, non_blocking: bool) -> None:
    runtime = target._runtime
    stream = runtime.current(target._block.index)
    reads: tuple[object, ...] = ()
    if isinstance(source, PinnedTensor):
        reads, source = (source._memory,), source._raw
    elif non_blocking:
        if stream.capture is not None:
            raise RuntimeError(
                "Cannot copy between CPU and CUDA tensors during CUDA graph capture unless the CPU tensor is pinned."
                " Please use tensor.pin_memory() or allocate the tensor with pin_memory=True."
            )
        source = source.detach().clone()  # the driver has staged it when the call returns
    kernel = partial(target._raw.copy_, source.detach())
    if non_blocking:
        runtime.launch(stream, "copy to device", kernel, reads, (target._block.memory,))
    else:
        runtime.run(stream, "copy to device", kernel, reads, (target._block.memory,))


def _from_device(target: torch.Tensor, source: SimTensor, *, non_blocking: bool) -> None:
    runtime = source._runtime
    stream = runtime.current(source._block.index)
    if isinstance(target, PinnedTensor):
        kernel = partial(_fill, target._raw, source._raw)
        if non_blocking:
            runtime.launch(stream, "copy to host", kernel, (source._block.memory,), (target._memory,))
        else:
            runtime.run(stream, "copy to host", kernel, (source._block.memory,), (target._memory,))
    else:
        kernel = partial(_fill, target.detach(), source._raw)
        runtime.run(stream, "copy to host", kernel, (source._block.memory,))


def _fill(host: torch.Tensor, values: torch.Tensor) -> None:
    """What was made in inference mode can be written to in that mode only, which is a thread's own."""
    if host.is_inference():
        with torch.inference_mode():
            host.copy_(values)
    else:
        host.copy_(values)


def _between(target: SimTensor, source: SimTensor) -> None:
    runtime = source._runtime
    here, there = runtime.current(source._block.index), runtime.current(target._block.index)
    with runtime.driver as machine:
        driver = runtime.driver
        before = machine.enqueue(there, "copy begins")
        driver.started(before)
        driver.started(machine.enqueue(here, "copy begins", after=before))
        moved = machine.enqueue(
            here,
            "copy",
            (partial(target._raw.copy_, source._raw),),
            reads=(source._block.memory,),
            writes=(target._block.memory,),
        )
        driver.started(moved)
        driver.started(machine.enqueue(there, "copy ends", after=moved))


def _layout(tensor: torch.Tensor, dtype: torch.dtype, memory_format: Any) -> Layout:
    if isinstance(tensor, SimTensor | PinnedTensor):
        tensor = tensor._raw
    if memory_format in (None, torch.preserve_format) and tensor.is_contiguous():
        return layout(tensor.shape, tensor.stride(), dtype)
    like = torch.empty_like(tensor, device="meta", memory_format=memory_format or torch.preserve_format)
    return layout(like.shape, like.stride(), dtype)


from cpugpu.simulate import backward  # noqa: E402 - it needs the tensors, which need this
