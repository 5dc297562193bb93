"""The accelerator device on a machine without one: torch's classes are replaced, the decisions are ours.

What needs a real device is in tests/conformance.
"""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from cpugpu import CpuGpuEvent  # noqa: E402
from cpugpu.device import Device  # noqa: E402
from cpugpu.device.accelerator import AcceleratorDevice  # noqa: E402

# On a CPU build torch.cuda.Stream exists and cannot be made, so a stand-in derives from torch.Stream.


class FakeStream(torch.Stream):  # type: ignore[misc]
    def __new__(cls, index: int = 0, kind: str = "cuda") -> Any:
        stream = super().__new__(cls, stream_id=0, device_index=index, device_type=1)
        stream.kind = kind
        return stream

    @property
    def device(self) -> Any:
        return torch.device(self.kind, self.device_index)


class FakeEvent:
    made = 0

    def __init__(self, **kwargs: Any) -> None:
        FakeEvent.made += 1
        self.device: Any = None
        self.streams: list[Any] = []

    def record(self, stream: Any) -> None:
        self.device = stream.device
        self.streams.append(stream)

    def wait(self, stream: Any) -> None:
        self.streams.append(stream)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(torch.cuda, "Event", FakeEvent)
    monkeypatch.setattr(torch.cuda, "Stream", FakeStream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda index=None: FakeStream(index or 0))
    FakeEvent.made = 0
    return lambda index=None: AcceleratorDevice("cuda", index)


def test_the_accelerator_has_the_whole_seam() -> None:
    names = [name for name in vars(Device) if not name.startswith("_")]
    assert [name for name in names if not hasattr(AcceleratorDevice, name)] == []


def test_a_spare_event_is_recorded_again(cuda: Any) -> None:
    ready = CpuGpuEvent(cuda())
    for _ in range(10):
        ready.record(FakeStream())
        ready.wait(FakeStream())
    assert FakeEvent.made == 1


def test_rocm_gets_a_fresh_event_a_record(cuda: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """hipEventRecord on an event whose earlier record is pending: "results are undefined"."""
    monkeypatch.setattr(torch.version, "hip", "7.0")
    ready = CpuGpuEvent(cuda())
    for _ in range(10):
        ready.record(FakeStream())
        ready.wait(FakeStream())
    assert FakeEvent.made == 10


def test_an_event_is_not_recorded_again_on_another_device(cuda: Any) -> None:
    ready = CpuGpuEvent(cuda())
    for index in (0, 1, 1, 0):
        ready.record(FakeStream(index))
        ready.wait(FakeStream())
    assert FakeEvent.made == 3


def test_a_stream_of_another_device_is_refused_by_an_indexed_event(cuda: Any) -> None:
    ready = CpuGpuEvent(cuda(1))
    with pytest.raises(ValueError, match="a stream of cuda:0 was given to record"):
        ready.record(FakeStream(0))
    assert not ready.pending
    ready.record(FakeStream(1))
    ready.wait(FakeStream(0))


def test_a_stream_of_another_kind_is_refused(cuda: Any) -> None:
    """Neither torch.Event nor torch.cuda.Event checks: they cast."""
    with pytest.raises(ValueError, match="a stream of xpu:0 was given"):
        CpuGpuEvent(cuda()).record(FakeStream(0, "xpu"))


@pytest.mark.parametrize("stream", ["stream", 7, object(), FakeEvent])
def test_what_is_no_stream_is_refused(cuda: Any, stream: Any) -> None:
    ready = CpuGpuEvent(cuda())
    with pytest.raises(TypeError, match="is no stream of cuda; allowed are torch streams and None"):
        ready.record(stream)
    assert FakeEvent.made == 0


def test_none_is_the_current_stream_of_the_event_s_device(cuda: Any) -> None:
    event = cuda(1).record(None, None)
    assert event.device == torch.device("cuda", 1)


def test_availability_alone_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CUDA build without a GPU still says that its accelerator is cuda."""
    from cpugpu.device import find_accelerator

    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    assert find_accelerator() is None
