"""A process that hands work over makes another one, which does so as well.

A forked child has a copy of every lock, in the state in which it was, and none of the threads that would release it. A
data loader that forked while a thread pinned memory hung now and then (pt#130610); on CUDA the child cannot use the
device at all, "Cannot re-initialize CUDA in forked subprocess" (vllm#12754). A child that makes its own events, on a
device of its own, has to be fine in spite of what it has inherited, and its parent must not notice.

`forked` forks in the middle of hand-offs, with their threads inside the event. (CPython 3.12 and later warn of that
with a DeprecationWarning, rightly; it is the point here, and so the warning is not shown.) Real accelerators are left
out. `spawned` starts a fresh interpreter, everywhere; that takes its time.

    $ cpugpu stress stress/stress_processes.py --stress-seconds=10
    forked[CpuGpuEvent]: passed (91 executions in 1.8 s)
        outcome  times   share  grade     meaning
        fresh       91  100.0%  accepted  parent and child handed over, each its own
    spawned[CpuGpuEvent]: passed (16 executions in 1.9 s)
        outcome  times   share  grade     meaning
        fresh       16  100.0%  accepted  parent and child handed over, each its own
"""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import threading
import warnings
from collections.abc import Callable

from cpugpu import CpuGpuEvent, scenario
from cpugpu.device import Device, resolve, using
from cpugpu.device.simulated import SimulatedDevice, Simulator
from cpugpu.rig import Rig

SIZE, GENERATIONS = 8, 4
#: Seconds until a child counts as hung. Shorter than the hammer's patience where the parent's threads wait with it.
FORKED, SPAWNED = 3.0, 60.0


def hand_off_in(device: Device, make_event: type[CpuGpuEvent]) -> bool:
    """A hand-off between two threads of this process. Was it in order?"""
    with using(device):
        ready, cell, wrong = make_event(), device.buffer(0, SIZE), device.buffer(0)

    def producer() -> None:
        stream = device.stream()
        device.fill(cell, 1, stream)
        ready.record(stream)

    thread = threading.Thread(target=producer)
    thread.start()
    stream = device.stream()
    ready.wait(stream)
    device.mismatches(cell, 1, wrong, stream)
    thread.join()
    device.synchronize()
    return device.read(wrong) == (0,)


def fork(child: Callable[[], str], seconds: float) -> str:
    """Call `child` in a forked process: what it has returned, `"child hung"`, or `"child died"`. It leaves nothing."""
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of 3.12, that there are threads
        process = os.fork()
    if process == 0:
        try:
            os.write(write, child().encode())
        finally:
            os._exit(0)  # not through what the parent has on its stack
    os.close(write)
    try:
        told, _, _ = select.select([read], [], [], seconds)
        answer = os.read(read, 100).decode() if told else "child hung"
    finally:
        os.close(read)
        os.kill(process, signal.SIGKILL)  # it is there, at least as a zombie, until it is waited for
        os.waitpid(process, 0)
    return answer or "child died"


CHILDREN = {
    "child hung": "the child did not come to its end and was killed",
    "child died": "the child ended without an answer",
    "child wrong": "the child's own hand-off was not in order",
}


@scenario(
    accept={"fresh": "parent and child handed over, each its own"},
    forbid={"stale": "the parent's hand-offs were disturbed"} | CHILDREN,
    only=("fork", "no scheduler"),
)
def forked(rig: Rig, make_event: type[CpuGpuEvent] = CpuGpuEvent) -> str:
    """Two threads hand over, a third one forks."""
    ready, wrong, consumed, answer = make_event(), rig.buffer(0), rig.cell(0), rig.cell("")
    cells = [rig.buffer(0, SIZE) for _ in range(GENERATIONS)]

    def producer() -> None:
        stream = rig.stream()
        for number, cell in enumerate(cells):
            rig.fill(cell, 1, stream)
            rig.until(lambda: consumed.get() == number, consumed)
            ready.record(stream)

    def consumer() -> None:
        stream = rig.stream()
        for cell in cells:
            ready.wait(stream)
            consumed.update(lambda times: times + 1)
            rig.check(cell, 1, wrong, stream)

    def child() -> str:
        return "fresh" if hand_off_in(SimulatedDevice(Simulator()), make_event) else "child wrong"

    def forker() -> None:
        answer.set(fork(child, FORKED))

    rig.run(producer, consumer, forker)
    return answer.get() if rig.read(wrong) == 0 else "stale"


def in_spawned_child(device: str, make_event: type[CpuGpuEvent]) -> None:
    """What the spawned process does; its exit status tells."""
    os._exit(0 if hand_off_in(resolve(device), make_event) else 1)


@scenario(
    accept={"fresh": "parent and child handed over, each its own"},
    forbid={"stale": "the parent's hand-off was disturbed"} | CHILDREN,
    only=("no scheduler", "spawn"),
)
def spawned(rig: Rig, make_event: type[CpuGpuEvent] = CpuGpuEvent) -> str:  # noqa: ARG001
    """The parent hands over, and a child that was started meanwhile, on a device of the same kind."""
    arguments = resolve().name, make_event
    child = multiprocessing.get_context("spawn").Process(target=in_spawned_child, args=arguments, daemon=True)
    child.start()
    try:
        good = hand_off_in(resolve(), make_event)
        child.join(SPAWNED)
        if child.is_alive():
            return "child hung"
        if not good:
            return "stale"
        return "fresh" if child.exitcode == 0 else "child wrong" if child.exitcode == 1 else "child died"
    finally:
        child.kill()
        child.join()
        child.close()
