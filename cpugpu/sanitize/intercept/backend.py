"""Which of torch's modules the device has: `torch.cuda` (CUDA, ROCm, the simulated device) or `torch.xpu`."""

from __future__ import annotations

import operator
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch

from cpugpu.simulate import session as simulation
from cpugpu.simulate.streams import handle as handle_of

#: How a stream of each tells the pointer that C++ has.
_HANDLES = {"cuda": "cuda_stream", "xpu": "sycl_queue"}
#: And an event; the last one is `torch.Event`'s.
_POINTERS = ("cuda_event", "sycl_event", "event_id")


class Backend:
    """`name`: the type of its devices; `several`: there is more than one; `is_on`: is a tensor on one?"""

    def __init__(self, name: str, module: ModuleType | Any) -> None:
        self.name = name
        self.module = module
        self.is_on: Callable[[torch.Tensor], bool] = operator.attrgetter(f"is_{name}")
        #: Gives the handle of the calling thread's current stream of a device without making an object of it.
        self.raw: Callable[[int], int] | None = None
        self.simulated = simulation.current() is not None
        self.several = module.device_count() > 1
        if not self.simulated:
            self.raw = getattr(torch._C, f"_{name}_getCurrentRawStream", None)  # noqa: SLF001 - inductor uses it too

    def device(self, index: int) -> str:
        """The name of a device."""
        return f"{self.name}:{index}"

    def current_device(self) -> int:
        """The calling thread's. The device's driver is initialised if it was not."""
        return int(self.module.current_device())

    def has_begun(self) -> bool:
        """Was the driver initialised? Before, every thread is on the first device."""
        return bool(self.module.is_initialized())

    def handle(self, stream: Any) -> int:
        """What stands for a stream: the pointer that C++ has. 0 for a legacy default stream."""
        if hasattr(stream, "state"):  # a simulated one
            return handle_of(stream.state)
        name = _HANDLES[self.name]
        if not hasattr(stream, name):  # a `torch.Stream`
            stream = self.module.Stream(
                stream_id=stream.stream_id, device_index=stream.device_index, device_type=stream.device_type
            )
        return int(getattr(stream, name))

    def pointer(self, event: Any) -> int:
        """What C++ has of an event. 0 before its first record, which makes it; 1 for a simulated one's."""
        if hasattr(event, "_state"):
            return int(event._state.captured is not None)  # noqa: SLF001
        return next((int(getattr(event, name)) for name in _POINTERS if hasattr(event, name)), 0)


def backend() -> Backend:
    """The one that a program here uses."""
    if simulation.current() is None and not torch.cuda.is_available() and torch.xpu.is_available():
        return Backend("xpu", torch.xpu)
    return Backend("cuda", torch.cuda)
