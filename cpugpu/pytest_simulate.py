"""Tests on the simulated device: the fixture and the marker `simulated_cuda`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

MARKER = (
    "simulated_cuda(devices=1, seed=..., ...): run this test with the simulated device in the place of torch.cuda;"
    " the arguments are those of cpugpu.simulate"
)


@pytest.fixture
def simulated_cuda(request: pytest.FixtureRequest) -> Iterator[Any]:
    """`torch.cuda` is the simulated device while this test runs, with what its marker `simulated_cuda` says."""
    from cpugpu.simulate import simulate

    marker = request.node.get_closest_marker("simulated_cuda")
    if marker is not None and marker.args:
        raise pytest.UsageError("the marker simulated_cuda takes keyword arguments: those of cpugpu.simulate")
    with simulate(**(marker.kwargs if marker is not None else {})) as runtime:
        yield runtime


def use_fixture(items: list[pytest.Item]) -> None:
    """A test that has the marker gets the fixture first of all."""
    for item in items:
        names = getattr(item, "fixturenames", None)
        if names is not None and "simulated_cuda" not in names and item.get_closest_marker("simulated_cuda"):
            names.insert(0, "simulated_cuda")
