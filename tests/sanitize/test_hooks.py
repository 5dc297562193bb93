"""What C++ does on its own is an edge: torch's hooks, fired here as C++ would; and classes over `torch.Event`."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch.cuda import _gpu_trace as trace  # noqa: E402

from cpugpu.patches import Patches  # noqa: E402
from cpugpu.sanitize import Event, Model, Storage  # noqa: E402
from cpugpu.sanitize.intercept import calls, generic, hooks  # noqa: E402
from cpugpu.sanitize.intercept.backend import Backend  # noqa: E402
from cpugpu.sanitize.intercept.watch import Watch  # noqa: E402

ONE, TWO, EVENT = 0x1000, 0x2000, 0xE0


class OnDeviceZero(Backend):
    """As if there were a device."""

    def current_device(self) -> int:
        return 0


@pytest.fixture
def watch() -> Iterator[Watch]:
    watch = Watch(Model(), OnDeviceZero("cuda", torch.cuda))
    its = hooks.Hooks(watch, lambda: None)
    registries = [value for name, value in vars(trace).items() if name.endswith("Callbacks")]
    before = [list(registry.callback_list) for registry in registries]
    its.enter()
    yield watch
    its.leave()
    assert [registry.callback_list for registry in registries] == before


def record(event: int, stream: int) -> None:
    trace.EventRecordCallbacks.fire_callbacks(event, stream)


def wait(event: int, stream: int) -> None:
    trace.EventWaitCallbacks.fire_callbacks(event, stream)


class Hazard:
    """Stream ONE writes a buffer; `read` is by stream TWO or by the host."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.storage = Storage("x", size=64)
        self._launch(ONE, writes=True)

    def _launch(self, stream: int, *, writes: bool) -> None:
        model = self.watch.model
        model.launch(model.me(), self.watch.by_handle(0, stream), [(self.storage, (0, 64), writes)], "kernel")

    def read(self) -> set[str]:
        self._launch(TWO, writes=False)
        return {finding.rule for finding in self.watch.model.findings}

    def looked_at(self) -> set[str]:
        model = self.watch.model
        model.host_access(model.me(), [(self.storage, (0, 64), False)], "a look")
        return {finding.rule for finding in model.findings}


def test_nothing_orders_the_two_streams(watch: Watch) -> None:
    assert Hazard(watch).read() == {"race"}


def test_a_wait_that_no_python_has_called_is_an_edge(watch: Watch) -> None:
    hazard = Hazard(watch)
    record(EVENT, ONE)
    wait(EVENT, TWO)
    assert hazard.read() == set()


def test_a_wait_for_an_event_whose_record_came_before_the_write_is_none(watch: Watch) -> None:
    record(EVENT, ONE)
    hazard = Hazard(watch)
    wait(EVENT, TWO)
    assert hazard.read() == {"race"}


def test_another_event_of_the_same_address_is_another_one(watch: Watch) -> None:
    hazard = Hazard(watch)
    record(EVENT, ONE)
    trace.EventDeletionCallbacks.fire_callbacks(EVENT)
    wait(EVENT, TWO)
    assert hazard.read() == {"race"}


def test_what_a_patched_method_does_is_told_by_that_method_alone(watch: Watch) -> None:
    hazard, event = Hazard(watch), Event()
    with watch.calling(event):
        record(EVENT, ONE)
        wait(EVENT, TWO)
    assert event.current is None
    assert hazard.read() == {"race"}


def test_cpp_waits_for_an_event_that_python_has_recorded(watch: Watch) -> None:
    hazard, event, model = Hazard(watch), Event(), watch.model
    with watch.calling(event):
        record(EVENT, ONE)
    model.record(model.me(), event, watch.by_handle(0, ONE))
    wait(EVENT, TWO)
    assert hazard.read() == set()


