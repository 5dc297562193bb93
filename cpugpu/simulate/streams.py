"""What `torch.cuda.Stream`, `torch.cuda.Event` and their like are while a simulation is on."""

from __future__ import annotations

import itertools
import weakref
from typing import Any

import torch

from cpugpu.device.simulated.model import PRIORITIES, StreamState
from cpugpu.device.simulated.objects import SimEvent, SimStream
from cpugpu.errors import NotSimulated, SimulationOver
from cpugpu.simulate import backward, moves, session
from cpugpu.simulate.moves import device_of

#: The handles that CUDA gives a meaning (driver_types.h): the legacy default stream, and a default stream a thread.
LEGACY, PER_THREAD = 1, 2

_handles: weakref.WeakKeyDictionary[StreamState, int] = weakref.WeakKeyDictionary()
_numbers = itertools.count(0x7F00_0000_0040, 0x40)


def handle(state: StreamState) -> int:
    """What stands for a stream where C code would have a `cudaStream_t`. 0 for a default stream."""
    if state is state.device.default:
        return 0
    return _handles.setdefault(state, next(_numbers))


def capture_id(number: int) -> int:
    """The number of the capture that the stream with this handle is in, 0 for none."""
    for state, known in list(_handles.items()):
        if known == number and state.capture is not None:
            return state.capture.number
    return 0


def make_blocking(index: int) -> SimStream:
    """`cudaStreamCreate`: a stream that synchronises with the legacy default stream."""
    return session.runtime().simulator.stream(index, blocking=True)


class Stream(SimStream):
    """`torch.Stream`."""

    def __init__(self, device: Any = None, *, priority: int = 0, **which: Any) -> None:
        simulator = session.runtime().simulator
        if "stream_id" in which:
            index = which.get("device_index", 0)
            super().__init__(simulator, _state(which["stream_id"], index))
            return
        if isinstance(device, SimStream):
            super().__init__(simulator, device.state)
            return
        found = moves.device_for(device)
        if found.type != "cuda":
            raise NotSimulated(f"a stream of {found}: only CUDA devices are simulated")
        super().__init__(simulator, simulator.stream(found.index, priority=_clamped(priority)).state)

    @property
    def device(self) -> torch.device:
        """The device that it belongs to."""
        return torch.device("cuda", self.device_index)

    @property
    def device_type(self) -> int:
        """As torch numbers them: 1 is CUDA."""
        return 1

    @property
    def stream_id(self) -> int:
        """A number of its own on its device."""
        return handle(self.state)

    @property
    def cuda_stream(self) -> int:
        """The handle."""
        return handle(self.state)

    native_handle = cuda_stream

    def query(self) -> bool:
        """Is all work that was submitted so far done?"""
        _usable(self)
        return super().query()

    def synchronize(self) -> None:
        """Block the calling thread until all work submitted so far is done."""
        _usable(self)
        super().synchronize()

    def record_event(self, event: Any = None) -> Any:
        """Record `event`, or a new one, on this stream and return it."""
        event = event or (CudaEvent() if isinstance(self, CudaStream) else Event())
        event.record(self)
        return event

    def wait_stream(self, stream: Any) -> None:
        """Let future work of this stream wait for the work that `stream` holds now."""
        self.wait_event(stream.record_event())

    def __enter__(self) -> Stream:
        entered = _entered()
        context = self.simulator.use(self)
        context.__enter__()
        entered.append(context)
        return self

    def __exit__(self, *exc_info: object) -> None:
        _entered().pop().__exit__(*exc_info)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SimStream) and other.state is self.state

    def __hash__(self) -> int:
        return hash(self.state)

    def __repr__(self) -> str:
        return f"<torch.cuda.Stream device={self.device} cuda_stream={self.cuda_stream:#x}>"


class CudaStream(Stream):
    """`torch.cuda.Stream`."""

    @staticmethod
    def priority_range() -> tuple[int, int]:
        """The lowest and the highest priority."""
        return PRIORITIES[1], PRIORITIES[0]


class ExternalStream(CudaStream):
    """`torch.cuda.ExternalStream`: a stream that something else has made, by its handle."""

    def __init__(self, stream_ptr: int, device: Any = None, **_: Any) -> None:
        index = device_of(device).index
        SimStream.__init__(self, session.runtime().simulator, _state(stream_ptr, index))


