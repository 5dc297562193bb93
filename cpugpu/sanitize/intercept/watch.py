"""What is seen is put into the model here: operations, copies, looks of the host.

`Watch` is what the interception of a simulated device (`simulated.py`), of a real one (`real.py`), of torch's streams
and events (`calls.py`) and of threads (`threads.py`) have in common.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch

from cpugpu.errors import SanitizerError
from cpugpu.sanitize import report
from cpugpu.sanitize.clocks import Actor, Starter
from cpugpu.sanitize.events import Event
from cpugpu.sanitize.intercept.backend import Backend
from cpugpu.sanitize.intercept.operations import effect_of, touched, waits_for
from cpugpu.sanitize.intercept.shadows import Shadows
from cpugpu.sanitize.model import Access, Model
from cpugpu.sanitize.places import here
from cpugpu.sanitize.traced import Traced

#: What is noted at the program's objects is of one watch: they may live on into the next.
_watches = itertools.count(1)


class Call:
    """One of torch's methods is under way in this thread, on `event` if that is not None."""

    __slots__ = ("_before", "_local", "event")

    def __init__(self, local: threading.local, event: Event | None) -> None:
        self._local = local
        self.event = event

    def __enter__(self) -> None:
        self._before = getattr(self._local, "call", None)
        self._local.call = self

    def __exit__(self, *exc_info: object) -> None:
        self._local.call = self._before


