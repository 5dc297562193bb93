"""How vLLM uses the class: the hand-shake of asynchronous expert load balancing (EPLB).

Two events of opposite lifetimes. `rearrange`, one for ever: the main thread records it when the load statistics are
ready, the worker waits for it. `consumed`, a fresh one a layer, made by the *consumer* of the data: the main thread
records it when it has copied a layer's weights out of the transfer buffer, the worker waits for it before it overwrites
them. The worker's results travel by way of the CPU (it synchronises its stream before it publishes).

`eplb` runs two cycles of three layers, drains, and stops the worker. In `eplb_worker_dies` the worker raises in the
first cycle; vLLM's main thread finds out when its next record is refused (vllm#46370).

    $ cpugpu stress stress/stress_eplb.py --stress-seconds=5
    eplb[CpuGpuEvent]: passed (184 executions in 2.5 s)
        outcome   times   share  grade     meaning
        balanced    184  100.0%  accepted  each layer got the weights of its own transfer
"""

from __future__ import annotations

from cpugpu import CpuGpuEvent, scenario
from cpugpu.rig import Cell, Rig

SIZE, CYCLES, LAYERS = 16, 2, 3


@scenario(
    accept={"balanced": "each layer got the weights of its own transfer"},
    forbid={"corrupt": "weights were read before they were there, or overwritten while they were read"},
)
def eplb(rig: Rig, make_event: type[CpuGpuEvent] = CpuGpuEvent) -> str:
    """Layer loop, drain, stop."""
    rearrange = make_event()
    statistics, transfer, weights = rig.buffer(0, SIZE), rig.buffer(0, SIZE), rig.buffer(0, SIZE)
    wrong_statistics, wrong_weights = rig.buffer(0), rig.buffer(0)
    result: Cell[CpuGpuEvent | None] = rig.cell(None)
    stopping = rig.cell(False)

    def main() -> None:
        stream = rig.stream()
        for cycle in range(1, CYCLES + 1):
            rig.fill(statistics, cycle, stream)
            rearrange.record(stream)
            for layer in range(LAYERS):
                rig.until(lambda: result.get() is not None, result)
                consumed = result.get()
                assert consumed is not None
                rig.copy(transfer, weights, stream)
                rig.check(weights, 10 * cycle + layer, wrong_weights, stream)
                result.set(None)  # before the worker is let on
                consumed.record(stream)
        stopping.set(True)
        rearrange.record(stream)

    def worker() -> None:
        stream = rig.stream()
        cycle = 0
        while True:
            rearrange.wait(stream)
            if stopping.get():
                return
            cycle += 1
            rig.check(statistics, cycle, wrong_statistics, stream)
            for layer in range(LAYERS):
                rig.fill(transfer, 10 * cycle + layer, stream)
                stream.synchronize()
                consumed = make_event()
                result.set(consumed)
                consumed.wait(stream)

    rig.run(main, worker)
    return "balanced" if rig.read(wrong_statistics) == rig.read(wrong_weights) == 0 else "corrupt"


@scenario(
    accept={"noticed": "the next record was refused: nobody had consumed the last one"},
    forbid={"silent": "the main thread went on for ever without a worker"},
    breaks=("double-record", "never-consumed"),
)
def eplb_worker_dies(rig: Rig, make_event: type[CpuGpuEvent] = CpuGpuEvent) -> str:
    """The worker consumes one cycle and dies; of the two records that follow the second is refused."""
    rearrange, outcome = make_event(), rig.cell("silent")
    dead = rig.cell(False)

    def main() -> None:
        stream = rig.stream()
        rearrange.record(stream)
        rig.until(dead.get, dead)
        rearrange.record(stream)
        try:
            rearrange.record(stream)
        except RuntimeError:
            outcome.set("noticed")

    def worker() -> None:
        rearrange.wait(rig.stream())
        dead.set(True)

    rig.run(main, worker)
    return outcome.get()