class Event(SimEvent):
    """`torch.Event`."""

    def __init__(
        self,
        device: Any = None,
        *,
        enable_timing: bool = False,
        blocking: bool = False,  # noqa: ARG002 - a matter of how synchronize() waits
        interprocess: bool = False,
        external: bool = False,
    ) -> None:
        if device is not None and device_of(device).type != "cuda":
            raise NotSimulated(f"an event of {device}: only CUDA devices are simulated")
        if interprocess:
            raise NotSimulated("an event of several processes: a simulated device belongs to one process")
        super().__init__(session.runtime().simulator, enable_timing=enable_timing, external=external)

    @property
    def device(self) -> torch.device | None:
        """The device that its first record has bound it to."""
        index = self.device_index
        return None if index is None else torch.device("cuda", index)

    @property
    def cuda_event(self) -> int:
        """0 before the first record."""
        return 0 if self.device_index is None else id(self)

    event_id = cuda_event

    def record(self, stream: Any = None) -> None:
        """Capture what `stream`, or the calling thread's current stream, holds now."""
        _check(stream)
        super().record(current_stream() if stream is None else stream)

    def wait(self, stream: Any = None) -> None:
        """Let future work of `stream`, or of the calling thread's current stream, wait for the latest capture."""
        _check(stream)
        super().wait(current_stream() if stream is None else stream)

    def query(self) -> bool:
        """Is the latest capture done?"""
        _not_forked()
        return super().query()

    def synchronize(self) -> None:
        """Block the calling thread until the latest capture is done."""
        _not_forked()
        super().synchronize()

    def ipc_handle(self) -> Any:
        """Refused."""
        raise NotSimulated("Event.ipc_handle(): a simulated device belongs to one process")


class CudaEvent(Event):
    """`torch.cuda.Event`."""

    def __init__(
        self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False, external: bool = False
    ) -> None:
        super().__init__(enable_timing=enable_timing, blocking=blocking, interprocess=interprocess, external=external)


class StreamContext:
    """`torch.cuda.stream(...)`: makes a stream, and its device, the calling thread's current ones."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self._context: Any = None

    def __enter__(self) -> None:
        if self.stream is not None:
            _usable(self.stream)
            self._context = self.stream.simulator.use(self.stream)
            self._context.__enter__()

    def __exit__(self, *exc_info: object) -> None:
        if self._context is not None:
            self._context.__exit__(*exc_info)


def as_cuda(stream: SimStream) -> CudaStream:
    """A stream of the simulator under torch's name."""
    found = CudaStream.__new__(CudaStream)
    SimStream.__init__(found, stream.simulator, stream.state)
    return found


def current_stream(device: Any = None) -> CudaStream:
    """The calling thread's current stream of a device."""
    runtime, index = session.runtime(), device_of(device).index
    state = backward.hooks_stream(index)
    return as_cuda(runtime.simulator.current_stream(index) if state is None else SimStream(runtime.simulator, state))


def default_stream(device: Any = None) -> CudaStream:
    """The legacy default stream of a device."""
    return as_cuda(session.runtime().simulator.default_stream(device_of(device).index))


def set_stream(stream: Any) -> None:
    """Make `stream`, and its device, the calling thread's current ones from now on."""
    if stream is not None:
        _usable(stream)
        stream.simulator.set_current(stream)


def context(stream: Any) -> StreamContext:
    """`torch.cuda.stream`."""
    return StreamContext(stream)


def _check(stream: Any) -> None:
    if stream is None:
        session.runtime()
    else:
        _usable(stream)


def _not_forked() -> None:
    runtime = session.current()
    if runtime is not None and runtime.forked:
        runtime.check()


def _usable(stream: Any) -> None:
    if not isinstance(stream, SimStream):
        raise TypeError(f"{stream!r} is no stream of the simulated device")
    runtime = session.runtime()
    if stream.simulator is not runtime.simulator:
        raise SimulationOver("this stream belongs to a simulate() block that has ended")


def _state(number: int, index: int) -> StreamState:
    """The stream that a handle stands for."""
    default = session.runtime().simulator.default_stream(index).state
    if number in (0, LEGACY):
        return default
    if number == PER_THREAD:
        raise NotSimulated("cudaStreamPerThread: a default stream a thread is not simulated")
    for state, known in list(_handles.items()):
        if known == number and state.device.index == index:
            return state
    raise RuntimeError(f"CUDA error: invalid resource handle: {number:#x} is no stream of cuda:{index}")


def _clamped(priority: int) -> int:
    return max(PRIORITIES[0], min(PRIORITIES[1], priority))


def _entered() -> list[Any]:
    """The streams that the calling thread has entered, by `with stream:`."""
    local = session.runtime().local
    entered: list[Any] | None = getattr(local, "entered", None)
    if entered is None:
        entered = local.entered = []
    return entered
