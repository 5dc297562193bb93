"""A real device: torch's engine is C++, whose events are known by hooks; `torch.Event` is watched as well."""

from __future__ import annotations

import queue
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from cpugpu import CpuGpuEvent  # noqa: E402
from cpugpu.sanitize.intercept import hooks  # noqa: E402
from tests.sanitize.test_autograd import PROGRAMS, over_two_streams, rules_here  # noqa: E402
from tests.sanitize.test_inference_mode import PROGRAMS as IN_INFERENCE_MODE  # noqa: E402
from tests.threads import in_thread  # noqa: E402

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch.cuda.is_available() is False: no GPU here")


@pytest.mark.filterwarnings("ignore:The AccumulateGrad node's stream does not match:UserWarning")
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_backward_pass_orders_the_streams_of_its_nodes(program: Callable[..., None]) -> None:
    assert rules_here(program) == set()


def test_what_the_forward_pass_leaves_out_is_a_race() -> None:
    assert "race" in rules_here(over_two_streams, join=False)


def test_the_hooks_are_what_orders_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks.Hooks, "_waits", lambda *_: None)
    assert "race" in rules_here(over_two_streams)


class Doubled(torch.autograd.Function):
    """A `Function` of the program's own, which goes to a stream of its own in both passes."""

    @staticmethod
    def forward(ctx: Any, x: Any, side: Any) -> Any:
        ctx.side = side
        return Doubled.on(side, x)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return Doubled.on(ctx.side, grad), None

    @staticmethod
    def on(side: Any, x: Any) -> Any:
        here = torch.cuda.current_stream()
        side.wait_stream(here)
        x.record_stream(side)
        with torch.cuda.stream(side):
            result = x * 2
        here.wait_stream(side)
        result.record_stream(here)
        return result


def test_a_function_of_the_programs_own() -> None:
    def program() -> None:
        x = torch.randn(4, 8, device="cuda", requires_grad=True)
        Doubled.apply(x.sin(), torch.cuda.Stream()).exp().sum().backward()
        assert x.grad is not None
        x.grad.tolist()

    assert rules_here(program) == set()


@pytest.mark.parametrize("waits", [True, False])
def test_a_generic_event_between_threads(waits: bool) -> None:
    slot: queue.Queue[Any] = queue.Queue()

    def produce() -> None:
        side, done = torch.Stream(device="cuda"), torch.Event("cuda")
        with side:
            x = torch.full((1 << 20,), 1.0, device="cuda")
            done.record(side)
        slot.put((x, done))

    def program() -> None:
        with in_thread(produce):
            x, done = slot.get()
            if waits:
                torch.accelerator.current_stream().wait_event(done)
            (x + 1).tolist()

    assert rules_here(program) == (set() if waits else {"race"})


def test_our_own_event() -> None:
    def produce(ready: CpuGpuEvent, slot: list[Any]) -> None:
        side = torch.cuda.Stream()
        with torch.cuda.stream(side):
            slot.append(torch.full((1 << 20,), 1.0, device="cuda"))
            ready.record(side)

    def program() -> None:
        ready, slot = CpuGpuEvent(), list[Any]()  # its locks are made while it is watched
        with in_thread(lambda: produce(ready, slot)):
            ready.wait()
            (slot[0] + 1).tolist()

    assert rules_here(program) == set()


@pytest.mark.parametrize(("program", "rule"), IN_INFERENCE_MODE)
@pytest.mark.parametrize("waits", [True, False])
def test_in_inference_mode(program: Callable[[bool], None], rule: str, waits: bool) -> None:
    with torch.inference_mode():
        assert rules_here(program, waits=waits) == (set() if waits else {rule})
