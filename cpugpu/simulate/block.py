"""`with simulate():` puts a simulated CUDA in place of torch's, and takes it out again."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from cpugpu import settings
from cpugpu.device import in_use, using
from cpugpu.device.simulated import SimulatedDevice, Simulator, heavy_tail
from cpugpu.device.simulated.realtime import Latency
from cpugpu.device.simulated.simulator import POOL
from cpugpu.errors import SimulationError
from cpugpu.patches import Patches
from cpugpu.simulate import patching, session
from cpugpu.simulate.explored import ExploredPinned, ExploredTensor, TorchState
from cpugpu.simulate.kernels import Kernels, check
from cpugpu.simulate.runtime import Runtime

_log = logging.getLogger("cpugpu")


@contextmanager
def simulate(
    devices: int = 1,
    *,
    seed: int | None = None,
    latency: Latency = heavy_tail,
    pool: int | None = POOL,
    kernels: Kernels | None = None,
) -> Iterator[Runtime]:
    """Within the block, `torch.cuda` is a simulated machine with `devices` devices, in all threads of the process.

    An operation is queued on the calling thread's current stream, and runs on the CPU when that stream gets there, each
    time late by what `latency` draws from `seed` (None: `CPUGPU_SEED`, else 0). Streams are those of torch: after
    `pool` of them the first comes again (None: never). `kernels` has stand-ins for what only a real device can run.
    Under a rig of cpugpu (`explore`, `hammer`) it is the rig's devices that are used, and the schedule decides.

    What it guarantees: the order of operations is one that CUDA allows, and memory is reused as torch's allocator
    reuses it. What it does not: that other orders do not exist (that is what seeds and `explore` are for), and that
    speed, rounding or memory limits are a real device's. A real GPU in this machine is not touched.

    `ValueError` and `TypeError` for bad arguments; `SimulationError` inside another such block. At the end it waits for
    the devices, and torch is as it was before. What is left then cannot be used any more (`SimulationOver`).
    """
    if not isinstance(devices, int) or isinstance(devices, bool) or devices < 1:
        raise ValueError(f"devices={devices!r}: a simulated machine has at least 1 device")
    if session.current() is not None:
        raise SimulationError("simulate() was entered while a simulation is on; one at a time, in the whole process")
    stand_ins = check(kernels)
    rig: Any = in_use()
    simulator: Simulator | None = getattr(rig, "simulator", None)
    with ExitStack() as stack:
        if simulator is None:
            chosen = seed if seed is not None else settings.seed() or 0
            simulator = Simulator(devices, seed=chosen, latency=latency, pool=pool)
            stack.enter_context(using(SimulatedDevice(simulator)))
        elif devices > simulator.device_count:
            raise SimulationError(f"devices={devices}: under this runner a simulation has {simulator.device_count}")
        else:
            simulator.pool_size = pool
        runtime = Runtime(simulator, stand_ins)
        if runtime.scheduled:
            runtime.tensor_class, runtime.pinned_class = ExploredTensor, ExploredPinned
            runtime.driver.keep(TorchState())
        elif torch.cuda.is_available():
            _log.warning(
                "simulate(): this machine has %d real GPUs; until the block ends torch.cuda is the simulated device,"
                " and the real ones are not used",
                torch.cuda.device_count(),
            )
        patches = Patches()
        stack.callback(session.put, None)
        session.put(runtime)
        stack.callback(patches.undo)
        patches.apply(patching.patches(runtime))
        stack.callback(runtime.end)
        yield runtime
