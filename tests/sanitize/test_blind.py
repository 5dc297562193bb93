"""What a program meets that cannot be seen is named in the report, with what to do about it."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from cpugpu.sanitize import Session, watching  # noqa: E402
from cpugpu.simulate import simulate  # noqa: E402


@pytest.fixture
def session() -> Iterator[Session]:
    with simulate(), watching() as session:
        yield session


def met(session: Session) -> list[str]:
    """What is said of each, up to the advice, which is the same for all."""
    lines = []
    for spot in session.model.blind_spots:
        what, _, advice = spot.rpartition(": ")
        assert advice == "tell what it does by cpugpu.sanitize.annotate_read/annotate_write(tensor, stream=)"
        assert f"1 × {spot}" in session.text()
        lines.append(what)
    return lines


# -- kernels that are no operators -------------------------------------------------------------------------------------

TRITON = """
class JITFunction:
    def __init__(self, fn): self.fn = fn
    def run(self, *args, grid, warmup, **kwargs): return "launched"
"""
INDUCTOR = """
class CachingAutotuner:
    def __init__(self, fn): self.fn = fn
    def run(self, *args, stream, **kwargs): return "launched"
"""


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Modules that are not there without a GPU, in the shape that they have there."""
    runtime = tmp_path / "triton" / "runtime"
    runtime.mkdir(parents=True)
    for folder in (runtime, runtime.parent):
        (folder / "__init__.py").write_text("")
    (runtime / "jit.py").write_text(TRITON)
    names = ["triton", "triton.runtime", "triton.runtime.jit"]
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in names:
        sys.modules.pop(name, None)


def add_kernel() -> None:
    pass


@pytest.mark.usefixtures("stand_ins")
@pytest.mark.parametrize("early", [True, False])
def test_a_launch_of_a_triton_kernel(early: bool) -> None:
    # On the simulated device a kernel needs a stand-in; here the sanitizer is alone.
    if early:
        import triton.runtime.jit
    with watching() as session:
        import triton.runtime.jit

        kernel = triton.runtime.jit.JITFunction(add_kernel)
        assert kernel.run(grid=(1,), warmup=True) == "launched"
        assert met(session) == []
        assert kernel.run(grid=(1,), warmup=False) == "launched"
        assert met(session) == ["launch of the Triton kernel add_kernel"]
    kernel.run(grid=(1,), warmup=False)
    assert sum(session.model.blind_spots.values()) == 1


def test_a_kernel_of_torch_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "torch._inductor.runtime.triton_heuristics"
    module: Any = ModuleType(name)
    exec(INDUCTOR, module.__dict__)
    monkeypatch.setitem(sys.modules, name, module)
    with watching() as session:
        assert module.CachingAutotuner(add_kernel).run(stream=0) == "launched"
    assert met(session) == ["launch of the torch.compile kernel add_kernel"]


@pytest.mark.slow
def test_what_is_to_be_compiled_runs_eagerly_and_that_is_said() -> None:
    compiled: list[Any] = []

    def backend(graph: Any, inputs: Any) -> Any:
        compiled.append(graph)
        return graph.forward

    with watching() as session:
        torch.compile(lambda x: x + 1, backend=backend)(torch.ones(4))
    said = "torch.compile: its functions run eagerly while watched; nothing is said of compiled ones"
    assert list(session.model.blind_spots) == [said]
    assert compiled == []  # should torch compile under a mode one day, then nothing of this is to be said
    torch.compile(lambda x: x + 1, backend=backend)(torch.ones(4))
    assert len(compiled) == 1


@pytest.mark.parametrize("how", ["load", "load_inline"])
def test_an_extension(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    name = "torch.utils.cpp_extension"
    module: Any = ModuleType(name)
    setattr(module, how, lambda name, *_, **__: f"module {name}")
    setattr(module, {"load": "load_inline", "load_inline": "load"}[how], None)
    monkeypatch.setitem(sys.modules, name, module)
    with watching() as session:
        assert getattr(module, how)("mine", sources=["mine.cu"]) == "module mine"
    assert met(session) == ["kernels of the C++/CUDA extension mine, where they are no operators in torch.ops"]


def test_a_library_of_operators(session: Session) -> None:
    path = torch._C.__file__
    torch.ops.load_library(path)
    assert met(session) == [f"kernels of the library {path}, where they are no operators in torch.ops"]


def test_one_that_cannot_be_loaded_is_not_met(session: Session) -> None:
    with pytest.raises(OSError, match="absent"):
        torch.ops.load_library("absent.so")
    assert met(session) == []


# -- streams of a library's own ----------------------------------------------------------------------------------------


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch is built without torch.distributed")
@pytest.mark.parametrize("name", ["all_reduce", "reduce_scatter_tensor", "isend", "all_gather"])
def test_a_collective_is_met_where_its_tensors_are_on_a_device(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    # In the place of torch's own, which needs NCCL and several processes.
    def collective(*args: Any, **kwargs: Any) -> str:
        return "work"

    collective.__name__ = name
    monkeypatch.setattr(torch.distributed, name, collective)
    with simulate(), watching() as session:
        host, device = torch.ones(4), torch.ones(4, device="cuda")
        called = getattr(torch.distributed, name)
        assert called(host) == called([host], tensor=host) == "work"
        assert met(session) == []
        assert (called([device], device) if name == "all_gather" else called(tensor=device)) == "work"
        assert met(session) == [f"torch.distributed.{name}, on a stream of NCCL's, and what waits for it"]


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch is built without torch.distributed")
def test_each_collective_of_torch_is_known() -> None:
    """All functions of torch.distributed that take tensors and make `Work` of them."""
    from cpugpu.sanitize.intercept.blind import _COLLECTIVES

    c10d = torch.distributed.distributed_c10d
    functions = [each for name in c10d.__all__ if type(each := getattr(c10d, name)) is FunctionType]
    tensors = {"tensor", "tensors", "tensor_list", "output", "input"}
    takes = {each.__name__ for each in functions if tensors & set(inspect.signature(each).parameters)}
    assert {"all_reduce", "send", "reduce_scatter_tensor"} <= takes
    assert takes <= set(_COLLECTIVES)


# -- addresses that are given away -------------------------------------------------------------------------------------


def test_the_address_of_a_tensor_on_a_device(session: Session) -> None:
    x = torch.ones(4, device="cuda")
    torch.ones(4).data_ptr()
    assert met(session) == []
    x.data_ptr()
    assert met(session) == ["the address of a CUDA tensor, given to other code by data_ptr()"]


def test_not_the_one_that_torch_itself_asks_for(session: Session) -> None:
    space: dict[str, Any] = {"__name__": "torch.optim.mine"}
    exec("def ask(x): return x.data_ptr()", space)
    space["ask"](torch.ones(4, device="cuda"))
    assert met(session) == []


class OnDevice(torch.Tensor):
    """What a real device's tensor says of itself. (The simulated device has no such memory, and refuses both.)"""

    is_cuda = True  # type: ignore[assignment]


@pytest.mark.parametrize("how", ["__dlpack__", "__cuda_array_interface__"])
def test_by_the_protocols_of_other_libraries(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    if how == "__dlpack__":
        monkeypatch.setattr(torch.Tensor, how, lambda self: "handle")
    else:
        monkeypatch.setattr(torch.Tensor, how, property(lambda self: "handle"))
    with watching() as session:
        given = getattr(torch.ones(4).as_subclass(OnDevice), how)
        assert (given() if how == "__dlpack__" else given) == "handle"
    calls = "()" if how == "__dlpack__" else ""
    assert met(session) == [f"the address of a CUDA tensor, given to other code by {how}{calls}"]
