"""Unmodified PyTorch on the simulated GPU.

    with cpugpu.simulate():
        x = torch.ones(4, device="cuda")        # on any machine

Inside the block `torch.cuda` is there, with the streams, events and memory of the simulated device: operations are
queued on the current stream and run when it gets there, so that a missing wait really reads stale memory.
"""

import sys
from types import ModuleType
from typing import Any

from cpugpu.errors import NotSimulated, SimulationError, SimulationOver
from cpugpu.simulate.block import simulate
from cpugpu.simulate.kernels import StandIn

__all__ = ["NotSimulated", "SimulationError", "SimulationOver", "StandIn", "simulate"]


class _Callable(ModuleType):
    """`from cpugpu import simulate` gives this package or the function, whichever came first: both can be called."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        return simulate(*args, **options)


sys.modules[__name__].__class__ = _Callable
