"""A hand-off from one device to another, and one event for streams of both.

A stream may wait for an event of another device, but a device event belongs to the device on which it was first
recorded: recording it on a stream of another one is an error. A pool that lent events without regard to that lost the
order of its buffers wherever the error was ignored, and the answers were wrong now and then (NVIDIA/cuCascade#189,
hazard H12). `CpuGpuEvent` keeps two device events and gets another one where the device changes.

`two_devices` hands a buffer of the one over to the other, which copies it. In `one_event_two_devices` the producer
records on both in turn.

    $ cpugpu stress stress/stress_two_devices.py --stress-seconds=6
    two_devices[CpuGpuEvent]: passed (552 executions in 1.8 s)
        outcome  times   share  grade     meaning
        fresh      552  100.0%  accepted  the other device copied what was there
    one_event_two_devices[CpuGpuEvent]: passed (197 executions in 1.8 s)
        outcome  times   share  grade     meaning
        fresh      197  100.0%  accepted  every wait was bound to its record, of whichever device
"""

from __future__ import annotations

from cpugpu import CpuGpuEvent, scenario
from cpugpu.rig import Rig

SIZE, GENERATIONS, SLOW = 8, 4, 4


@scenario(
    accept={"fresh": "the other device copied what was there"},
    forbid={"stale": "the other device was early"},
    only=("two devices",),
)
def two_devices(rig: Rig, make_event: type[CpuGpuEvent] = CpuGpuEvent) -> str:
    """The producer fills on device 0, the consumer copies to device 1."""
    ready = make_event()
    cell, seen, wrong = rig.buffer(0, SIZE), rig.buffer(0, SIZE, device=1), rig.buffer(0, device=1)

    def producer() -> None:
        stream = rig.stream()
        rig.fill(cell, 1, stream)
        ready.record(stream)

    def consumer() -> None:
        stream = rig.stream(device=1)
        with rig.on(stream):  # and so on its device: a new thread is on device 0 (H11)
            ready.wait(stream)
            rig.copy(cell, seen, stream)
            rig.check(seen, 1, wrong, stream)

    rig.run(producer, consumer)
    return "fresh" if rig.read(wrong) == 0 else "stale"


@scenario(
    accept={"fresh": "every wait was bound to its record, of whichever device"},
    forbid={"stale": "a wait was bound to a record of the other device"},
    only=("two devices",),
)
def one_event_two_devices(rig: Rig, make_event: type[CpuGpuEvent] = CpuGpuEvent) -> str:
    """The producer records on a stream of either device in turn."""
    ready = make_event()
    cells = [rig.buffer(0, SIZE, device=number % 2) for number in range(GENERATIONS)]
    wrong = [rig.buffer(0, device=number) for number in range(2)]
    consumed = rig.cell(0)

    def producer() -> None:
        streams = [rig.stream(device=number) for number in range(2)]
        for number, cell in enumerate(cells):
            for value in range(SLOW, 0, -1):
                rig.fill(cell, value, streams[number % 2])
            rig.until(lambda: consumed.get() == number, consumed)
            with rig.on(streams[number % 2]):
                ready.record(streams[number % 2])

    def consumer() -> None:
        streams = [rig.stream(device=number) for number in range(2)]
        for number, cell in enumerate(cells):
            with rig.on(streams[number % 2]):
                ready.wait(streams[number % 2])
            consumed.set(number + 1)
            rig.check(cell, 1, wrong[number % 2], streams[number % 2])

    rig.run(producer, consumer)
    return "fresh" if rig.read(wrong[0]) == rig.read(wrong[1]) == 0 else "stale"