class Watch:
    """The model, and what the objects of the program are in it."""

    def __init__(self, model: Model, backend: Backend) -> None:
        self.model = model
        self.backend = backend
        self.shadows = Shadows(model, backend)
        number = next(_watches)
        self._of_event = f"_cpugpu_event_{number}"
        self._of_graph = f"_cpugpu_captured_on_{number}", f"_cpugpu_accesses_{number}"
        self.over = False
        self.raises = False
        self.traced: Traced | None = None
        self.enter_thread: Callable[[], None] = _nothing  # called when a thread is met that may not be watched yet
        self.unseen: Callable[[bool], None] = _nothing_of  # what torch does within a call: from here, to here
        self.local = threading.local()  # `call`: that of a patched method which is under way
        self.pointers: dict[int, Event] = {}  # events that C++ has recorded itself
        self.exported: list[Event] = []  # to another process, which has not answered since
        self._streams: dict[tuple[int, int], Actor] = {}
        self._captured: dict[object, list[Access]] = {}  # by capture, what goes into the graph

    def recorded(self, tensor: torch.Tensor, stream: Any) -> None:
        """`tensor.record_stream(stream)`."""
        found = self.shadows.of(tensor)
        if found is not None:
            self.model.record_stream(found[0], self.stream(stream))

    def told(self) -> None:
        """After each call: what was found since goes into the trace and is raised, if that is asked for."""
        if self.traced is not None:
            self.traced.catch_up()
        if self.raises and self.model.findings.news:
            self._raise()

    def _raise(self) -> None:
        """The first finding of the calling thread's call; what else this call has shown is in the report."""
        news, me = self.model.findings.news, threading.get_ident()
        with self.model.lock:
            mine = [finding for finding in news if finding.by == me]
            for finding in mine:
                news.remove(finding)
        if mine:
            raise SanitizerError(report.one(mine[0]), rule=mine[0].rule)

    def calling(self, event: Event | None = None) -> Call:
        """Around torch's own method: what C++ does in it is told of by whoever wraps it, and not seen by hooks."""
        return Call(self.local, event)

    def stream(self, stream: Any) -> Actor:
        """The actor of one of torch's streams."""
        handle = self.backend.handle(stream)
        blocking = bool(getattr(getattr(stream, "state", None), "blocking", False)) and handle != 0
        return self.by_handle(stream.device_index, handle, blocking=blocking)

    def by_handle(self, index: int, handle: int, *, blocking: bool = False) -> Actor:
        """The actor of the stream that has this handle on this device."""
        found = self._streams.get((index, handle))
        if found is None:
            device = self.backend.device(index)
            found = self._streams[index, handle] = self.model.stream(device, handle, blocking=blocking)
        return found

    def current(self, index: int) -> Actor:
        """The calling thread's current stream of a device."""
        raw = self.backend.raw
        if raw is None:
            return self.stream(self.backend.module.current_stream(index))
        return self.by_handle(index, raw(index))

    def starter(self, me: Actor) -> Starter | None:
        """What a thread that the calling one starts may have to know: that this one is not on the first device."""
        backend = self.backend
        if not backend.several or not backend.has_begun():
            return None
        index = backend.current_device()
        return Starter(me.name, backend.device(index), here()) if index else me.starter

    def unplaced(self, what: str) -> None:
        """The calling thread makes something on its current device, and names none."""
        me, backend = self.model.me(), self.backend
        if me.starter is None or backend.current_device() != 0 or backend.handle(backend.module.current_stream()) != 0:
            return  # it has chosen: by a stream of another device, or by one of this
        self.model.unplaced(me, backend.device(0), what, here())
        self.told()

    def event(self, event: Any) -> Event:
        """What the model has of one of torch's events."""
        found: Event | None = event.__dict__.get(self._of_event)
        if found is None:
            pointer = self.backend.pointer(event)
            made = self.pointers.get(pointer) or Event()
            if pointer and made.current is None:
                self.model.recorded_before(made)
            found = event.__dict__.setdefault(self._of_event, made)
        return found

    def answered(self) -> None:
        """Something has come from another process."""
        while self.exported:
            self.model.event_opened(self.exported.pop())

    def operation(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> None:
        """An operation was put on the current stream of the device that its tensors are on, or done by the host."""
        effect = effect_of(func)
        if effect.view:
            return
        accesses: list[Access] = []
        hosts: list[Access] = []
        index: int | None = None  # of the device
        shadow_of, is_on = self.shadows.of, self.backend.is_on
        for tensor, writes in touched(func, effect, args, kwargs, result):
            found = shadow_of(tensor)
            if found is not None:
                storage, bytes_ = found
                (hosts if storage.host else accesses).append((storage, bytes_, writes))
            if index is None and is_on(tensor):
                index = tensor.get_device()
        if index is None and effect.makes and not effect.fresh:  # `torch.empty`: only its result is on the device
            index = self._index_of(result)
        if hosts:  # beside tensors on a device: a number or an index, which the host takes from there at once
            self.model.host_access(self.model.me(), hosts, effect.name, here())
        if index is None:
            self.told()
            return
        stream = self.current(index)
        if effect.makes:
            self._made(result, stream)
        if accesses:
            self._launch(stream, accesses, effect.name)
        if effect.waits and waits_for(func, args, kwargs):
            self.model.synchronize_stream(self.model.me(), stream)
        self.told()

    def copy(self, target: torch.Tensor, source: torch.Tensor, *, non_blocking: bool) -> None:
        """A copy, of which one side at least is on a device, was put on a stream."""
        model, is_on = self.model, self.backend.is_on
        index = source.get_device() if is_on(source) else target.get_device()
        stream = self.current(index)
        host = next((each for each in (source, target) if not is_on(each)), None)
        lasting = host is None or (host.is_pinned() and non_blocking)
        accesses: list[Access] = []
        for tensor, writes in ((source, False), (target, True)):
            found = self.shadows.of(tensor, host=lasting)
            if found is not None:
                accesses.append((*found, writes))
        self._made(target, stream)
        if host is None and source.get_device() != target.get_device():
            self._between(target, source)
        self._launch(stream, accesses, "copy")
        if host is not None and not (non_blocking and (host.is_pinned() or host is source)):
            model.synchronize_stream(model.me(), stream)
        elif host is None and source.get_device() != target.get_device():
            self._between(source, target)
        self.told()

    def look(self, tensor: torch.Tensor, *, writes: bool = False, what: str = "a look") -> None:
        """The host itself reads, or writes, a tensor of the host."""
        found = self.shadows.of(tensor)
        if found is not None:
            self.model.host_access(self.model.me(), [(*found, writes)], what, here())
            self.told()

    def annotated(self, tensor: torch.Tensor, stream: Any, *, writes: bool) -> None:
        """A kernel that cannot be seen does this. Without a stream: on the current one, or by the host."""
        index = tensor.get_device() if self.backend.is_on(tensor) else None
        if stream is None and index is None:
            self.look(tensor, writes=writes, what="an access that the program tells of")
            return
        actor = self.current(index) if stream is None and index is not None else self.stream(stream)
        found = self.shadows.of(tensor, host=True)
        if found is not None:
            self._launch(actor, [(*found, writes)], "a kernel that the program tells of")
            self.told()

    def filled(self, tensor: torch.Tensor, what: str = "fill") -> None:
        """A kernel on the current stream fills a new tensor."""
        found = self.shadows.of(tensor)
        if found is not None:
            stream = self.current(tensor.get_device())
            self._made(tensor, stream)
            self._launch(stream, [(*found, True)], what)

    def capture_begins(self, graph: Any, mode: str) -> None:
        """What is put on the current stream from now on goes into `graph`."""
        stream = self.current(self.backend.current_device())
        graph.__dict__[self._of_graph[0]] = stream
        self.model.capture_begin(self.model.me(), stream, mode)

    def capture_ends(self, graph: Any) -> None:
        """And is known now: what it does at each replay."""
        stream: Actor = graph.__dict__[self._of_graph[0]]
        graph.__dict__[self._of_graph[1]] = self._captured.pop(stream.capture, [])
        self.model.capture_end(self.model.me(), stream, here())

    def replayed(self, graph: Any) -> None:
        """All of it, as one operation on the current stream."""
        accesses = graph.__dict__.get(self._of_graph[1])
        if accesses is None:
            self.model.blind_spot("the replay of a CUDA graph whose capture was not seen")
            return
        self._launch(self.current(self.backend.current_device()), accesses, "replay of a graph")
        self.told()

    def _launch(self, stream: Actor, accesses: list[Access], what: str) -> None:
        if stream.capture is not None:
            self._captured.setdefault(stream.capture, []).extend(accesses)
        self.model.launch(self.model.me(), stream, accesses, what, here())

    def _between(self, first: torch.Tensor, then: torch.Tensor) -> None:
        """The current stream of one device waits for that of another, by an event of torch's own."""
        self.follows(self.current(first.get_device()), self.current(then.get_device()))

    def follows(self, first: Actor, then: Actor) -> None:
        """A stream waits for another, by an event that torch makes and records in C++."""
        if first is not then:
            model, event = self.model, Event("torch's own event")
            model.record(model.me(), event, first, here())
            model.wait(model.me(), event, then, here())

    def _index_of(self, result: Any) -> int | None:
        if isinstance(result, torch.Tensor):
            return result.get_device() if self.backend.is_on(result) else None
        indices = (self._index_of(each) for each in result) if isinstance(result, list | tuple) else ()
        return next((index for index in indices if index is not None), None)

    def _made(self, result: Any, stream: Actor) -> None:
        """New memory comes from the pool of the stream that is current. A simulated one says so itself."""
        if self.backend.simulated:
            return
        if isinstance(result, torch.Tensor):
            found = self.shadows.of(result)
            if found is not None and found[0].stream is None and not found[0].host:
                self.model.alloc(found[0], stream)
        elif isinstance(result, list | tuple):
            for each in result:
                self._made(each, stream)


def _nothing() -> None:
    pass


def _nothing_of(now: bool) -> None:
    pass
