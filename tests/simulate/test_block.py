"""What `simulate()` puts into torch's place, and that it takes all of it out again."""

from __future__ import annotations

import ctypes
import inspect
import logging
import os
import threading
from typing import Any

import pytest

import cpugpu
from tests.threads import in_thread

torch = pytest.importorskip("torch")
simulating = pytest.importorskip("cpugpu.simulate")

from cpugpu.device import capture  # noqa: E402
from cpugpu.errors import SimulationError, SimulationOver  # noqa: E402
from cpugpu.simulate import StandIn, patching, session, simulate  # noqa: E402
from cpugpu.simulate.patching import patches  # noqa: E402
from cpugpu.simulate.runtime import Runtime  # noqa: E402


def names() -> dict[str, Any]:
    """Everything that a simulation could have changed: all of torch's modules and classes that it touches, whole."""
    with simulate() as runtime:
        owners = {id(owner): owner for owner, _, _ in patches(runtime)}
    found = {}
    for owner in owners.values():
        for name, value in vars(owner).items():
            if not name.startswith("__") or name == "__init__":
                found[f"{owner.__name__}.{name}"] = value
    return found


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return sorted(name for name in before.keys() | after.keys() if before.get(name) is not after.get(name))


@pytest.fixture(scope="module")
def untouched() -> dict[str, Any]:
    names()  # torch loads parts of itself when they are used first
    return names()


def test_within_the_block_torch_is_another(untouched: dict[str, Any]) -> None:
    with simulate() as runtime:
        table = list(patches(runtime))
    before = {f"{owner.__name__}.{name}": vars(owner).get(name) for owner, name, _ in table}
    with simulate():
        during = {f"{owner.__name__}.{name}": vars(owner).get(name) for owner, name, _ in table}
    assert {"torch.cuda.Stream", "torch.cuda.is_available", "torch.zeros", "Tensor.to"} <= set(
        differences(before, during)
    )


def test_afterwards_torch_is_as_it_was(untouched: dict[str, Any]) -> None:
    with simulate():
        torch.zeros(3, device="cuda").sum().item()
    assert differences(untouched, names()) == []


def test_also_after_an_exception(untouched: dict[str, Any]) -> None:
    with pytest.raises(KeyError), simulate():
        raise KeyError
    assert differences(untouched, names()) == []


def test_also_with_threads_that_live_on(untouched: dict[str, Any]) -> None:
    go_on, refused = threading.Event(), []

    def body() -> None:
        x = torch.zeros(3, device="cuda")
        started.set()
        go_on.wait()
        try:
            x + 1
        except SimulationOver as error:
            refused.append(error)

    started = threading.Event()
    with simulate():
        thread = threading.Thread(target=body)
        thread.start()
        started.wait()
    assert differences(untouched, names()) == []
    go_on.set()
    thread.join()
    assert len(refused) == 1


