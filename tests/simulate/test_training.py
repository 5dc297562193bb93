"""A small transformer block, trained on the simulated device: one stream fetches, and one copies back."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cpugpu.simulate import simulate

STEPS, BATCH, LENGTH, WIDTH = 20, 4, 6, 16


def block() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.TransformerEncoderLayer(WIDTH, 2, 32, dropout=0.0, batch_first=True),
        nn.LayerNorm(WIDTH),
        nn.Linear(WIDTH, 1),
    )


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    draw = torch.Generator().manual_seed(1)
    return [(torch.randn(BATCH, LENGTH, WIDTH, generator=draw), torch.randn(BATCH, LENGTH, 1, generator=draw))] * 2 + [
        (torch.randn(BATCH, LENGTH, WIDTH, generator=draw), torch.randn(BATCH, LENGTH, 1, generator=draw))
        for _ in range(STEPS - 2)
    ]


def on_the_cpu() -> list[float]:
    model, losses = block(), []
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    for values, targets in batches():
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(values), targets)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def on_the_device(*, waits: bool = True) -> list[float]:
    """The same, with three streams. Without `waits` they do not wait for one another."""
    model = block().cuda()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    compute, fetch, back = torch.cuda.current_stream(), torch.cuda.Stream(), torch.cuda.Stream()
    pinned = [(values.pin_memory(), targets.pin_memory()) for values, targets in batches()]
    losses = torch.zeros(STEPS).pin_memory()

    def fetched(step: int) -> tuple[torch.Tensor, ...]:
        with torch.cuda.stream(fetch):
            return tuple(each.to("cuda", non_blocking=True) for each in pinned[step])

    following = fetched(0)
    for step in range(STEPS):
        if waits:
            compute.wait_stream(fetch)
        values, targets = following
        for each in following:
            each.record_stream(compute)
        if step + 1 < STEPS:
            following = fetched(step + 1)
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(values), targets)
        loss.backward()
        optimizer.step()
        if waits:
            back.wait_stream(compute)
        with torch.cuda.stream(back):
            losses[step].copy_(loss.detach(), non_blocking=True)
        loss.record_stream(back)
    if waits:
        back.synchronize()
    return losses.tolist()


@pytest.mark.parametrize("seed", range(3))
def test_losses_are_bit_equal_to_those_of_the_cpu(seed: int) -> None:
    with simulate(seed=seed):
        losses = on_the_device()
    assert losses == on_the_cpu()


def test_without_the_waits_they_are_not() -> None:
    expected = on_the_cpu()
    for seed in range(10):
        with simulate(seed=seed):
            if on_the_device(waits=False) != expected:
                return
    pytest.fail("no seed out of 10 has shown that the streams do not wait")
