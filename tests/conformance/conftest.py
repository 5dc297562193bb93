from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from cpugpu.device.simulated import no_latency
from tests.conformance.gpus import CudaGpu, SimulatedGpu, TorchOnSimulatedGpu, accelerator_missing


@pytest.fixture(params=["sim", "torch on sim", "accelerator"])
def gpu(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Each test runs on the simulated device, on torch's API over it, and on the real one."""
    if request.param == "sim":
        yield SimulatedGpu()
        return
    if request.param == "torch on sim":
        pytest.importorskip("torch")
        from cpugpu.simulate import simulate

        with simulate(devices=2, latency=no_latency) as runtime:
            yield TorchOnSimulatedGpu(runtime)
        return
    missing = accelerator_missing()
    if missing:
        pytest.skip(missing)
    device = CudaGpu()
    yield device
    device.torch.cuda.synchronize()
