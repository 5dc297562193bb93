"""Two threads take turns with one buffer, each handing it to the other.

Two events of opposite direction, one buffer, each thread adds 1 to every element in its turn. A turn that does not wait
for the other side's kernel loses an addition.

    $ cpugpu stress stress/stress_ping_pong.py --stress-seconds=5
    ping_pong[CpuGpuEvent]: passed (757 executions in 5.0 s)
        outcome  times   share  grade     meaning
        whole      757  100.0%  accepted  no addition was lost
"""

from __future__ import annotations

from cpugpu import CpuGpuEvent, scenario
from cpugpu.rig import Rig

SIZE, ROUNDS = 16, 3


@scenario(accept={"whole": "no addition was lost"}, forbid={"lost": "a turn began before the other one was over"})
def ping_pong(rig: Rig, make_event: type[CpuGpuEvent] = CpuGpuEvent) -> str:
    """`ping` adds and records there; `pong` waits, adds and records back."""
    there, back, ball, wrong = make_event(), make_event(), rig.buffer(0, SIZE), rig.buffer(0)

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

    rig.run(ping, pong)
    return "whole" if rig.read(wrong) == 0 else "lost"
