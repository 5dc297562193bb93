"""In inference mode operators come as a whole that are made of others elsewhere: what they do is seen all the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from cpugpu.sanitize import Model, watching  # noqa: E402
from cpugpu.sanitize.intercept.backend import Backend  # noqa: E402
from cpugpu.sanitize.intercept.real import Mode  # noqa: E402
from cpugpu.sanitize.intercept.watch import Watch  # noqa: E402
from cpugpu.simulate import simulate  # noqa: E402


def reshapes(waits: bool) -> None:
    """The view is written to on another stream than its base."""
    x, side = torch.zeros(2, 3, device="cuda"), torch.cuda.Stream()
    if waits:
        side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        x.reshape(-1).add_(1)


def multiplies(waits: bool) -> None:
    """`linear` reads its weight on another stream."""
    weight, side = torch.ones(4, 4, device="cuda"), torch.cuda.Stream()
    weight.add_(1)
    if waits:
        side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        torch.nn.functional.linear(torch.ones(2, 4, device="cuda"), weight)


def brings_home(waits: bool) -> None:
    """The host looks at the copy before it is done."""
    copy = torch.ones(4, device="cuda").to("cpu", non_blocking=True)
    if waits:
        torch.cuda.synchronize()
    copy.tolist()


PROGRAMS = [(reshapes, "race"), (multiplies, "race"), (brings_home, "host-read-early")]


@pytest.mark.parametrize(("program", "rule"), PROGRAMS)
@pytest.mark.parametrize("waits", [True, False])
def test_on_the_simulated_device(program: Callable[[bool], None], rule: str, waits: bool) -> None:
    with simulate(), watching() as session, torch.inference_mode():
        program(waits)
    assert {finding.rule for finding in session.model.findings} == (set() if waits else {rule})


class Told(Watch):
    """Keeps the names of the operators."""

    def __init__(self) -> None:
        super().__init__(Model(), Backend("cuda", torch.cuda))
        self.names: list[str] = []

    def operation(self, func: Any, *_: Any) -> None:
        self.names.append(func.overloadpacket.__name__)


@pytest.mark.parametrize("inference", [True, False])
def test_a_real_devices_mode_sees_what_an_operator_comes_down_to(inference: bool) -> None:
    x, told = torch.ones(2, 4), Told()
    with torch.inference_mode(inference), Mode(told):
        torch.nn.functional.linear(x, x)
        x.t().reshape(-1)
        x.to(torch.float64)
        x.sum().item()
    assert {"mm", "clone", "_to_copy", "_local_scalar_dense"} <= set(told.names)
    assert not {"linear", "reshape", "to", "item"} & set(told.names)
