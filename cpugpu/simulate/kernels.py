"""Kernels that no simulation can run, and the stand-ins that a user gives for them.

A Triton kernel, a function that calls into a CUDA library by ctypes, an operator with an implementation for CUDA only:
their code is for a device that is not there. `simulate(kernels={kernel: StandIn(...)})` says what they do in terms of
torch on the host, and which of their arguments they read and write.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from cpugpu.errors import NotSimulated
from cpugpu.simulate import session
from cpugpu.simulate.tensor import SimTensor

#: Libraries of the device's: what they do on it cannot be seen.
_LIBRARIES = ("libcuda.", "libcudart.", "libnccl.", "libcublas", "libcudnn", "libcufft", "libnvshmem")


@dataclass(frozen=True)
class StandIn:
    """What runs in a kernel's place, when the stream gets there.

    `function` is called with the kernel's arguments; those that are tensors on the simulated device come as tensors of
    the host which show the same memory. `reads` and `writes` name the parameters of `function` that the kernel reads
    and writes. It returns nothing.
    """

    function: Callable[..., object]
    reads: Sequence[str] = ()
    writes: Sequence[str] = ()

    def __post_init__(self) -> None:
        known = inspect.signature(self.function).parameters
        for name in (*self.reads, *self.writes):
            if name not in known:
                raise ValueError(
                    f"{name!r} is no parameter of {_name(self.function)}; allowed are {', '.join(known) or 'none'}"
                )


Kernels = Mapping[Any, StandIn]


def check(kernels: Kernels | None) -> dict[Any, StandIn]:
    """`TypeError` for what is no stand-in."""
    for kernel, stand_in in (kernels or {}).items():
        if not isinstance(stand_in, StandIn):
            raise TypeError(f"kernels[{_name(kernel)}]={stand_in!r} is no cpugpu.simulate.StandIn")
    return dict(kernels or {})


def launch(kernel: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Enqueue the stand-in of `kernel` on the current stream. `NotSimulated` where there is none."""
    runtime = session.runtime()
    stand_in = runtime.kernels.get(kernel)
    if stand_in is None:
        raise not_simulated(f"the kernel {_name(kernel)}", kernel)
    bound = inspect.signature(stand_in.function).bind(*args, **kwargs)
    bound.apply_defaults()
    tensors = {name: value for name, value in bound.arguments.items() if isinstance(value, SimTensor)}
    for name in (*stand_in.reads, *stand_in.writes):
        if name not in tensors:
            raise TypeError(
                f"{_name(kernel)}: {name!r} is no tensor on a simulated device, and its stand-in says it is"
            )
    index = next(iter(tensors.values()))._block.index if tensors else runtime.simulator.current_index
    bound.arguments.update({name: value._raw for name, value in tensors.items()})
    runtime.step(_name(kernel))
    runtime.launch(
        runtime.current(index),
        _name(kernel),
        partial(stand_in.function, *bound.args, **bound.kwargs),
        [tensors[name]._block.memory for name in stand_in.reads],
        [tensors[name]._block.memory for name in stand_in.writes],
    )


def not_simulated(what: str, kernel: Any) -> NotSimulated:
    """Says what was launched, and what to do about it."""
    name = _name(kernel).rpartition(".")[2]
    return NotSimulated(
        f"{what} needs a real device. Give it a stand-in: cpugpu.simulate(kernels={{{name}: StandIn(function,"
        " reads=[...], writes=[...])}), where function does the same to tensors of the host"
    )


def patches(kernels: Mapping[Any, StandIn]) -> Iterator[tuple[Any, str, Any]]:
    """What has to be put in place so that launches come here."""
    yield ctypes.CDLL, "__init__", _load(ctypes.CDLL.__init__)
    if torch.distributed.is_available():
        for name in ("init_process_group", "new_group"):
            yield torch.distributed, name, _process_group(getattr(torch.distributed, name))
    if "triton" in sys.modules or importlib.util.find_spec("triton") is not None:
        from triton.runtime.jit import JITFunction

        yield JITFunction, "run", _run_triton
    for kernel in kernels:
        if inspect.isfunction(kernel):
            yield *_place_of(kernel), _launches(kernel)


def _place_of(function: Any) -> tuple[Any, str]:
    """Where a function is found by who calls it."""
    owner: Any = sys.modules.get(function.__module__)
    *path, name = function.__qualname__.split(".")
    for part in path:
        owner = getattr(owner, part, None)
    if getattr(owner, name, None) is not function:
        raise ValueError(
            f"kernels: {function.__module__}.{function.__qualname__} is not found under its name, so it cannot be"
            " replaced; allowed are functions of modules and classes, Triton kernels, and operators of torch.ops"
        )
    return owner, name


def _launches(kernel: Callable[..., Any]) -> Callable[..., None]:
    @functools.wraps(kernel)
    def launches(*args: Any, **kwargs: Any) -> None:
        launch(kernel, args, kwargs)

    return launches


def _run_triton(self: Any, *args: Any, grid: Any = None, warmup: bool = False, **kwargs: Any) -> None:  # noqa: ARG001
    """`triton.JITFunction.run`: the launch. Options of the compiler are nothing to a stand-in."""
    options = ("num_warps", "num_stages", "num_ctas", "maxnreg", "debug", "enable_fp_fusion")
    launch(self, args, {name: value for name, value in kwargs.items() if name not in options})


def _load(original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def load(self: Any, name: Any, *args: Any, **kwargs: Any) -> None:
        base = str(name).rpartition("/")[2]
        if base.startswith(_LIBRARIES):
            raise NotSimulated(
                f"{base} was loaded by ctypes: what it does on a device cannot be simulated. Give the function that"
                " calls it a stand-in: cpugpu.simulate(kernels={function: StandIn(...)})"
            )
        original(self, name, *args, **kwargs)

    return load


def _process_group(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def make(*args: Any, **kwargs: Any) -> Any:
        backend = kwargs.get("backend") or next((each for each in args if isinstance(each, str)), "")
        if "nccl" in backend:
            raise NotSimulated(
                f"a process group with backend {backend!r}: NCCL needs real devices. Use 'gloo', with copies to the"
                " host, or replace the function that communicates by a stand-in"
            )
        return original(*args, **kwargs)

    return make


def _name(kernel: Any) -> str:
    found = getattr(kernel, "__qualname__", None) or getattr(kernel, "__name__", None)
    return str(found or kernel)
