"""What the host knows of a device, one fact a scenario: when work is done, which stream is current, what has failed.

As in `stress_device_facts` the subject is the device, and the source is the CUDA runtime manual; that a current stream
belongs to a thread, that streams come from a pool of 32, and that a first use of a stream by none makes it the current
one are torch's (c10/cuda/CUDAStream.cpp).

    $ cpugpu stress stress/stress_device_host.py --stress-seconds=10
    event_query: passed (74 executions in 0.2 s)
        outcome  times   share  grade     meaning
        done        74  100.0%  accepted  the host saw the results
    stream_query: passed (68 executions in 0.2 s)
        outcome  times   share  grade     meaning
        done        68  100.0%  accepted  the host saw the results
    event_synchronize: passed (158 executions in 0.3 s)
        outcome  times   share  grade     meaning
        done       158  100.0%  accepted  the host saw the results
    stream_synchronize: passed (77 executions in 0.2 s)
        outcome  times   share  grade     meaning
        done        77  100.0%  accepted  the host saw the results
    device_synchronize: passed (45 executions in 0.3 s)
        outcome  times   share  grade     meaning
        done        45  100.0%  accepted  the host saw the results
    captured_work_only: passed (236 executions in 0.3 s)
        outcome  times   share  grade     meaning
        free       236  100.0%  accepted  nothing was waited for but what CUDA says
    two_threads_synchronize: passed (187 executions in 0.3 s)
        outcome  times   share  grade     meaning
        woken      187  100.0%  accepted  both threads went on
    no_stream_is_the_current_one: passed (81 executions in 0.3 s)
        outcome  times   share  grade     meaning
        ordered     81  100.0%  accepted  the work came in the order that CUDA promises
    current_stream_of_a_thread: passed (140 executions in 0.2 s)
        outcome  times   share  grade     meaning
        own        140  100.0%  accepted  each thread had a current stream of its own, and the former one afterwards
    pool_of_streams: passed (581 executions in 0.3 s)
        outcome  times   share  grade     meaning
        pool       581  100.0%  accepted  32 streams, and then the first one again
    kernels_are_not_atomic: passed (310 executions in 0.3 s)
        outcome  times   share  grade     meaning
        torn       310  100.0%  accepted  the host saw a kernel half done
    elapsed_time: passed (66 executions in 0.2 s)
        outcome  times   share  grade     meaning
        forward     66  100.0%  accepted  time went on between two records
    error_sticks: passed (47 executions in 0.2 s)
        outcome  times   share  grade     meaning
        sticks      47  100.0%  accepted  every call reported the error
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any

from cpugpu import scenario
from cpugpu.device import resolve
from cpugpu.device.simulated import SimulatedDevice, Simulator
from cpugpu.errors import DeviceError
from cpugpu.rig import HANG, Rig
from stress.stress_device_facts import BOUND, FREE, ORDERED, SIZE, STALE, alone, held_up, slowly

POOL, ROUNDS, KERNELS, LARGE, MACHINES = 32, 3, 50, 1 << 16, 16
DONE = {"done": "the host saw the results"}
EARLY = {"early": "the host was told too early that the work is done"}


def host_sees(rig: Rig, waits: Callable[[Any, Any], None]) -> str:
    """Fill, record, let the host wait in some way, and look at once, without any further synchronisation."""
    event, cell = rig.event(), rig.buffer(0, SIZE)
    seen = rig.cell(False)

    def body() -> None:
        stream = rig.stream()
        slowly(rig, cell, 1, stream)
        event.record(stream)
        waits(event, stream)
        seen.set(set(resolve().read(cell)) == {1})

    alone(rig, body)
    return "done" if seen.get() else "early"


@scenario(accept=DONE, forbid=EARLY)
def event_query(rig: Rig) -> str:
    """An event whose query is True is done."""
    return host_sees(rig, lambda event, stream: rig.until(event.query))  # noqa: ARG005


@scenario(accept=DONE, forbid=EARLY)
def stream_query(rig: Rig) -> str:
    """A stream whose query is True is idle."""
    event, cell = rig.event(), rig.buffer(0, SIZE)
    seen = rig.cell(False)

    def body() -> None:
        stream = rig.stream()
        event.record(stream)
        slowly(rig, cell, 1, stream)  # a kernel is last in the stream, not a record
        rig.until(lambda: not rig.busy(stream))
        seen.set(set(resolve().read(cell)) == {1})

    alone(rig, body)
    return "done" if seen.get() else "early"


@scenario(accept=DONE, forbid=EARLY)
def event_synchronize(rig: Rig) -> str:
    """Synchronising with an event blocks until what it has captured is done."""
    return host_sees(rig, lambda event, stream: event.synchronize())  # noqa: ARG005


@scenario(accept=DONE, forbid=EARLY)
def stream_synchronize(rig: Rig) -> str:
    """Synchronising with a stream blocks until its work is done."""
    return host_sees(rig, lambda event, stream: stream.synchronize())  # noqa: ARG005


@scenario(accept=DONE, forbid=EARLY)
def device_synchronize(rig: Rig) -> str:
    """Synchronising with a device blocks until the work of all its streams is done."""
    cells = [rig.buffer(0, SIZE) for _ in range(SIZE)]
    seen = rig.cell(False)

    def body() -> None:
        for cell in cells:
            slowly(rig, cell, 1, rig.stream())
        resolve().synchronize()
        seen.set({value for cell in cells for value in resolve().read(cell)} == {1})

    alone(rig, body)
    return "done" if seen.get() else "early"


@scenario(accept=FREE, forbid=BOUND, only=("simulator",))
def captured_work_only(rig: Rig) -> str:
    """Synchronising with an event does not wait for what its stream got after the record."""
    event = rig.event()

    def body() -> None:
        stream = rig.stream()
        rig.fill(rig.buffer(0, SIZE), 1, stream)
        event.record(stream)
        with held_up(rig, stream):
            event.synchronize()

    alone(rig, body)
    return "free"


@scenario(accept={"woken": "both threads went on"}, forbid={HANG: "a thread was not told that the work is done"})
def two_threads_synchronize(rig: Rig) -> str:
    """Any number of threads may synchronise with one event."""
    event, cell = rig.event(), rig.buffer(0, SIZE)
    stream = rig.stream()
    slowly(rig, cell, 1, stream)
    event.record(stream)

    def one() -> None:
        event.synchronize()

    def other() -> None:
        event.synchronize()

    rig.run(one, other)
    return "woken"


@scenario(accept=ORDERED, forbid=STALE)
def no_stream_is_the_current_one(rig: Rig) -> str:
    """A record without a stream captures the thread's current stream, a wait without one holds that back."""
    event, cell, wrong = rig.event(), rig.buffer(0, SIZE), rig.buffer(0)

    def body() -> None:
        records, waits = rig.stream(), rig.stream()
        with rig.on(records):
            slowly(rig, cell, 1, records)
            event.record()
        with rig.on(waits):
            event.wait()
            rig.check(cell, 1, wrong, waits)

    alone(rig, body)
    return "ordered" if rig.read(wrong) == 0 else "stale"


