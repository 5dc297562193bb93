"""`torch.nn` and `torch.optim` on the simulated device give what they give on the CPU."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from cpugpu.simulate import simulate


@pytest.fixture(autouse=True)
def simulation() -> Iterator[Any]:
    with simulate(seed=1) as runtime:
        torch.manual_seed(0)
        yield runtime


def close(device: torch.Tensor | None, host: torch.Tensor | None) -> None:
    if host is None or device is None:
        assert device is host
        return
    assert device.is_cuda
    torch.testing.assert_close(device.detach().cpu(), host.detach(), rtol=1e-6, atol=1e-6)


MODULES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(4, 3), (2, 4)),
    "conv2d": (lambda: nn.Conv2d(3, 4, 3, padding=1), (2, 3, 6, 6)),
    "conv1d": (lambda: nn.Conv1d(3, 4, 3), (2, 3, 6)),
    "conv_transpose": (lambda: nn.ConvTranspose2d(3, 4, 2, 2), (2, 3, 4, 4)),
    "batch_norm": (lambda: nn.BatchNorm2d(3), (2, 3, 4, 4)),
    "batch_norm in evaluation": (lambda: nn.BatchNorm2d(3).eval(), (2, 3, 4, 4)),
    "group_norm": (lambda: nn.GroupNorm(2, 4), (2, 4, 4)),
    "layer_norm": (lambda: nn.LayerNorm(4), (2, 4)),
    "instance_norm": (lambda: nn.InstanceNorm1d(3), (2, 3, 4)),
    "rms_norm": (lambda: nn.RMSNorm(4), (2, 4)),
    "pools": (lambda: nn.Sequential(nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1)), (2, 3, 6, 6)),
    "upsample": (lambda: nn.Upsample(scale_factor=2, mode="bilinear"), (1, 2, 3, 3)),
    "lstm": (lambda: nn.LSTM(4, 5, 2, batch_first=True, bidirectional=True), (2, 3, 4)),
    "gru": (lambda: nn.GRU(4, 5), (2, 3, 4)),
    "rnn": (lambda: nn.RNN(4, 5), (2, 3, 4)),
    "transformer layer": (lambda: nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True), (2, 3, 8)),
    "transformer layer in evaluation": (
        lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval(), (2, 3, 8)),
    "mixed": (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.GELU(), nn.Flatten(), nn.Linear(16, 2)),
              (2, 3, 4, 4)),
}  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_modules(name: str) -> None:
    make, size = MODULES[name]
    host = make()
    device = copy.deepcopy(host).cuda()
    values = torch.randn(size)
    for module, place in ((host, "cpu"), (device, "cuda")):
        result = module(values.to(place).requires_grad_())
        result = result[0] if isinstance(result, tuple) else result
        if place == "cpu":
            expected = result
        else:
            close(result, expected)
            assert result.stride() == expected.stride()
        result.square().sum().backward()
    for one, other in zip(device.parameters(), host.parameters(), strict=True):
        close(one.grad, other.grad)
    for one, other in zip(device.buffers(), host.buffers(), strict=True):
        close(one, other)


def test_channels_last() -> None:
    host = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2))
    device = copy.deepcopy(host).cuda()
    values = torch.randn(2, 3, 8, 8).to(memory_format=torch.channels_last)
    expected, got = host(values), device(values.cuda())
    assert got.stride() == expected.stride()
    close(got, expected)


LOSSES: list[Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = [
    nn.functional.cross_entropy,
    lambda x, y: nn.functional.cross_entropy(x, y, label_smoothing=0.1, ignore_index=1),
    lambda x, y: nn.functional.mse_loss(x.sum(1), y.float()),
    lambda x, y: nn.functional.binary_cross_entropy_with_logits(x[:, 0], (y > 1).float()),
    lambda x, y: nn.functional.kl_div(x.log_softmax(1), nn.functional.one_hot(y, 4).float(), reduction="batchmean"),
]


@pytest.mark.parametrize("loss", LOSSES)
def test_an_embedding_and_a_loss(loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
    host = nn.Embedding(10, 4)
    device = copy.deepcopy(host).cuda()
    words, classes = torch.randint(0, 10, (6,)), torch.randint(0, 4, (6,))
    expected, got = loss(host(words), classes), loss(device(words.cuda()), classes.cuda())
    expected.backward()
    got.backward()
    close(got, expected)
    close(device.weight.grad, host.weight.grad)


OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, 0.1),
    "adam, fused": lambda p: torch.optim.Adam(p, 0.1, fused=True),
    "adamw, foreach": lambda p: torch.optim.AdamW(p, 0.1, foreach=True),
    "adamw, one by one": lambda p: torch.optim.AdamW(p, 0.1, foreach=False),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 0.1),
    "adagrad": lambda p: torch.optim.Adagrad(p, 0.1),
    "nadam": lambda p: torch.optim.NAdam(p, 0.1),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name: str) -> None:
    host = nn.Linear(4, 3)
    device = copy.deepcopy(host).cuda()
    values = torch.randn(5, 4)
    for module, place in ((host, "cpu"), (device, "cuda")):
        optimizer = OPTIMIZERS[name](module.parameters())
        for _ in range(3):
            optimizer.zero_grad()
            module(values.to(place)).square().mean().backward()
            nn.utils.clip_grad_norm_(module.parameters(), 0.5)
            optimizer.step()
            optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    torch.testing.assert_close(device.weight.detach().cpu(), host.weight.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing_draws_the_same_dropout(reentrant: bool) -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)).cuda()
    grads = []
    for run in (module, lambda x: checkpoint(module, x, use_reentrant=reentrant)):
        torch.manual_seed(3)
        values = torch.ones(2, 4, device="cuda", requires_grad=True)
        run(values).sum().backward()
        grads.append(values.grad.cpu())
    assert torch.equal(*grads)


def test_autocast_and_the_gradient_scaler() -> None:
    module = nn.Linear(4, 4).cuda()
    before = module.weight.detach().clone()
    values = torch.ones(2, 4, device="cuda")
    optimizer, scaler = torch.optim.SGD(module.parameters(), 0.1), torch.amp.GradScaler("cuda", init_scale=8.0)
    with torch.autocast("cuda", dtype=torch.bfloat16):
        assert torch.is_autocast_enabled("cuda")
        assert module(values).dtype == torch.bfloat16
        with torch.autocast("cuda", enabled=False):
            assert module(values).dtype == torch.float32
    assert module(values).dtype == torch.float32
    with torch.autocast("cuda"):
        result = module(values)
    assert result.dtype == torch.float16
    scaler.scale(result.sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    assert not torch.equal(module.weight.detach(), before)


def test_transforms_and_second_derivatives() -> None:
    values = torch.tensor([1.0, 2.0, 3.0], device="cuda")
    close(torch.func.grad(lambda x: (x**3).sum())(values), torch.tensor([3.0, 12.0, 27.0]))
    close(torch.func.vmap(lambda x: x * 2)(values), torch.tensor([2.0, 4.0, 6.0]))
    values.requires_grad_()
    (first,) = torch.autograd.grad((values**3).sum(), values, create_graph=True)
    first.sum().backward()
    close(values.grad, torch.tensor([6.0, 12.0, 18.0]))


def test_a_module_moves_there_and_back() -> None:
    module = nn.Linear(2, 2)
    weight = module.weight
    module.cuda().half()
    assert module.weight is weight
    assert weight.is_cuda
    assert weight.dtype == torch.half
    assert not module.cpu().weight.is_cuda
