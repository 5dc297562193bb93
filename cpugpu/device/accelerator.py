"""torch's accelerator: CUDA, ROCm, XPU and whatever else `torch.accelerator` knows. The only place that touches one.

Two facts about torch shape this module (read in torch/csrc/Event.cpp and torch/csrc/cuda/Event.cpp):

* `torch.Event.record` and `.wait` hold the GIL across the driver call, which blocks when a launch queue is full;
  `torch.cuda.Event`'s release it. So on CUDA and ROCm the device event is a `torch.cuda.Event`.
* Neither checks the type of the stream that it is given, but casts it. A stream that is not what the class expects is
  read as garbage, so streams are checked here, and a `torch.Stream` is rewrapped as the `torch.cuda.Stream` it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from cpugpu.device.base import DeviceEvent, Sight, check_sizes
from cpugpu.device.capture import capture_id

#: GPU clock cycles a second, to turn a delay into `torch.cuda._sleep` cycles. Delays are meant to be rough.
_CYCLES_PER_SECOND = 1.5e9
_POLL_SECONDS = 2e-5


def find(index: int | None = None) -> AcceleratorDevice | None:
    """The accelerator, None where `torch.accelerator.is_available()` says that there is none."""
    if not torch.accelerator.is_available():
        return None
    count = torch.accelerator.device_count()
    kind = torch.accelerator.current_accelerator()
    assert kind is not None  # is_available() implies it
    if index is not None and index >= count:
        raise ValueError(f"device '{kind.type}:{index}' was asked for and there are {count}, from '{kind.type}:0'")
    return AcceleratorDevice(kind.type, index)


class TensorBuffer:
    """Integers in device memory: a tensor of int64."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor

    @property
    def size(self) -> int:
        """How many integers."""
        return self.tensor.numel()


