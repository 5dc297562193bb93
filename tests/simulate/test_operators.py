"""Every operator gives on the simulated device what it gives on the CPU: its results, and its gradients."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - as everybody does
from torch.utils._pytree import tree_leaves, tree_map

from cpugpu.device.simulated import no_latency
from cpugpu.simulate import simulate
from tests.simulate.operators import CALLS, name_of, tensors


@pytest.fixture(autouse=True)
def simulation() -> Iterator[Any]:
    with simulate(seed=1, latency=no_latency) as runtime:
        yield runtime


def run(call: str, named: dict[str, torch.Tensor]) -> Any:
    torch.manual_seed(5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, about one operator or another
        return eval(call, {"torch": torch, "F": F}, named)


def with_grad(named: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.requires_grad_(value.is_floating_point()) for name, value in named.items()}


def test_the_table_has_more_than_300_operators() -> None:
    assert len({name_of(call) for call in CALLS}) >= 300


@pytest.mark.parametrize("call", CALLS)
def test_result_is_that_of_the_cpu(call: str) -> None:
    expected = run(call, tensors())
    got = run(call, {name: value.cuda() for name, value in tensors().items()})
    found = [each for each in tree_leaves(got) if isinstance(each, torch.Tensor)]
    assert all(each.is_cuda for each in found)
    host = tree_map(lambda each: each.cpu() if isinstance(each, torch.Tensor) else each, got)
    torch.testing.assert_close(host, expected, rtol=1e-6, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("call", [call for call in CALLS if "_(" not in call])
def test_gradient_is_that_of_the_cpu(call: str) -> None:
    expected, got = gradients(call, with_grad(tensors())), None
    if expected is None:
        return  # it has none
    got = gradients(call, with_grad({name: value.cuda() for name, value in tensors().items()}))
    assert got is not None
    assert all(each is None or each.is_cuda for each in got)
    torch.testing.assert_close(
        [None if each is None else each.cpu() for each in got], expected, rtol=1e-6, atol=1e-6, equal_nan=True
    )


def gradients(call: str, named: dict[str, torch.Tensor]) -> list[torch.Tensor | None] | None:
    try:
        result = run(call, named)
    except RuntimeError:
        return None  # it changes a leaf
    results = [each for each in tree_leaves(result) if isinstance(each, torch.Tensor) and each.requires_grad]
    if not results:
        return None
    leaves = [each for each in named.values() if each.requires_grad]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return list(torch.autograd.grad([each.abs().sum() for each in results], leaves, allow_unused=True))
    except RuntimeError:
        return None  # not implemented


def test_gradients_are_compared_for_most_operators() -> None:
    with_gradient = {name_of(call) for call in CALLS if "_(" not in call and gradients(call, with_grad(tensors()))}
    assert len(with_gradient) >= 180