@scenario(
    accept={"own": "each thread had a current stream of its own, and the former one afterwards"},
    forbid={"another": "a thread had another current stream"},
)
def current_stream_of_a_thread(rig: Rig) -> str:
    """A current stream belongs to a thread, for the length of a `with` block; a thread starts on the default one."""
    right = rig.cell(True)

    def body() -> None:
        stream, device = rig.stream(), resolve()
        for _ in range(ROUNDS):
            before = device.current_stream()
            with rig.on(stream):
                rig.pause()
                chosen = device.current_stream() == stream
            after = device.current_stream()
            right.update(lambda so_far: so_far and chosen and after == before != stream)

    def other() -> None:
        body()

    rig.run(body, other)
    return "own" if right.get() else "another"


@scenario(
    accept={"pool": "32 streams, and then the first one again"},
    forbid={"else": "another stream was handed out"},
    only=("simulator",),
)
def pool_of_streams(rig: Rig) -> str:
    """The 33rd stream is the first one again, the 34th the second."""
    streams: list[Any] = []

    def body() -> None:
        streams.extend(resolve().stream() for _ in range(POOL + 2))

    alone(rig, body)
    distinct = len({id(stream) for stream in streams}) == POOL
    return "pool" if distinct and streams[POOL] is streams[0] and streams[POOL + 1] is streams[1] else "else"


@scenario(
    accept={"torn": "the host saw a kernel half done"},
    forbid={"whole": "no kernel was ever seen half done, in fifty"},
    only=("simulator", "real time"),
)
def kernels_are_not_atomic(rig: Rig) -> str:
    """A kernel over several elements is not atomic: whoever does not wait for it may see some of them."""
    torn = rig.cell(False)

    def body() -> None:
        stream, cell = rig.stream(), rig.buffer(0, LARGE)
        contents: Any = cell.data
        for value in range(1, KERNELS + 1):
            rig.fill(cell, value, stream)
            rig.until(lambda: contents[0] == value)
            if contents[-1] != value:
                torn.set(True)
                return

    alone(rig, body)
    return "torn" if torn.get() else "whole"


@scenario(accept={"forward": "time went on between two records"}, forbid={"backward": "it went back"})
def elapsed_time(rig: Rig) -> str:
    """The time between two records of a stream is known when the second one is done, and not negative."""
    begin, end = resolve().event(timing=True), resolve().event(timing=True)
    cell = rig.buffer(0, SIZE)

    def body() -> None:
        stream = rig.stream()
        begin.record(stream)
        slowly(rig, cell, 1, stream)
        end.record(stream)
        rig.until(end.query)

    alone(rig, body)
    elapsed: Any = begin
    return "forward" if elapsed.elapsed_time(end) >= 0 else "backward"


@scenario(
    accept={"sticks": "every call reported the error"},
    forbid={"forgotten": "a call went through on a device that is broken"},
    only=("simulator", "real time"),
)
def error_sticks(rig: Rig) -> str:
    """A kernel that fails breaks its device for good: every later call says so.

    On a real device that is the end of the process, and here of a simulator; so it is one of the scenario's own.
    """
    told = rig.cell(True)

    def body() -> None:
        device = broken_device(rig.random().randrange(MACHINES))
        stream, event = device.stream(), device.event()
        calls: list[Callable[[], object]] = [
            lambda: device.fill(device.buffer(0), 1, stream),
            lambda: event.record(stream),
            lambda: event.wait(stream),
            stream.query,
            stream.synchronize,
            device.synchronize,
        ]
        for call in calls:
            rig.pause()
            try:
                call()
                told.set(False)
            except DeviceError:
                continue

    alone(rig, body)
    return "sticks" if told.get() else "forgotten"


@functools.lru_cache(maxsize=MACHINES)
def broken_device(number: int) -> SimulatedDevice:
    """One of some devices on which a kernel has failed. They are kept: each has had a thread."""

    def fails() -> None:
        raise ArithmeticError("a kernel that fails")

    device = SimulatedDevice(Simulator(seed=number), 0)
    stream, event = device.stream(), device.event()
    device.launch(stream, fails)
    with contextlib.suppress(DeviceError):  # the first calls may come too early to be told
        event.record(stream)
        event.synchronize()
    return device
