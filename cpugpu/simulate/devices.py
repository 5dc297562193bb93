"""The functions of `torch.cuda` and `torch.accelerator` that are about devices: which, how many, how much memory."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch

from cpugpu.errors import NotSimulated
from cpugpu.simulate import session, streams
from cpugpu.simulate.moves import device_of

#: `torch.cuda._sleep` counts clock cycles; so many are a second.
CYCLES_PER_SECOND = 1.5e9
NAME = "cpugpu simulated device"


def is_available() -> bool:
    """Yes."""
    return True


def init() -> None:
    """There is nothing to do."""
    session.runtime()


def lazy_init() -> None:
    """Where torch comes when it is about to start CUDA: past the simulation."""
    raise NotSimulated(
        "torch was about to start the real CUDA while a simulation is on. Either this function of torch.cuda is not"
        " simulated (the traceback names it), or it was taken out of torch before simulate() began: call it as"
        " torch.zeros(...), or import it within the block"
    )


def device_count() -> int:
    """How many devices are simulated. A forked child may ask, as CUDA's may."""
    runtime = session.current()
    return (runtime if runtime is not None and runtime.forked else session.runtime()).simulator.device_count


def current_device() -> int:
    """The calling thread's."""
    return session.runtime().simulator.current_index


def set_device(device: Any) -> None:
    """Make it the calling thread's."""
    index = device if isinstance(device, int) else device_of(device).index
    if index >= 0:
        session.runtime().simulator.set_current_index(device_of(index).index)


def current_accelerator(check_available: bool = False) -> torch.device:  # noqa: ARG001
    """The kind of device."""
    return torch.device("cuda")


class Device:
    """`torch.cuda.device(...)`: makes a device the calling thread's current one."""

    def __init__(self, device: Any) -> None:
        self.idx = -1 if device is None else device_of(device).index
        self.prev_idx = -1

    def __enter__(self) -> Device:
        if self.idx >= 0:
            self.prev_idx = current_device()
            set_device(self.idx)
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self.idx >= 0:
            set_device(self.prev_idx)


class DeviceOf(Device):
    """`torch.cuda.device_of(tensor)`."""

    def __init__(self, tensor: Any) -> None:
        super().__init__(tensor.device if tensor.is_cuda else None)


def synchronize(device: Any = None) -> None:
    """Block until everything that was submitted to a device so far is done."""
    session.runtime().simulator.synchronize(device_of(device).index)


def get_device_properties(device: Any = None) -> Any:
    """What a program may ask about a device. The figures of an H100, except for the memory."""
    runtime = session.runtime()
    index = device_of(device).index
    return SimpleNamespace(
        name=NAME,
        major=9,
        minor=0,
        total_memory=runtime.allocators[index].total,
        multi_processor_count=132,
        warp_size=32,
        max_threads_per_multi_processor=2048,
        regs_per_multiprocessor=65536,
        shared_memory_per_block=49152,
        is_integrated=False,
        is_multi_gpu_board=False,
        gcnArchName="",
        L2_cache_size=50 << 20,
        uuid=f"cpugpu-sim-{index}",
    )


def get_device_name(device: Any = None) -> str:
    """Says what it is."""
    device_of(device)
    return NAME


def get_device_capability(device: Any = None) -> tuple[int, int]:
    """An H100's."""
    device_of(device)
    return 9, 0


def mem_get_info(device: Any = None) -> tuple[int, int]:
    """Bytes that are free, and bytes in all."""
    allocator = session.runtime().allocators[device_of(device).index]
    return allocator.total - allocator.statistics()[1], allocator.total


def memory_allocated(device: Any = None) -> int:
    """Bytes that tensors have."""
    return session.runtime().allocators[device_of(device).index].statistics()[0]


def memory_reserved(device: Any = None) -> int:
    """Bytes that the allocator has."""
    return session.runtime().allocators[device_of(device).index].statistics()[1]


def max_memory_allocated(device: Any = None) -> int:
    """The most bytes that tensors ever had."""
    return session.runtime().allocators[device_of(device).index].statistics()[2]


def reset_peak_memory_stats(device: Any = None) -> None:
    """From now on `max_memory_allocated` counts anew."""
    allocator = session.runtime().allocators[device_of(device).index]
    allocator.peak = allocator.allocated


def empty_cache() -> None:
    """Forget the memory that no tensor has."""
    for allocator in session.runtime().allocators:
        allocator.empty()


def sleep(cycles: int) -> None:
    """Keep the current stream busy for so many cycles."""
    runtime = session.runtime()
    runtime.step("sleep")
    stream = runtime.current(runtime.simulator.current_index)
    seconds = cycles / CYCLES_PER_SECOND
    # The explorer decides what takes long. (Its own `time.sleep` would let the stream rest until somebody has moved.)
    runtime.launch(stream, "sleep", no_effect() if runtime.scheduled else lambda: time.sleep(seconds))


def cudart() -> Any:
    """Those functions of the runtime that torch offers."""
    return _CudaRuntime()


class _CudaRuntime:
    """`torch.cuda.cudart()`. What is not here is not simulated."""

    class cudaError:  # noqa: N801 - its name
        """The errors that programs compare with."""

        success = 0

    def cudaStreamCreate(self, address: int) -> int:  # noqa: N802
        """A blocking stream, whose handle goes to `address`."""
        runtime = session.runtime()
        stream = streams.make_blocking(runtime.simulator.current_index)
        runtime.keep(stream)
        ctypes.c_void_p.from_address(address).value = streams.handle(stream.state)
        return 0

    def cudaStreamDestroy(self, number: int) -> int:  # noqa: ARG002, N802
        """Legal while work is pending: that is still done."""
        return 0

    def cudaMemGetInfo(self, device: int) -> tuple[int, int]:  # noqa: N802
        """Bytes that are free, and bytes in all."""
        return mem_get_info(device)

    def cudaGetErrorString(self, code: int) -> str:  # noqa: N802
        """What a code means."""
        return "no error" if code == 0 else f"unknown error {code}"


@contextmanager
def device_index(index: int | None) -> Iterator[None]:
    """`torch.accelerator.device_index`."""
    with Device(index):
        yield


def no_effect(value: Any = None) -> Callable[..., Any]:
    """A function that does nothing."""

    def nothing(*args: Any, **kwargs: Any) -> Any:  # noqa: ARG001
        return value

    return nothing
