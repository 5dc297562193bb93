"""Streams, events and buffers of the simulated device, with torch's names and meanings."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

from cpugpu.device.simulated.graph import Graph
from cpugpu.device.simulated.model import EventState, StreamState

if TYPE_CHECKING:
    from cpugpu.device.simulated.simulator import Simulator


class SimStream:
    """A stream of a simulated device, as `torch.cuda.Stream` is one of a real device."""

    def __init__(self, simulator: Simulator, state: StreamState) -> None:
        self.simulator = simulator
        self.state = state

    @property
    def device_index(self) -> int:
        """The number of its device."""
        return self.state.device.index

    @property
    def priority(self) -> int:
        """A hint: lower is more urgent."""
        return self.state.priority

    def query(self) -> bool:
        """Is all work that was submitted so far done?"""
        with self.simulator.driver.turn("query", self.state) as machine:
            self.simulator.ask(lambda thread: machine.captures.check_stream(self.state, thread))
        self.state.device.raise_error()
        return self.state.idle

    def synchronize(self) -> None:
        """Block the calling thread until all work submitted so far is done."""
        with self.simulator.driver.turn("synchronize", self.state) as machine:
            self.simulator.ask(lambda thread: machine.captures.check_stream(self.state, thread))
            last = self.state.last
        self.simulator.driver.block([last])
        self.state.device.raise_error()

    def record_event(self, event: SimEvent | None = None) -> SimEvent:
        """Record `event`, or a new one, on this stream and return it."""
        event = event or SimEvent(self.simulator)
        event.record(self)
        return event

    def wait_event(self, event: SimEvent) -> None:
        """Let future work of this stream wait for `event`."""
        event.wait(self)

    def is_capturing(self) -> bool:
        """Does what is enqueued on it go into a graph?"""
        return self.state.capture is not None

    def begin_capture(self, mode: str = "global", pool: object = None) -> None:
        """From now on what is enqueued here goes into a graph. `mode`: see `cudaStreamBeginCapture`."""
        with self.simulator.driver.turn("begin capture", self.state) as machine:
            self.simulator.ask(lambda thread: machine.captures.begin(self.state, mode, thread, pool), changes=True)

    def end_capture(self) -> SimGraph:
        """The graph of what was enqueued since the capture began here, on this stream and those that came into it."""
        with self.simulator.driver.turn("end capture", self.state) as machine:
            graph = self.simulator.ask(lambda thread: machine.end_capture(self.state, thread), changes=True)
        return SimGraph(self.simulator, graph)

    def wait_stream(self, stream: SimStream) -> None:
        """Let future work of this stream wait for the work that `stream` holds now."""
        self.wait_event(stream.record_event())

    def __repr__(self) -> str:
        return f"<SimStream {self.state.name}>"


class SimEvent:
    """An event of a simulated device, as `torch.cuda.Event` is one of a real device.

    It is bound to a device by its first record. Waiting for it, synchronising with it or asking it before that is a
    no-op that succeeds.
    """

    def __init__(self, simulator: Simulator, *, enable_timing: bool = False, external: bool = False) -> None:
        self.simulator = simulator
        self._state = EventState(timing=enable_timing, external=external)
        simulator.driver.made(self._state)

    @property
    def device_index(self) -> int | None:
        """The number of its device, None before the first record."""
        return None if self._state.device is None else self._state.device.index

    def record(self, stream: SimStream | None = None) -> None:
        """Capture what `stream`, or the calling thread's current stream, holds now."""
        state = self._stream(stream).state
        with self.simulator.driver.turn("record", state, self._state) as machine:
            self.simulator.driver.started(machine.record(self._state, state))

    def wait(self, stream: SimStream | None = None) -> None:
        """Let future work of `stream`, or of the calling thread's current stream, wait for the latest capture."""
        state = self._stream(stream).state
        with self.simulator.driver.turn("wait", state, self._state) as machine:
            self.simulator.driver.started(machine.wait(self._state, state))

    def query(self) -> bool:
        """Is the captured work done? True before the first record."""
        with self.simulator.driver.turn("query", event=self._state) as machine:
            self.simulator.ask(lambda thread: machine.captures.check_event(self._state, thread))
        if self._state.device is not None:
            self._state.device.raise_error()
        return self._state.done

    def synchronize(self) -> None:
        """Block the calling thread until the captured work is done. Returns at once before the first record."""
        with self.simulator.driver.turn("synchronize", event=self._state) as machine:
            self.simulator.ask(lambda thread: machine.captures.check_event(self._state, thread))
            captured = self._state.captured
        self.simulator.driver.block([captured])
        if self._state.device is not None:
            self._state.device.raise_error()

    def elapsed_time(self, end_event: SimEvent) -> float:
        """Milliseconds from this event's record to `end_event`'s."""
        with self.simulator.driver as machine:
            return machine.elapsed_ms(self._state, end_event._state, self.simulator.thread)

    def _stream(self, stream: Any) -> SimStream:
        if stream is None:
            return self.simulator.current_stream(self.simulator.current_index)
        return check_stream(stream, self.simulator)

    def __repr__(self) -> str:
        return f"<SimEvent {'unrecorded' if self._state.captured is None else self._state.captured}>"


class SimGraph:
    """What a capture has made, to be launched as often as one likes."""

    def __init__(self, simulator: Simulator, graph: Graph) -> None:
        self.simulator = simulator
        self.graph = graph
        for thing in (graph, *graph.branches):
            simulator.driver.made(thing)

    @property
    def footprint(self) -> tuple[object, ...]:
        """What a launch changes, beside the stream that it is on."""
        return (self.graph, *self.graph.branches, *self.graph.events)

    def launch(self, stream: SimStream | None = None) -> None:
        """Enqueue it on `stream`, or on the calling thread's current stream."""
        on = self.simulator.current_stream(self.simulator.current_index) if stream is None else stream
        state = check_stream(on, self.simulator).state
        self.simulator.driver.step(f"launch a graph on {state}", writes=(state, *self.footprint))
        self.enqueue(state)

    def enqueue(self, stream: StreamState) -> None:
        """Launch it: whoever calls has seen to its turn."""
        driver = self.simulator.driver
        with driver as machine:
            self.graph.launch(machine, stream, driver.started)


class SimBuffer:
    """Integers in the memory of a simulated device. Kernels touch `data`; a program that does so itself races."""

    def __init__(self, value: int, size: int) -> None:
        self.data = array("q", [value]) * size

    @property
    def size(self) -> int:
        """How many integers."""
        return len(self.data)


def check_stream(stream: Any, simulator: Simulator) -> SimStream:
    """`stream`, if it is one of this simulator."""
    if not isinstance(stream, SimStream):
        raise TypeError(f"{stream!r} is no stream of the simulated device; allowed are SimStream and None")
    if stream.simulator is not simulator:
        raise ValueError(f"{stream!r} belongs to another simulator")
    return stream
