"""`with simulate():` puts a simulated CUDA in place of torch's, and takes it out again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from cpugpu import settings
from cpugpu.device import in_use, using
from cpugpu.device.simulated import SimulatedDevice, Simulator, heavy_tail
from cpugpu.device.simulated.realtime import Latency
from cpugpu.errors import SimulationError
from cpugpu.simulate import session
from cpugpu.simulate.explored import ExploredPinned, ExploredTensor, TorchState
from cpugpu.simulate.patching import Patches
from cpugpu.simulate.runtime import Runtime


@contextmanager
def simulate(
    devices: int = 1,
    *,
    seed: int | None = None,
    latency: Latency = heavy_tail,
    pool: int | None = 32,
) -> Iterator[Runtime]:
    """Within the block `torch.cuda` has `devices` simulated devices, for the whole process."""
    if not isinstance(devices, int) or devices < 1:
        raise ValueError(f"devices={devices!r}: a simulated machine has at least 1 device")
    if session.current() is not None:
        raise SimulationError("simulate() was entered while a simulation is on; one at a time, in the whole process")
    device: Any = in_use()
    simulator: Simulator | None = getattr(device, "simulator", None)  # of the rig under which this runs
    if simulator is None:
        chosen = seed if seed is not None else settings.seed() or 0
        simulator = Simulator(devices, seed=chosen, latency=latency, pool=pool)
    runtime = Runtime(simulator)
    if runtime.scheduled:
        runtime.tensor_class, runtime.pinned_class = ExploredTensor, ExploredPinned
        runtime.driver.keep(TorchState())
    patches = Patches()
    with ExitStack() as stack:
        if simulator is not getattr(device, "simulator", None):
            stack.enter_context(using(SimulatedDevice(simulator)))
        stack.callback(session.put, None)
        session.put(runtime)
        stack.callback(patches.undo)
        patches.apply()
        try:
            yield runtime
        finally:
            runtime.end()
