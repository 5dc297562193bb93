"""What streams and events mean, one fact a scenario: the order of device work.

These are the facts of the CUDA runtime manual ("Event Management", "Stream Management", "Stream synchronization
behavior") that `CpuGpuEvent` is built on, under the hammer: with late kernels and late driver calls, many times.
`tests/conformance` asks the same facts once each, without chance. Here is no `CpuGpuEvent`; the subject is the device.

A wait that is bound to too much would not be seen by stale data. So there the scenario is built such that waiting for
more than CUDA says can never end: it shows as a hang.

    $ cpugpu stress stress/stress_device_facts.py --stress-seconds=10
    stream_order: passed (55 executions in 0.1 s)
        outcome  times   share  grade     meaning
        ordered     55  100.0%  accepted  the work came in the order that CUDA promises
    record_captures: passed (103 executions in 0.3 s)
        outcome  times   share  grade     meaning
        ordered    103  100.0%  accepted  the work came in the order that CUDA promises
    latest_record: passed (79 executions in 0.3 s)
        outcome  times   share  grade     meaning
        ordered     79  100.0%  accepted  the work came in the order that CUDA promises
    bound_at_the_call: passed (58 executions in 0.2 s)
        outcome  times   share  grade     meaning
        free        58  100.0%  accepted  nothing was waited for but what CUDA says
    later_work_not_captured: passed (188 executions in 0.3 s)
        outcome  times   share  grade     meaning
        free       188  100.0%  accepted  nothing was waited for but what CUDA says
    many_reasons: passed (28 executions in 0.1 s)
        outcome  times   share  grade     meaning
        ordered     28  100.0%  accepted  the work came in the order that CUDA promises
    own_record: passed (210 executions in 0.3 s)
        outcome  times   share  grade     meaning
        twice      210  100.0%  accepted  the kernel before and the one behind ran once each
    unrecorded: passed (390 executions in 0.3 s)
        outcome  times   share  grade     meaning
        nothing    390  100.0%  accepted  the wait, the query and the synchronisation did nothing
    default_stream_waits: passed (118 executions in 0.3 s)
        outcome  times   share  grade     meaning
        ordered    118  100.0%  accepted  the work came in the order that CUDA promises
    blocking_stream_waits: passed (79 executions in 0.1 s)
        outcome  times   share  grade     meaning
        ordered     79  100.0%  accepted  the work came in the order that CUDA promises
    two_reasons_to_wait: passed (64 executions in 0.2 s)
        outcome  times   share  grade     meaning
        once        64  100.0%  accepted  every kernel ran once
    other_streams_run_free: passed (226 executions in 0.2 s)
        outcome  times   share  grade     meaning
        free       226  100.0%  accepted  nothing was waited for but what CUDA says
    wait_across_devices: passed (113 executions in 0.3 s)
        outcome  times   share  grade     meaning
        ordered    113  100.0%  accepted  the work came in the order that CUDA promises
    event_of_one_device: passed (115 executions in 0.2 s)
        outcome  times   share  grade     meaning
        refused    115  100.0%  accepted  the record raised
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from cpugpu import scenario
from cpugpu.device import resolve
from cpugpu.rig import HANG, Rig

SIZE, SLOW = 8, 4
#: Longer than any runner's patience.
LONGEST_SECONDS = 60.0
ORDERED = {"ordered": "the work came in the order that CUDA promises"}
STALE = {"stale": "work came before what it had to wait for"}
FREE = {"free": "nothing was waited for but what CUDA says"}
BOUND = {HANG: "something was waited for that CUDA leaves out"}


def slowly(rig: Rig, cell: Any, value: int, stream: Any) -> None:
    """Fill `cell` with `value`, with some work before it, so that nobody sees the value who has not waited."""
    for wrong in range(SLOW):
        rig.fill(cell, value + SLOW - wrong, stream)
    rig.fill(cell, value, stream)


def alone(rig: Rig, body: Callable[[], None]) -> None:
    """Everything in one thread: what is asked here is the order of the device, not of threads."""
    rig.run(body)


@contextmanager
def held_up(rig: Rig, stream: Any) -> Iterator[None]:
    """`stream` is stuck in a kernel for the length of the block."""
    gate = threading.Event()
    # So that what hangs does not stay behind for ever. Under the explorer it does not, and a timeout could end it.
    longest = None if getattr(resolve(), "scheduled", False) else LONGEST_SECONDS

    def kernel() -> None:
        gate.wait(longest)

    rig.launch(stream, kernel)
    try:
        yield
    finally:
        gate.set()


@functools.lru_cache(maxsize=4)
def blocking_stream(simulator: Any) -> Any:
    """A stream that synchronises with the legacy default stream. One for all executions: each has a thread."""
    return simulator.stream(0, blocking=True)


@scenario(accept=ORDERED, forbid=STALE)
def stream_order(rig: Rig) -> str:
    """The operations of a stream come one after the other."""
    cell, wrong = rig.buffer(0, SIZE), rig.buffer(0)

    def body() -> None:
        stream = rig.stream()
        for value in range(1, SLOW + 1):
            rig.fill(cell, value, stream)
            rig.check(cell, value, wrong, stream)

    alone(rig, body)
    return "ordered" if rig.read(wrong) == 0 else "stale"


@scenario(accept=ORDERED, forbid=STALE)
def record_captures(rig: Rig) -> str:
    """A record captures what its stream holds, and a wait holds the later work of another stream back for it."""
    event, cell, wrong = rig.event(), rig.buffer(0, SIZE), rig.buffer(0)

    def body() -> None:
        records, waits = rig.stream(), rig.stream()
        slowly(rig, cell, 1, records)
        event.record(records)
        event.wait(waits)
        rig.check(cell, 1, wrong, waits)

    alone(rig, body)
    return "ordered" if rig.read(wrong) == 0 else "stale"


@scenario(accept=ORDERED, forbid=STALE)
def latest_record(rig: Rig) -> str:
    """A wait is bound to the record that was made last when it is called."""
    event, cell, wrong = rig.event(), rig.buffer(0, SIZE), rig.buffer(0)

    def body() -> None:
        first, second, waits = rig.stream(), rig.stream(), rig.stream()
        event.record(first)
        slowly(rig, cell, 1, second)
        event.record(second)
        event.wait(waits)
        rig.check(cell, 1, wrong, waits)

    alone(rig, body)
    return "ordered" if rig.read(wrong) == 0 else "stale"


@scenario(accept=FREE, forbid={**BOUND, **STALE})
def bound_at_the_call(rig: Rig) -> str:
    """A later record changes nothing for a wait that was called before it, even if that one comes behind the wait."""
    event, after, cell, wrong = rig.event(), rig.event(), rig.buffer(0, SIZE), rig.buffer(0)

    def body() -> None:
        first, waits, second = rig.stream(), rig.stream(), rig.stream()
        slowly(rig, cell, 1, first)
        event.record(first)
        event.wait(waits)
        rig.check(cell, 1, wrong, waits)
        after.record(waits)
        after.wait(second)
        event.record(second)

    alone(rig, body)
    return "free" if rig.read(wrong) == 0 else "stale"


@scenario(accept=FREE, forbid=BOUND, only=("simulator",))
def later_work_not_captured(rig: Rig) -> str:
    """What a stream gets after the record is not waited for."""
    event, cell = rig.event(), rig.buffer(0, SIZE)

    def body() -> None:
        records, waits = rig.stream(), rig.stream()
        rig.fill(cell, 1, records)
        event.record(records)
        with held_up(rig, records):
            event.wait(waits)
            rig.fill(cell, 2, waits)
            waits.synchronize()

    alone(rig, body)
    return "free"


@scenario(accept=ORDERED, forbid=STALE)
def many_reasons(rig: Rig) -> str:
    """A stream that waits for several records waits for all of them."""
    cells = [rig.buffer(0, SIZE) for _ in range(SLOW)]
    wrong = rig.buffer(0)

    def body() -> None:
        waits = rig.stream()
        for cell in cells:
            stream, event = rig.stream(), rig.event()
            rig.fill(cell, 1, stream)
            event.record(stream)
            event.wait(waits)
        for cell in cells:
            rig.check(cell, 1, wrong, waits)

    alone(rig, body)
    return "ordered" if rig.read(wrong) == 0 else "stale"


@scenario(accept={"twice": "the kernel before and the one behind ran once each"}, forbid={"else": "they did not"})
def own_record(rig: Rig) -> str:
    """A stream may wait for its own record."""
    event, count = rig.event(), rig.buffer(0, SIZE)

    def body() -> None:
        stream = rig.stream()
        rig.add(count, 1, stream)
        event.record(stream)
        event.wait(stream)
        rig.add(count, 1, stream)

    alone(rig, body)
    return "twice" if set(rig.read(count)) == {2} else "else"


@scenario(
    accept={"nothing": "the wait, the query and the synchronisation did nothing"},
    forbid=BOUND,
    breaks=("unrecorded-wait", "unrecorded-query", "unrecorded-synchronize"),
)
def unrecorded(rig: Rig) -> str:
    """An event that nobody has recorded is an empty set of work: nothing to wait for, and all of it is done."""
    event, cell = rig.event(), rig.buffer(0)
    done = rig.cell(False)

    def body() -> None:
        stream = rig.stream()
        event.wait(stream)
        rig.fill(cell, 1, stream)
        done.set(event.query())
        event.synchronize()

    alone(rig, body)
    return "nothing" if done.get() and rig.read(cell) == 1 else "something"


@scenario(accept=ORDERED, forbid=STALE, only=("simulator",))
def default_stream_waits(rig: Rig) -> str:
    """The legacy default stream waits for all work of blocking streams."""
    cell, wrong = rig.buffer(0, SIZE), rig.buffer(0)

    def body() -> None:
        device: Any = resolve()
        slowly(rig, cell, 1, blocking_stream(device.simulator))
        rig.check(cell, 1, wrong, device.default_stream())

    alone(rig, body)
    return "ordered" if rig.read(wrong) == 0 else "stale"


@scenario(accept=ORDERED, forbid=STALE, only=("simulator",))
def blocking_stream_waits(rig: Rig) -> str:
    """Blocking streams wait for all work of the legacy default stream."""
    cell, wrong = rig.buffer(0, SIZE), rig.buffer(0)

    def body() -> None:
        device: Any = resolve()
        slowly(rig, cell, 1, device.default_stream())
        rig.check(cell, 1, wrong, blocking_stream(device.simulator))

    alone(rig, body)
    return "ordered" if rig.read(wrong) == 0 else "stale"


@scenario(accept={"once": "every kernel ran once"}, forbid={"else": "they did not"}, only=("simulator",))
def two_reasons_to_wait(rig: Rig) -> str:
    """A blocking stream may wait for an event of the default stream, for which it waits anyway."""
    event, count = rig.event(), rig.buffer(0, SIZE)

    def body() -> None:
        device: Any = resolve()
        default, blocking = device.default_stream(), blocking_stream(device.simulator)
        rig.add(count, 1, default)
        event.record(default)
        event.wait(blocking)
        rig.add(count, 1, blocking)

    alone(rig, body)
    return "once" if set(rig.read(count)) == {2} else "else"


@scenario(accept=FREE, forbid=BOUND, only=("simulator",))
def other_streams_run_free(rig: Rig) -> str:
    """Streams that are not blocking, which are all of torch's, do not wait for the legacy default stream."""
    cell = rig.buffer(0, SIZE)

    def body() -> None:
        device: Any = resolve()
        with held_up(rig, device.default_stream()):
            stream = rig.stream()
            rig.fill(cell, 1, stream)
            stream.synchronize()

    alone(rig, body)
    return "free"


@scenario(accept=ORDERED, forbid=STALE, only=("two devices",))
def wait_across_devices(rig: Rig) -> str:
    """A stream of one device may wait for an event of another one."""
    event, cell, wrong = rig.event(), rig.buffer(0, SIZE), rig.buffer(0, device=1)

    def body() -> None:
        records, waits = rig.stream(), rig.stream(device=1)
        slowly(rig, cell, 1, records)
        event.record(records)
        event.wait(waits)
        seen = rig.buffer(0, SIZE, device=1)
        rig.copy(cell, seen, waits)
        rig.check(seen, 1, wrong, waits)

    alone(rig, body)
    return "ordered" if rig.read(wrong) == 0 else "stale"


@scenario(
    accept={"refused": "the record raised"},
    forbid={"recorded": "the record went through, and nobody knows what it has captured"},
    only=("two devices",),
)
def event_of_one_device(rig: Rig) -> str:
    """The first record binds an event to its device; a record on another device is an error."""
    event, outcome = rig.event(), rig.cell("recorded")

    def body() -> None:
        event.record(rig.stream())
        try:
            event.record(rig.stream(device=1))
        except RuntimeError:
            outcome.set("refused")

    alone(rig, body)
    return outcome.get()