def test_a_patch_that_fails_leaves_nothing(untouched: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(runtime: Runtime) -> Any:
        yield from patches(runtime)
        yield object, "__hash__", None  # which nobody can set

    monkeypatch.setattr(patching, "patches", broken)
    with pytest.raises(TypeError, match="cannot set '__hash__'"), simulate():
        pass
    monkeypatch.undo()
    assert session.current() is None
    assert differences(untouched, names()) == []


def test_a_thread_that_lived_before_is_in_it_too() -> None:
    go, seen = threading.Event(), []

    def body() -> None:
        go.wait()
        seen.append(torch.ones(2, device="cuda").sum().item())

    with in_thread(body) as thread, simulate():
        go.set()
        thread.join()
    assert seen == [2.0]


# -- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("devices", [0, -1, 1.5, "2", True])
def test_devices(devices: Any) -> None:
    with (
        pytest.raises(ValueError, match=f"devices={devices!r}: a simulated machine has at least 1 device"),
        simulate(devices),
    ):
        pass
    assert session.current() is None


def test_twice() -> None:
    with simulate():
        with pytest.raises(SimulationError, match="while a simulation is on"), simulate():
            pass
        assert torch.ones(1, device="cuda").item() == 1
    assert session.current() is None


def test_an_index_beyond_the_devices() -> None:
    with simulate(devices=2), pytest.raises(RuntimeError, match=r"invalid device ordinal: cuda:2 .* has 2"):
        torch.zeros(1, device="cuda:2")


@pytest.mark.parametrize(
    "use",
    [
        lambda x: x + 1,
        lambda x: x.item(),
        lambda x: x.cpu(),
        lambda x: x.view(-1),
        lambda x: x.fill_(0),
        repr,
        lambda x: torch.ones(2).copy_(x),
    ],
)
def test_a_tensor_that_outlives_the_block(use: Any) -> None:
    with simulate():
        x = torch.ones(2, device="cuda")
    with pytest.raises(SimulationOver, match="its simulate\\(\\) block has ended"):
        use(x)


@pytest.mark.parametrize("use", ["query", "synchronize", "record_event"])
def test_a_stream_that_outlives_the_block(use: str) -> None:
    with simulate():
        stream = torch.cuda.Stream()
    with pytest.raises(SimulationError):
        getattr(stream, use)()
    with simulate(), pytest.raises(SimulationError, match="has ended"):
        getattr(stream, use)()


def test_a_real_gpu_is_told_of(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    with caplog.at_level(logging.WARNING, "cpugpu"), simulate():
        assert torch.cuda.device_count() == 1
    assert "this machine has 3 real GPUs" in caplog.text


def test_a_function_taken_out_of_torch_before() -> None:
    zeros = torch.zeros
    with simulate(), pytest.raises(cpugpu.simulate.NotSimulated, match="taken out of torch before"):
        zeros(1, device="cuda")
    if not torch.cuda.is_available():
        with pytest.raises((AssertionError, RuntimeError), match=r"not compiled with CUDA|no NVIDIA driver"):
            zeros(1, device="cuda")


# -- forks -------------------------------------------------------------------------------------------------------------


def in_child(body: Any) -> str:
    """What `body` returns, or raises, in a forked child."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            text = str(body())
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
        os.write(writer, text.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        text = file.read()
    os.waitpid(pid, 0)
    return text


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@needs_fork
@pytest.mark.parametrize("use", ["x + 1", "x.item()", "torch.zeros(1, device='cuda')", "torch.cuda.synchronize()"])
def test_a_forked_child_is_refused_as_cuda_refuses_it(use: str) -> None:
    with simulate():
        x = torch.ones(1, device="cuda")
        said = in_child(lambda: eval(use, {"torch": torch, "x": x}))
    assert said.startswith("RuntimeError: Cannot re-initialize CUDA in forked subprocess")


@needs_fork
def test_a_forked_child_that_does_not_touch_the_device_goes_on() -> None:
    with simulate():
        torch.ones(1, device="cuda")
        assert in_child(lambda: (torch.ones(3) * 2).sum().item()) == "6.0"
        assert torch.ones(1, device="cuda").item() == 1


# -- what cannot be simulated ------------------------------------------------------------------------------------------


def scaled(x: Any, out: Any, factor: float) -> None:
    """What a wrapper around a kernel looks like."""
    ctypes.CDLL("libcudart.so.12")


def test_a_kernel_by_ctypes_names_the_way_out() -> None:
    with simulate():
        x = torch.ones(2, device="cuda")
        with pytest.raises(cpugpu.simulate.NotSimulated, match=r"libcudart.so.12 .*kernels=\{function: StandIn"):
            scaled(x, x, 2.0)


def test_its_stand_in_runs_on_the_stream() -> None:
    def stand_in(x: Any, out: Any, factor: float) -> None:
        out.copy_(x * factor)

    held = threading.Event()
    with simulate(kernels={scaled: StandIn(stand_in, reads=["x"], writes=["out"])}) as runtime:
        x, out = torch.ones(2, device="cuda"), torch.zeros(2, device="cuda")
        stream = torch.cuda.Stream()
        torch.cuda.synchronize()
        runtime.launch(stream.state, "gate", held.wait)
        with torch.cuda.stream(stream):
            scaled(x, out, 3.0)
        assert out.tolist() == [0, 0], "it has not run yet"
        held.set()
        stream.synchronize()
        assert out.tolist() == [3, 3]
    assert inspect.signature(scaled).parameters.keys() == {"x", "out", "factor"}


def test_a_stand_in_with_a_wrong_name() -> None:
    with pytest.raises(ValueError, match=r"'y' is no parameter of .*; allowed are x, out, factor"):
        StandIn(scaled, reads=["y"])
    with pytest.raises(TypeError, match=r"is no cpugpu\.simulate\.StandIn"), simulate(kernels={scaled: print}):
        pass


def test_nccl() -> None:
    if not torch.distributed.is_available():
        pytest.skip("this torch has no torch.distributed")
    with simulate(), pytest.raises(cpugpu.simulate.NotSimulated, match="NCCL needs real devices"):
        torch.distributed.init_process_group("nccl", rank=0, world_size=1)


def test_the_debug_mode_asks_no_driver_about_captures() -> None:
    """Its watcher does when it begins, and loading the driver is refused here: it would end at once."""
    capture._driver.cache_clear()
    allowed: list[bool] = []

    def asks() -> None:
        capture.allow_queries_during_capture()
        allowed.append(capture.queries_are_allowed())

    with simulate(), in_thread(asks):
        pass
    assert allowed == [True]
