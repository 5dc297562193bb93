from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conformance.gpus import CudaGpu, SimulatedGpu, accelerator_missing


@pytest.fixture(params=["sim", "accelerator"])
def gpu(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Each test runs on the simulated device and on the real one."""
    if request.param == "sim":
        yield SimulatedGpu()
        return
    missing = accelerator_missing()
    if missing:
        pytest.skip(missing)
    device = CudaGpu()
    yield device
    device.torch.cuda.synchronize()
