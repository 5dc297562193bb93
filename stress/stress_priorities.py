"""Streams of different priority: a hand-off up, and one down.

Background work (offloading in vllm#37160, collectives in torchrec#1076) gets a stream of another priority than the
model. A priority decides what the hardware takes first when both could run. It is a hint: no work waits because of it,
and running work is not interrupted. So it neither replaces an event nor changes what one means: a stream of high
priority waits for a record on a low one, however long that takes, and the other way round.

    $ cpugpu stress stress/stress_priorities.py --stress-seconds=2
    priorities[CpuGpuEvent]: passed (240 executions in 2.0 s)
        outcome  times   share  grade     meaning
        ordered    240  100.0%  accepted  each side saw what the other one had handed over
"""

from __future__ import annotations

from cpugpu import CpuGpuEvent, scenario
from cpugpu.rig import Rig

LOW, HIGH = 0, -1
SIZE, SLOW, ROUNDS = 8, 4, 2


@scenario(
    accept={"ordered": "each side saw what the other one had handed over"},
    forbid={"overtaken": "a stream of another priority did not wait"},
)
def priorities(rig: Rig, make_event: type[CpuGpuEvent] = CpuGpuEvent) -> str:
    """The background fills, the model copies; the model fills, the background copies."""
    up, down, wrong = make_event(), make_event(), [rig.buffer(0), rig.buffer(0)]
    low, high = rig.buffer(0, SIZE), rig.buffer(0, SIZE)

    def background() -> None:
        stream = rig.stream(priority=LOW)
        for number in range(1, ROUNDS + 1):
            for value in range(SLOW, 0, -1):
                rig.fill(low, 10 * number + value - 1, stream)
            up.record(stream)
            down.wait(stream)
            rig.check(high, number, wrong[0], stream)

    def model() -> None:
        stream = rig.stream(priority=HIGH)
        for number in range(1, ROUNDS + 1):
            up.wait(stream)
            rig.check(low, 10 * number, wrong[1], stream)
            for value in range(SLOW, 0, -1):
                rig.fill(high, number + value - 1, stream)
            down.record(stream)

    rig.run(background, model)
    return "ordered" if rig.read(wrong[0]) == rig.read(wrong[1]) == 0 else "overtaken"
