"""What the program meets whose effects on memory cannot be seen, so that the report names it.

Kernels that are no operators of torch's, streams that a library keeps to itself, addresses that are given away. Nothing
is said about them and no edge is taken from them, so a race may be missed, or one be reported that such a library
prevents: `annotate_read` and `annotate_write` tell what they do.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch

from cpugpu.patches import Patch
from cpugpu.sanitize.intercept.imports import Table
from cpugpu.sanitize.intercept.watch import Watch
from cpugpu.simulate import session

_TELL = "tell what it does by cpugpu.sanitize.annotate_read/annotate_write(tensor, stream=)"
_COLLECTIVES = (
    *("all_gather", "all_gather_coalesced", "all_gather_into_tensor", "all_gather_single"),
    *("all_reduce", "all_reduce_coalesced", "all_to_all", "all_to_all_single", "broadcast", "gather", "irecv", "isend"),
    *("recv", "reduce", "reduce_scatter", "reduce_scatter_single", "reduce_scatter_tensor", "scatter", "send"),
)
#: Who asks for an address from here does so for something that is seen, or named, itself.
_INSIDE = ("torch", "triton", "cpugpu")


def patches(watch: Watch) -> Iterator[Patch]:
    """What is there as soon as torch is."""
    yield type(torch.ops), "load_library", _load_library(watch, type(torch.ops).load_library)
    tensor: Any = torch.Tensor
    yield tensor, "data_ptr", _address(watch, tensor.data_ptr, "data_ptr()")
    yield tensor, "__dlpack__", _address(watch, tensor.__dlpack__, "__dlpack__()")
    interface = tensor.__cuda_array_interface__.fget
    yield tensor, "__cuda_array_interface__", property(_address(watch, interface, "__cuda_array_interface__"))
    if session.current() is None:
        yield torch, "compile", _compile(watch, torch.compile)
    if torch.distributed.is_available():
        for module in (torch.distributed, torch.distributed.distributed_c10d):
            for name in _COLLECTIVES:
                if hasattr(module, name):
                    yield module, name, _collective(watch, getattr(module, name))


def later(watch: Watch) -> Table:
    """What comes with a module of its own."""
    return {
        "triton.runtime.jit": functools.partial(_triton, watch),
        "torch._inductor.runtime.triton_heuristics": functools.partial(_inductor, watch),
        "torch.utils.cpp_extension": functools.partial(_extensions, watch),
    }


def _met(watch: Watch, what: str) -> None:
    watch.model.blind_spot(f"{what}: {_TELL}")


def _triton(watch: Watch, module: Any) -> Iterable[Patch]:
    kernel = module.JITFunction
    yield kernel, "run", _launch(watch, kernel.run, "launch of the Triton kernel")


def _inductor(watch: Watch, module: Any) -> Iterable[Patch]:
    kernel = module.CachingAutotuner
    yield kernel, "run", _launch(watch, kernel.run, "launch of the torch.compile kernel")


def _launch(watch: Watch, original: Callable[..., Any], what: str) -> Callable[..., Any]:
    @functools.wraps(original)
    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(self, *args, **kwargs)
        if not kwargs.get("warmup"):  # which compiles only
            function = getattr(self, "fn", None)
            _met(watch, f"{what} {getattr(function, '__name__', type(self).__name__)}")
        return result

    return run


def _compile(watch: Watch, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def compile_(*args: Any, **kwargs: Any) -> Any:
        # Dynamo leaves alone what runs under a dispatch mode, and that is how a real device is watched.
        watch.model.blind_spot(
            "torch.compile: its functions run eagerly while watched; nothing is said of compiled ones"
        )
        return original(*args, **kwargs)

    return compile_


def _extensions(watch: Watch, module: Any) -> Iterable[Patch]:
    for name in ("load", "load_inline"):
        yield module, name, _extension(watch, getattr(module, name))


def _extension(watch: Watch, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def load(name: str, *args: Any, **kwargs: Any) -> Any:
        result = original(name, *args, **kwargs)
        _met(watch, f"kernels of the C++/CUDA extension {name}, where they are no operators in torch.ops")
        return result

    return load


def _load_library(watch: Watch, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def load_library(self: Any, path: Any) -> Any:
        result = original(self, path)
        _met(watch, f"kernels of the library {path}, where they are no operators in torch.ops")
        return result

    return load_library


def _collective(watch: Watch, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def collective(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        watch.answered()
        if _has_device_tensor((*args, *kwargs.values())):
            _met(watch, f"torch.distributed.{original.__name__}, on a stream of NCCL's, and what waits for it")
        return result

    return collective


def _has_device_tensor(values: Sequence[Any]) -> bool:
    return any(
        value.is_cuda
        if isinstance(value, torch.Tensor)
        else isinstance(value, list | tuple) and _has_device_tensor(value)
        for value in values
    )


def _address(watch: Watch, original: Callable[..., Any], what: str) -> Callable[..., Any]:
    @functools.wraps(original)
    def address(self: Any, *args: Any, **kwargs: Any) -> Any:
        found = original(self, *args, **kwargs)
        if self.is_cuda and _caller().partition(".")[0] not in _INSIDE:
            _met(watch, f"the address of a CUDA tensor, given to other code by {what}")
        return found

    return address


def _caller() -> str:
    return str(sys._getframe(2).f_globals.get("__name__"))  # noqa: SLF001
