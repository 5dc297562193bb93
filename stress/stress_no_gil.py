"""Two threads hand over and a third one looks on, at the same time in earnest: there is no GIL.

With a GIL, two threads never execute Python at once; a flag that is written after its payload is read after it, and
plain attributes will do where they should not. Free-threaded CPython takes that away (H33, pt#178867), and with it what
the class before this one leaned on. The gate of `CpuGpuEvent` is a lock; what its properties read is meant to be read
at any moment.

Many hand-offs in either direction, over one buffer; the third thread reads every property all the while: generations
must not run backwards, nothing may raise.

    $ cpugpu stress stress/stress_no_gil.py --stress-seconds=2
    SKIPPED needs an interpreter without a GIL (CPython 3.13t or later)
"""

from __future__ import annotations

from cpugpu import CpuGpuEvent, scenario
from cpugpu.rig import Rig

SIZE, ROUNDS, LOOKS = 8, 20, 100


@scenario(
    accept={"whole": "no hand-off was lost, and whoever looked saw generations in order"},
    forbid={
        "lost": "a turn began before the other one was over",
        "backwards": "a generation was seen after a later one",
    },
    needs=("generation", "pending", "closed"),
    only=("no GIL",),
)
def no_gil(rig: Rig, make_event: type[CpuGpuEvent] = CpuGpuEvent) -> str:
    """Two players and a spectator."""
    there, back, ball, wrong = make_event(), make_event(), rig.buffer(0, SIZE), rig.buffer(0)
    backwards = rig.cell(False)

    def ping() -> None:
        stream = rig.stream()
        for _ in range(ROUNDS):
            rig.add(ball, 1, stream)
            there.record(stream)
            back.wait(stream)
        rig.check(ball, 2 * ROUNDS, wrong, stream)

    def pong() -> None:
        stream = rig.stream()
        for _ in range(ROUNDS):
            there.wait(stream)
            rig.add(ball, 1, stream)
            back.record(stream)

    def spectator() -> None:
        seen = 0
        for _ in range(LOOKS):
            generation, closed, _, _ = there.generation, there.closed, there.pending, repr(there)
            if generation < seen or closed:
                backwards.set(True)
            seen = generation

    rig.run(ping, pong, spectator)
    if rig.read(wrong) != 0:
        return "lost"
    return "backwards" if backwards.get() else "whole"
