"""`torch.inference_mode()`: whatever is made in it can be worked on by streams, in and out of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from cpugpu.simulate import simulate  # noqa: E402


def elementwise(device: str) -> Any:
    x = torch.arange(6.0, device=device).reshape(2, 3)
    y = (x + 1).mul_(2).sin_()
    y[0] = 3
    y[:, 1].add_(x[:, 1])
    return torch.cat([y.t().contiguous().flatten(), x.sum(0), (x > 2).float().flatten()])


def indices(device: str) -> Any:
    cache, slots = torch.zeros(8, 4, device=device), torch.tensor([5, 1, 3], device=device)
    cache.index_copy_(0, slots, torch.ones(3, 4, device=device) * 2)
    cache[slots] += torch.arange(3.0, device=device).unsqueeze(1)
    cache.index_put_((slots[:1],), torch.full((1, 4), 9.0, device=device))
    return cache[cache > 1.0].sort().values + torch.nonzero(cache).sum()


def module(device: str) -> Any:
    torch.manual_seed(0)
    block = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).to(device).eval()
    return block(torch.linspace(-1, 1, 32).reshape(1, 4, 8).to(device))


def recurrent(device: str) -> Any:
    torch.manual_seed(0)
    return torch.nn.LSTM(4, 8).to(device)(torch.linspace(-1, 1, 24).reshape(3, 2, 4).to(device))[0]


def outputs(device: str) -> Any:
    x, result = torch.linspace(0, 1, 12, device=device).reshape(3, 4), torch.empty(3, 3, device=device)
    torch.mm(x, x.t(), out=result)
    values, places = result.topk(2)
    return values.softmax(-1) + places.argmax(-1, keepdim=True)


def pinned(device: str) -> Any:
    host = torch.zeros(4, pin_memory=device == "cuda")
    host.copy_(torch.arange(4.0, device=device), non_blocking=True)
    if device == "cuda":
        torch.cuda.synchronize()
    host.add_(1)
    return host.to(device, non_blocking=True) * 2


PROGRAMS = [elementwise, indices, module, recurrent, outputs, pinned]


@pytest.mark.parametrize("program", PROGRAMS)
def test_as_on_the_cpu(program: Callable[[str], Any]) -> None:
    with torch.inference_mode():
        expected = program("cpu")
        with simulate():
            found = program("cuda").cpu()
    torch.testing.assert_close(found, expected)


def test_what_is_made_outside_is_used_inside_and_the_other_way_round() -> None:
    with simulate():
        cache = torch.zeros(4, device="cuda")
        weight = torch.nn.Parameter(torch.ones(4, device="cuda"))
        with torch.inference_mode():
            cache.add_(weight)
            made = cache * 2
        assert (made + cache).tolist() == [3.0] * 4
        (weight * cache).sum().backward()
        assert weight.grad is not None
        assert weight.grad.tolist() == [1.0] * 4


def test_a_graph() -> None:
    with simulate(), torch.inference_mode():
        static = torch.zeros(4, device="cuda")
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            result = static * 2
        static.copy_(torch.arange(4.0))
        graph.replay()
        assert result.tolist() == [0, 2, 4, 6]


def test_a_view_of_pinned_memory_is_pinned_and_a_copy_is_not() -> None:
    with simulate(), torch.inference_mode():
        host = torch.zeros(2, 3).pin_memory()
        assert host.reshape(6).is_pinned()
        assert not host.t().contiguous().is_pinned()