class AcceleratorDevice:
    """torch's accelerator; with `index` None, whichever device of it is the calling thread's current one."""

    def __init__(self, kind: str, index: int | None) -> None:
        self.kind = kind
        self.index = index
        # XPU and others have their own classes, but only CUDA's (and so ROCm's) are known to release the GIL.
        self._cuda = kind == "cuda"
        self._made: set[Any] = set()  # streams; at most a pool of them, for equal ones are the same
        self._event_type: Any = torch.cuda.Event if self._cuda else torch.Event
        # hipEventRecord: while an earlier record of the event is pending, "results are undefined".
        self._fresh = torch.version.hip is not None

    @property
    def name(self) -> str:
        """`"cuda"`, or `"cuda:1"` for a certain device."""
        return self.kind if self.index is None else f"{self.kind}:{self.index}"

    @property
    def simulated(self) -> bool:
        """Is it torch's name only, with the simulated device behind it?"""
        return self._event_type.__module__.startswith("cpugpu.")  # type: ignore[no-any-return]

    def describe(self) -> str:
        """One line for people."""
        module = torch.get_device_module(self.kind)
        runtime = f"ROCm {torch.version.hip}" if torch.version.hip else f"CUDA {torch.version.cuda}"
        what = f", {runtime}" if self._cuda else ""
        return f"{self.name} ({module.get_device_name(self._index())}, torch {torch.__version__}{what})"

    def each(self) -> Sequence[AcceleratorDevice]:
        """With an index itself, else all devices of this kind."""
        if self.index is not None:
            return [self]
        return [AcceleratorDevice(self.kind, index) for index in range(torch.accelerator.device_count())]

    def stream(self, priority: int = 0) -> Any:
        """A stream of torch's pool: 32 a device and priority, handed out in turn."""
        if self._cuda:
            stream: Any = torch.cuda.Stream(self._index(), priority=priority)
        else:
            stream = torch.Stream(torch.device(self.kind, self._index()), priority=priority)
        self._made.add(stream)
        return stream

    def default_stream(self) -> Any:
        """The default stream."""
        return torch.get_device_module(self.kind).default_stream(self._index())

    def current_stream(self) -> Any:
        """The calling thread's current stream on this device."""
        if self._cuda:
            return torch.cuda.current_stream(self.index)
        return torch.accelerator.current_stream(self.index)

    @contextmanager
    def use(self, stream: Any) -> Iterator[None]:
        """Make `stream` and its device the calling thread's current ones; restore both afterwards."""
        stream = self._stream(stream)
        device = torch.accelerator.current_device_index()
        before = torch.accelerator.current_stream(stream.device)
        torch.accelerator.set_stream(stream)
        try:
            yield
        finally:
            try:
                torch.accelerator.set_stream(before)
            finally:
                torch.accelerator.set_device_index(device)

    def event(self, *, timing: bool = False) -> DeviceEvent:
        """A new device event. Plain torch: it does not check what it is given.

        A CUDA one is blocking: a thread that synchronises with it sleeps, where others spin on a core (vllm#47081).
        """
        if self._cuda:
            return self._event_type(enable_timing=timing, blocking=True)  # type: ignore[no-any-return]
        return self._event_type(self.kind, enable_timing=timing)  # type: ignore[no-any-return]

    def sight(self, stream: Any) -> Sight:
        """What the calling thread is about to do with `stream`. Asks for the capture state, which CUDA always allows.

        Beyond CUDA torch tells only whether CUDA captures, so `capture` is 0 there.
        """
        stream = self._stream(stream)
        index = stream.device_index
        module = torch.get_device_module(self.kind)
        current = module.current_stream(index)
        capture = capture_id(stream.cuda_stream) if self._cuda and not self._fresh else 0
        default = current == module.default_stream(index) if self._cuda else False
        return Sight(stream, index, current, default, torch.accelerator.current_device_index(), capture)

    def check(self, stream: Any) -> None:
        """Raise for what is no stream of this kind of device."""
        self._stream(stream)

    def record(self, stream: Any, spare: DeviceEvent | None) -> DeviceEvent:
        """Record on `stream`. A `spare` is re-recorded, except on ROCm and where it is bound to another device."""
        stream = self._stream(stream)
        if self.index is not None and stream.device_index != self.index:
            raise ValueError(f"a stream of {stream.device} was given to record() of an event of {self.name}")
        event: Any = spare
        if event is None or self._fresh or event.device != stream.device:
            event = self.event()
        event.record(stream)
        return event  # type: ignore[no-any-return]

    def wait(self, event: DeviceEvent, stream: Any) -> None:
        """Order the future work of `stream`, which may belong to another device, after `event`."""
        event.wait(self._stream(stream))

    def launch(
        self,
        stream: Any,
        kernel: Callable[..., None],
        reads: Sequence[TensorBuffer] = (),
        writes: Sequence[TensorBuffer] = (),
    ) -> None:
        """Call `kernel` now with `stream` as current stream; what it does to the tensors is queued there."""
        with self.use(stream):
            kernel(*(buffer.tensor for buffer in (*reads, *writes)))

    def delay(self, stream: Any, seconds: float) -> None:
        """Keep `stream` busy for roughly `seconds`."""
        with self.use(stream):
            if self._cuda:
                torch.cuda._sleep(int(seconds * _CYCLES_PER_SECOND))  # noqa: SLF001
            else:
                square = torch.ones(256, 256, device=self.kind)
                for _ in range(int(seconds * 1e5)):  # about 10 µs each
                    square = square @ square

    def buffer(self, value: int, size: int = 1) -> TensorBuffer:
        """A buffer that holds `value` already: this blocks until it does."""
        tensor = torch.full((size,), value, dtype=torch.int64, device=torch.device(self.kind, self._index()))
        self.current_stream().synchronize()
        return TensorBuffer(tensor)

    def fill(self, target: TensorBuffer, value: int, stream: Any) -> None:
        """Set each element."""
        with self.use(stream):
            target.tensor.fill_(value)

    def copy(self, source: TensorBuffer, target: TensorBuffer, stream: Any) -> None:
        """Copy element by element."""
        check_sizes(source, target)
        with self.use(stream):
            target.tensor.copy_(source.tensor, non_blocking=True)

    def add(self, target: TensorBuffer, value: int, stream: Any) -> None:
        """Add to each element."""
        with self.use(stream):
            target.tensor.add_(value)

    def mismatches(self, source: TensorBuffer, value: int, into: TensorBuffer, stream: Any) -> None:
        """Count the elements that differ from `value`."""
        with self.use(stream):
            into.tensor[0].add_((source.tensor != value).sum())

    def read(self, source: TensorBuffer) -> tuple[int, ...]:
        """The contents as they are now."""
        return tuple(source.tensor.tolist())

    def synchronize(self, timeout: float | None = None) -> bool:
        """Block until the device is idle.

        With a `timeout`, which no driver offers, this polls the default stream, the current one and those that this
        object made, and knows of no others.
        """
        if timeout is None:
            torch.accelerator.synchronize(self._index())
            return True
        deadline = time.monotonic() + timeout
        for stream in (*self._made, self.default_stream(), self.current_stream()):
            while not stream.query():
                if time.monotonic() > deadline:
                    return False
                time.sleep(_POLL_SECONDS)
        return True

    def _index(self) -> int:
        return torch.accelerator.current_device_index() if self.index is None else self.index

    def _stream(self, stream: Any) -> Any:
        """`stream` as the class that this device's events take."""
        if stream is None:
            return self.current_stream()
        if not isinstance(stream, torch.Stream):
            raise TypeError(f"{stream!r} is no stream of {self.name}; allowed are torch streams and None")
        if stream.device.type != self.kind:
            raise ValueError(f"a stream of {stream.device} was given to an event of {self.name}")
        if self._cuda and not isinstance(stream, torch.cuda.Stream):
            return torch.cuda.Stream(
                stream_id=stream.stream_id, device_index=stream.device_index, device_type=stream.device_type
            )
        return stream
