"""A CUDA graph with a side stream inside, replayed once a hand-off.

What is captured is the work, not the calls: a `wait()` in the captured region blocks a thread and orders a stream *when
the graph is captured*, and at a replay it is not there (H30). On Ascend the replays of two steps ran into each other
that way (vllm-project/vllm-ascend#4233). And an event that was recorded in a capture means nothing outside of it (H29,
pt#192000): the two edges to the side stream and back are device events of their own, that nobody else touches.

So the hand-off stands outside: wait, replay, record. It needs CUDA's graphs. On this machine:

    $ cpugpu stress stress/stress_graph.py --stress-seconds=2
    SKIPPED needs CUDA or ROCm: it captures a CUDA graph
"""

from __future__ import annotations

from cpugpu import CpuGpuEvent, scenario
from cpugpu.rig import Rig

SIZE, REPLAYS = 64, 4


@scenario(
    accept={"fresh": "every replay read what was handed over for it"},
    forbid={"stale": "a replay was not ordered after its hand-off, or read what came later"},
    only=("cuda",),
)
def graph(rig: Rig, make_event: type[CpuGpuEvent] = CpuGpuEvent) -> str:
    """Capture a copy on a side stream; then fill and replay in turn."""
    import torch

    filled, taken, wrong = make_event(), make_event(), rig.buffer(0)
    cell, seen = rig.buffer(0, SIZE), rig.buffer(0, SIZE)
    stream, side = rig.stream(), rig.stream()
    fork, join, captured = rig.event(), rig.event(), torch.cuda.CUDAGraph()
    with rig.on(stream):
        captured.capture_begin(capture_error_mode="thread_local")
        fork.record(stream)
        fork.wait(side)
        rig.copy(cell, seen, side)
        join.record(side)
        join.wait(stream)
        captured.capture_end()

    def producer() -> None:
        fills = rig.stream()
        for number in range(REPLAYS):
            if number:
                taken.wait(fills)
            rig.fill(cell, number + 1, fills)
            filled.record(fills)

    def consumer() -> None:
        for number in range(REPLAYS):
            filled.wait(stream)
            with rig.on(stream):
                captured.replay()
            rig.check(seen, number + 1, wrong, stream)
            if number + 1 < REPLAYS:
                taken.record(stream)

    rig.run(producer, consumer)
    return "fresh" if rig.read(wrong) == 0 else "stale"
