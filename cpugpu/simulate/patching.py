"""What is put into torch's place while a simulation is on, and how it comes out again.

Every name is in one table, so that a test can compare all of them before and after. They are names of modules and of
the class `torch.Tensor`: they hold for all threads at once, those that run already too, and nothing has to be undone
in a thread. A function that a program has taken out of torch before (`from torch import zeros`) is torch's own: with
`device="cuda"` it comes to `_lazy_init`, which says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.autograd
import torch.cuda
import torch.cuda.graphs
import torch.cuda.streams

from cpugpu.device import accelerator, capture
from cpugpu.patches import Patch
from cpugpu.simulate import backward, devices, factories, graphs, kernels, library, moves, session, streams
from cpugpu.simulate.pinned import pinned
from cpugpu.simulate.runtime import Runtime


def patches(runtime: Runtime) -> Iterator[Patch]:
    """All of them."""
    yield from kernels.patches(runtime.kernels)
    yield accelerator, "capture_id", streams.capture_id  # torch's own asks the real driver
    yield capture, "_driver", devices.no_effect(None)  # and there is none here
    cuda = torch.cuda
    for module in (cuda, cuda.streams):
        yield module, "Stream", streams.CudaStream
        yield module, "Event", streams.CudaEvent
        yield module, "ExternalStream", streams.ExternalStream
    for module in (cuda, cuda.graphs):
        yield module, "CUDAGraph", graphs.CUDAGraph
        yield module, "graph", graphs.graph
        yield module, "graph_pool_handle", graphs.graph_pool_handle
        yield module, "is_current_stream_capturing", graphs.is_current_stream_capturing
    yield torch.accelerator, "Graph", graphs.Graph
    yield torch, "Stream", streams.Stream
    yield torch, "Event", streams.Event
    for name, value in {
        "StreamContext": streams.StreamContext,
        "_lazy_init": devices.lazy_init,
        "_sleep": devices.sleep,
        "can_device_access_peer": devices.no_effect(True),
        "cudart": devices.cudart,
        "current_device": devices.current_device,
        "current_stream": streams.current_stream,
        "default_stream": streams.default_stream,
        "device": devices.Device,
        "device_count": devices.device_count,
        "device_of": devices.DeviceOf,
        "empty_cache": devices.empty_cache,
        "get_device_capability": devices.get_device_capability,
        "get_device_name": devices.get_device_name,
        "get_device_properties": devices.get_device_properties,
        "init": devices.init,
        "ipc_collect": devices.no_effect(),
        "is_available": devices.is_available,
        "is_initialized": devices.is_available,
        "manual_seed": torch.default_generator.manual_seed,
        "manual_seed_all": torch.default_generator.manual_seed,
        "max_memory_allocated": devices.max_memory_allocated,
        "mem_get_info": devices.mem_get_info,
        "memory_allocated": devices.memory_allocated,
        "memory_reserved": devices.memory_reserved,
        "reset_peak_memory_stats": devices.reset_peak_memory_stats,
        "set_device": devices.set_device,
        "set_stream": streams.set_stream,
        "stream": streams.context,
        "synchronize": devices.synchronize,
    }.items():
        yield cuda, name, value
    for name, value in {
        "current_accelerator": devices.current_accelerator,
        "current_device_idx": devices.current_device,
        "current_device_index": devices.current_device,
        "current_stream": streams.current_stream,
        "device_count": devices.device_count,
        "device_index": devices.device_index,
        "empty_cache": devices.empty_cache,
        "is_available": devices.is_available,
        "set_device_idx": devices.set_device,
        "set_device_index": devices.set_device,
        "set_stream": streams.set_stream,
        "synchronize": devices.synchronize,
    }.items():
        yield torch.accelerator, name, value
    for name in factories.NAMES:
        yield torch, name, factories.double(name, getattr(torch, name))
    for name in factories.METHODS:
        yield torch.Tensor, name, factories.double(name, getattr(torch.Tensor, name))
    autograd: Any = torch.autograd
    yield autograd, "_engine_run_backward", backward.double(autograd._engine_run_backward)  # noqa: SLF001
    yield autograd.Function, "apply", backward.apply(autograd.Function.apply)
    autocast: Any = torch.amp.autocast_mode.autocast
    yield autocast, "__enter__", library.enter_autocast(autocast.__enter__)
    yield autocast, "__exit__", library.exit_autocast(autocast.__exit__)
    yield torch.backends.cudnn, "is_acceptable", devices.no_effect(False)
    for module, name in ((torch, "vander"), (torch.linalg, "cond"), (torch.linalg, "matrix_rank")):
        yield module, name, library.where_its_argument_is(getattr(module, name))
    yield torch, "Generator", library.generator(torch.Generator)
    yield torch, "load", library.load(torch.load)
    for module in (cuda, cuda.random):
        for name in ("get_rng_state", "get_rng_state_all", "set_rng_state", "set_rng_state_all"):
            yield module, name, getattr(library, name)
    yield torch.Tensor, "to", moves.to
    yield torch.Tensor, "type_as", moves.type_as
    yield torch.Tensor, "cuda", moves.cuda
    yield torch.Tensor, "pin_memory", _pin_memory
    # A module's parameters stay the objects that they are when it moves to a device: the tensors change places.
    yield torch.__future__, "get_swap_module_params_on_conversion", devices.no_effect(True)


def _pin_memory(self: torch.Tensor, device: Any = None) -> torch.Tensor:  # noqa: ARG001
    return pinned(self.detach().clone(), session.runtime()) if not self.requires_grad else _pin_with_grad(self)


def _pin_with_grad(tensor: torch.Tensor) -> torch.Tensor:
    return pinned(tensor.detach().clone(), session.runtime()).requires_grad_()
