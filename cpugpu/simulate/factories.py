"""Functions that make tensors: with `device="cuda"` they make them on a simulated device.

The host makes the values, at once and with its own generator, so they are those of a plain CPU run; what is enqueued is
their copy to the device. A tensor whose contents nobody asked for (`empty`) is memory of the allocator as it is.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import _get_current_function_mode_stack
from torch.utils._device import DeviceContext

from cpugpu.errors import NotSimulated
from cpugpu.simulate import moves, session
from cpugpu.simulate.memory import layout_of
from cpugpu.simulate.pinned import pinned
from cpugpu.simulate.tensor import SimTensor, wrap

#: Functions of `torch` that take a device.
NAMES = (
    "arange", "as_tensor", "asarray", "bartlett_window", "blackman_window", "empty", "empty_like", "empty_permuted",
    "empty_strided", "eye", "full", "full_like", "hamming_window", "hann_window", "kaiser_window", "linspace",
    "logspace", "ones", "ones_like", "rand", "rand_like", "randint", "randint_like", "randn", "randn_like", "randperm",
    "range", "scalar_tensor", "sparse_coo_tensor", "sparse_csr_tensor", "tensor", "tril_indices", "triu_indices",
    "zeros", "zeros_like",
)  # fmt: skip
#: Methods of tensors that take one.
METHODS = ("new_empty", "new_empty_strided", "new_full", "new_ones", "new_tensor", "new_zeros")
#: Copy what the host has, and wait until that is done.
_FROM_HOST = ("as_tensor", "asarray", "new_tensor", "tensor")
_EMPTY = ("empty", "empty_like", "empty_permuted", "empty_strided", "new_empty", "new_empty_strided")


def double(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    """What takes the place of one of these."""

    @functools.wraps(original)
    def make(*args: Any, **kwargs: Any) -> Any:
        device = kwargs.get("device")
        if device is None:
            device = _default_device(name, args)
            if device is None and not kwargs.get("pin_memory"):
                return original(*args, **kwargs)
        return _make(name, original, device, args, kwargs)

    return make


def _default_device(name: str, args: tuple[Any, ...]) -> Any:
    """Where it goes without a `device`: for what is like a tensor, where that is; else torch's default device."""
    if name.startswith("new_") or name.endswith("_like"):
        return args[0].device if args and isinstance(args[0], SimTensor) else None
    if name in ("as_tensor", "asarray", "tensor") and args and isinstance(args[0], SimTensor):
        return args[0].device
    for mode in reversed(_get_current_function_mode_stack()):
        if isinstance(mode, DeviceContext):
            return mode.device if mode.device.type == "cuda" else None
    return None


def _make(name: str, original: Callable[..., Any], device: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    wants_grad = kwargs.pop("requires_grad", False) if name != "asarray" else False
    pin = kwargs.pop("pin_memory", False)
    kwargs.pop("device", None)
    place = moves.device_for(device) if device is not None else torch.device("cpu")
    if place.type == "cuda" and pin:
        raise RuntimeError("Only dense CPU tensors can be pinned")
    runtime = session.runtime()
    source: Any = args[1] if name == "new_tensor" else args[0] if args else None
    if name in ("as_tensor", "asarray", "tensor", "new_tensor") and isinstance(source, SimTensor):
        made = source.to(place, kwargs.get("dtype"), copy=name in ("tensor", "new_tensor"))
        return made.detach().requires_grad_(wants_grad) if name in ("tensor", "new_tensor") else made
    if name.endswith("_like") or name.startswith("new_"):
        args = (_shape_of(args[0]), *args[1:])
    if place.type != "cuda":
        made = original(*args, device=place, **kwargs)
        return (pinned(made, runtime) if pin else made).requires_grad_(wants_grad)
    if name in _EMPTY:
        like = original(*args, device="meta", **kwargs)
        runtime.step("allocate")
        block, raw = runtime.allocate(layout_of(like), place.index, runtime.current(place.index))
        made = wrap(raw, block)
    else:
        if name in _FROM_HOST:
            runtime.check_wait(runtime.current(place.index))
        draw = functools.partial(original, *args, device="cpu", **kwargs)
        values = draw()
        if values.layout is not torch.strided:
            raise NotSimulated(f"torch.{name} on cuda: sparse tensors are not simulated")
        made = moves.filled(values, place.index, draw if name.startswith("rand") else None)
    return made.requires_grad_() if wants_grad else made


def _shape_of(tensor: Any) -> Any:
    """A tensor of the host with the layout of `tensor`."""
    return tensor._raw.detach() if isinstance(tensor, SimTensor) else tensor.detach()
