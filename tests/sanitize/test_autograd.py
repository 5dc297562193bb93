"""Backward passes over several streams: the engine's own waits are edges, what the program leaves out is none."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from cpugpu.sanitize import watching  # noqa: E402
from cpugpu.sanitize.intercept import simulated  # noqa: E402
from cpugpu.simulate import simulate  # noqa: E402


def over_two_streams(*, join: bool = True, steps: int = 3) -> None:
    """A layer on each of two streams, ordered by `wait_stream` in the forward pass; a step of SGD after each pass."""
    one, two = (torch.nn.Linear(8, 8, device="cuda") for _ in range(2))
    optimizer = torch.optim.SGD([*one.parameters(), *two.parameters()], lr=0.1)
    side, main = torch.cuda.Stream(), torch.cuda.current_stream()
    for _ in range(steps):
        hidden = one(torch.randn(4, 8, device="cuda"))
        side.wait_stream(main)
        hidden.record_stream(side)
        with torch.cuda.stream(side):
            result = two(hidden).relu()
        if join:
            main.wait_stream(side)
        result.record_stream(main)
        loss = result.square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
        side.wait_stream(main)
        gc.collect()


def a_leaf_on_two_streams() -> None:
    """Both streams use the same weight: its gradient comes together from both."""
    weight = torch.randn(8, 8, device="cuda", requires_grad=True)
    side, main = torch.cuda.Stream(), torch.cuda.current_stream()
    side.wait_stream(main)
    with torch.cuda.stream(side):
        on_side = (torch.randn(4, 8, device="cuda") @ weight).sum()
    here = (torch.randn(4, 8, device="cuda") @ weight).sum()
    main.wait_stream(side)
    on_side.record_stream(main)
    (here + on_side).backward()
    assert weight.grad is not None
    weight.grad.sum().item()


def a_gradient_for_the_other_stream() -> None:
    """Main makes a gradient that only the side stream reads, and goes on with its own branch, which takes memory."""
    x = torch.randn(4, 8, device="cuda", requires_grad=True)
    side, main = torch.cuda.Stream(), torch.cuda.current_stream()
    own = x.sin().cos().exp()
    side.wait_stream(main)
    with torch.cuda.stream(side):
        other = x.sigmoid()
    main.wait_stream(side)
    other.record_stream(main)
    (own + other.exp()).sum().backward()


def rules_of(program: Callable[..., None], seed: int, **options: Any) -> set[str]:
    with simulate(seed=seed):
        return rules_here(program, **options)


def rules_here(program: Callable[..., None], **options: Any) -> set[str]:
    with watching() as session:
        program(**options)
    return {finding.rule for finding in session.model.findings}


PROGRAMS = [over_two_streams, a_leaf_on_two_streams, a_gradient_for_the_other_stream]


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("seed", range(5))
def test_a_backward_pass_orders_the_streams_of_its_nodes(program: Callable[..., None], seed: int) -> None:
    assert rules_of(program, seed) == set()


def test_what_the_forward_pass_leaves_out_is_a_race() -> None:
    assert "race" in rules_of(over_two_streams, 0, join=False)


@pytest.mark.parametrize(
    ("missing", "program", "rule"),
    [("_wait", over_two_streams, "race"), ("_use_on", a_gradient_for_the_other_stream, "foreign-use")],
)
def test_neither_of_the_engines_two_deeds_can_be_left_out(
    monkeypatch: pytest.MonkeyPatch, missing: str, program: Callable[..., None], rule: str
) -> None:
    monkeypatch.setattr(simulated, missing, lambda watch, original: original)
    assert rule in rules_of(program, 0)