@pytest.mark.parametrize(
    "synchronize",
    [
        lambda: trace.EventSynchronizationCallbacks.fire_callbacks(EVENT),
        lambda: trace.StreamSynchronizationCallbacks.fire_callbacks(ONE),
        trace.DeviceSynchronizationCallbacks.fire_callbacks,
    ],
    ids=["event", "stream", "device"],
)
@pytest.mark.parametrize("own", [False, True], ids=["of C++", "of a patched method"])
def test_a_synchronization_in_cpp_is_an_edge_to_the_thread(watch: Watch, synchronize: Any, own: bool) -> None:
    hazard = Hazard(watch)
    record(EVENT, ONE)
    if own:
        with watch.calling():
            synchronize()
    else:
        synchronize()
    assert hazard.looked_at() == ({"race"} if own else set())


# -- torch.Event and torch.Stream --------------------------------------------------------------------------------------


class CStream:
    """In the place of torch's class, which is written in C and needs a device."""

    device, device_type = "cuda:0", 1

    def __new__(cls, **_: object) -> CStream:
        return object.__new__(cls)

    def __init__(self, *, stream_id: int = 1, device_index: int = 0, device_type: int = 1) -> None:
        self.stream_id, self.device_index = stream_id, device_index

    @property
    def cuda_stream(self) -> int:
        return self.stream_id * 0x1000

    def query(self) -> bool:
        return True

    def synchronize(self) -> None:
        pass


class CEvent:
    def __init__(self, device: object = None) -> None:
        pass

    def record(self, stream: object = None) -> None:
        pass

    wait = record

    def query(self) -> bool:
        return True

    def synchronize(self) -> None:
        pass


@pytest.fixture
def without_hooks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    monkeypatch.setattr(torch, "Event", CEvent)
    monkeypatch.setattr(torch, "Stream", CStream)
    monkeypatch.setattr(torch.accelerator, "current_stream", lambda device=None: CStream(stream_id=2))
    watch, patches = Watch(Model(), OnDeviceZero("cuda", torch.cuda)), Patches()
    patches.apply(list(generic.patches(watch, calls.event_calls, calls.stream_calls)))
    yield watch
    patches.undo()
    assert torch.Event is CEvent
    assert torch.Stream is CStream


def test_generic_events_and_streams_are_watched(without_hooks: Watch) -> None:
    one, two = torch.Stream(stream_id=1), torch.accelerator.current_stream()
    hazard = Hazard(without_hooks)
    two.wait_stream(one)
    assert hazard.read() == set()


def test_a_wait_for_a_generic_event_that_was_never_recorded(without_hooks: Watch) -> None:
    torch.accelerator.current_stream().wait_event(torch.Event())
    assert {finding.rule for finding in without_hooks.model.findings} == {"unrecorded-wait"}


def test_an_instance_that_cpp_has_made_is_one_of_the_class(without_hooks: Watch) -> None:
    assert isinstance(CEvent(), torch.Event)
    assert issubclass(CStream, torch.Stream)
    assert not isinstance(CStream(), torch.Event)


def test_streams_are_made_by_one_thread_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch makes the pool in a `call_once` that takes the GIL: a second thread must not wait for that with the GIL."""
    alone = []

    def new(cls: Any, **_: object) -> Any:
        alone.append(generic._making._is_owned())
        return object.__new__(cls)

    class Stream(CStream):
        """As `torch.cuda.Stream`."""

        __new__ = new

    monkeypatch.setattr(torch, "Event", CEvent)
    monkeypatch.setattr(torch, "Stream", CStream)
    monkeypatch.setattr(CStream, "__new__", new)
    backend = OnDeviceZero("cuda", SimpleNamespace(Stream=Stream, device_count=lambda: 1))
    patches = Patches()
    patches.apply(list(generic.patches(Watch(Model(), backend), calls.event_calls, calls.stream_calls)))
    Stream(stream_id=1)
    torch.Stream(stream_id=2)
    patches.undo()
    Stream(stream_id=3)
    assert alone == [True, True, False]
