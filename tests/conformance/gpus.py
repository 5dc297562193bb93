"""The devices under conformance test, with the one thing that the seam lacks: a kernel which the host holds back.

A *gate* blocks a stream until the host opens it, so no test depends on how long anything takes. On the simulated device
it is a kernel that waits for a lock. On CUDA it is `cuStreamWaitValue32` on a word of pinned memory: no kernel at all,
so nothing is compiled and nothing spins on the card.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Callable, Iterator
from typing import Any

from cpugpu.device import find_accelerator
from cpugpu.device.simulated import SimEvent, SimulatedDevice, Simulator, no_latency


class SimulatedGpu:
    """Two simulated devices without random latency: the gates decide."""

    name = "sim"
    error = RuntimeError

    def __init__(self, simulator: Simulator | None = None, index: int = 0) -> None:
        self.simulator = simulator or Simulator(devices=2, latency=no_latency)
        self.device: Any = SimulatedDevice(self.simulator, index)

    def other(self) -> SimulatedGpu:
        return SimulatedGpu(self.simulator, 1)

    def blocking_stream(self) -> Any:
        return self.device.stream(blocking=True)

    def event_device(self, event: Any) -> int | None:
        return event.device_index

    @contextlib.contextmanager
    def gate(self, stream: Any) -> Iterator[Callable[[], None]]:
        opened = threading.Event()

        def held_back() -> None:
            opened.wait()

        self.device.launch(stream, held_back)
        try:
            yield opened.set
        finally:
            opened.set()

    def peek(self, buffer: Any) -> Any:
        return self.device.read(buffer)[0]

    def begin_capture(self, stream: Any, mode: str = "global") -> None:
        stream.begin_capture(mode)

    def end_capture(self, stream: Any) -> Any:
        return stream.end_capture()

    def is_capturing(self, stream: Any) -> bool:
        return stream.is_capturing()

    def launch(self, graph: Any, stream: Any) -> None:
        graph.launch(stream)

    def external_event(self) -> Any:
        return SimEvent(self.simulator, external=True)

    def fail(self, stream: Any) -> None:
        def broken() -> None:
            raise ArithmeticError("a kernel that fails")

        self.device.launch(stream, broken)


class CudaGpu:
    """A CUDA device through torch."""

    name = "accelerator"

    def __init__(self, index: int = 0) -> None:
        import torch

        self.torch = torch
        self.index = index
        self.device: Any = find_accelerator(index)
        self._driver = ctypes.CDLL("libcuda.so.1")
        self._context = ctypes.c_void_p()
        with torch.cuda.device(index):
            torch.cuda.synchronize()
            status = self._driver.cuCtxGetCurrent(ctypes.byref(self._context))
        assert status == 0
        assert self._context

    def other(self) -> CudaGpu | None:
        return CudaGpu(1) if self.torch.cuda.device_count() > 1 else None

    def blocking_stream(self) -> Any:
        pointer = ctypes.c_void_p()
        status = self.torch.cuda.cudart().cudaStreamCreate(ctypes.addressof(pointer))
        assert int(status) == 0
        return self.torch.cuda.ExternalStream(pointer.value, device=self.index)

    def event_device(self, event: Any) -> int | None:
        return None if event.device is None else event.device.index

    @contextlib.contextmanager
    def gate(self, stream: Any) -> Iterator[Callable[[], None]]:
        word = self.torch.zeros(1, dtype=self.torch.int32).pin_memory()
        with self.device.use(stream):  # makes the context current in this thread
            at_least = 0
            wait = self._driver.cuStreamWaitValue32_v2
            wait.argtypes = [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_uint32]
            status = wait(stream.cuda_stream, word.data_ptr(), 1, at_least)
        assert status == 0, f"cuStreamWaitValue32 returned {status}"

        def open_gate() -> None:
            ctypes.c_int32.from_address(word.data_ptr()).value = 1

        try:
            yield open_gate
        finally:
            open_gate()
            stream.synchronize()  # the word must outlive the wait

    def begin_capture(self, stream: Any, mode: str = "global") -> None:
        number = ("global", "thread_local", "relaxed").index(mode)
        self._call("cuStreamBeginCapture_v2", stream, ctypes.c_void_p(stream.cuda_stream), number)

    def end_capture(self, stream: Any) -> Any:
        graph, executable = ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuStreamEndCapture", stream, ctypes.c_void_p(stream.cuda_stream), ctypes.byref(graph))
        self._call("cuGraphInstantiateWithFlags", stream, ctypes.byref(executable), graph, ctypes.c_uint64(0))
        return executable

    def is_capturing(self, stream: Any) -> bool:
        status = ctypes.c_int()
        self._call("cuStreamIsCapturing", stream, ctypes.c_void_p(stream.cuda_stream), ctypes.byref(status))
        return status.value != 0

    def launch(self, graph: Any, stream: Any) -> None:
        self._call("cuGraphLaunch", stream, graph, ctypes.c_void_p(stream.cuda_stream))

    def external_event(self) -> Any:
        return self.torch.cuda.Event(external=True)

    def _call(self, name: str, stream: Any, *arguments: Any) -> None:
        """A function of the driver. RuntimeError with the driver's text, which torch's errors have too."""
        with self.device.use(stream):
            self._driver.cuCtxSetCurrent(self._context)  # a new thread has none; torch sees to it at its own calls only
            code = getattr(self._driver, name)(*arguments)
        if code:
            text = ctypes.c_char_p()
            self._driver.cuGetErrorString(code, ctypes.byref(text))
            raise RuntimeError((text.value or b"").decode())

    def peek(self, buffer: Any) -> Any:
        with self.torch.cuda.stream(self.torch.cuda.Stream(self.index)):
            return buffer.tensor[0].item()


class TorchOnSimulatedGpu(CudaGpu):
    """The same through `torch.cuda`, while `cpugpu.simulate` is on. What differs is what goes to libcuda on a card."""

    name = "torch on sim"
    error = RuntimeError

    def __init__(self, runtime: Any, index: int = 0) -> None:
        import torch

        self.torch = torch
        self.index = index
        self.device = find_accelerator(index)
        self._runtime = runtime

    def other(self) -> TorchOnSimulatedGpu:
        return TorchOnSimulatedGpu(self._runtime, 1)

    @contextlib.contextmanager
    def gate(self, stream: Any) -> Iterator[Callable[[], None]]:
        opened = threading.Event()
        self._runtime.launch(stream.state, "gate", opened.wait)
        try:
            yield opened.set
        finally:
            opened.set()

    begin_capture, end_capture = SimulatedGpu.begin_capture, SimulatedGpu.end_capture  # type: ignore[assignment]
    is_capturing, launch = SimulatedGpu.is_capturing, SimulatedGpu.launch  # type: ignore[assignment]

    def fail(self, stream: Any) -> None:
        """What a real device cannot recover from: an index that is out of bounds."""
        index = self.torch.tensor([7], device=self.device.name)
        self.torch.cuda.synchronize()
        with self.device.use(stream):
            self.torch.zeros(2, device=self.device.name)[index]


def accelerator_missing() -> str:
    """Why there is no real device to test, empty if there is one."""
    try:
        import torch
    except ModuleNotFoundError:
        return "torch is not installed"
    if not torch.accelerator.is_available():
        return "torch.accelerator.is_available() is False: no accelerator here"
    if torch.version.cuda is None:
        return "the gate needs cuStreamWaitValue32, which is CUDA's"
    return ""
