"""Blocks go out to host memory and come back, through one pinned buffer.

Three threads and three streams: the model computes a block, the offloader copies it to a pinned buffer in host memory
(device to host), the loader copies that back to the device (host to device), where the model uses it, a round later.
Six edges, each of them a bug in somebody's tracker when it was missing:

* `computed`: the offloader must not copy a block that is not computed yet (vllm#45704, ROCm/ATOM#1956).
* `block_free`: the model must not overwrite a block which the offloader still reads (vllm#47282).
* `stored`: nobody must read the pinned buffer before it is written, be it a CPU or a copy (pt#185252).
* `host_free`: the offloader must not overwrite the pinned buffer while the copy back is pending. Such a copy reads its
  source when it runs, not when it is queued (trt#15546, vllm#32881).
* `restored`: the model must not use the block before it is back (sgl#38472).
* `back_free`: the loader must not overwrite a block that the model still uses (sgl#36738).

The pinned buffer is device memory here: what counts is which stream may touch it when.

    $ cpugpu stress stress/stress_offload.py --stress-seconds=2
    offload[CpuGpuEvent]: passed (146 executions in 2.0 s)
        outcome  times   share  grade     meaning
        intact     146  100.0%  accepted  every block came back as it was computed
"""

from __future__ import annotations

from cpugpu import CpuGpuEvent, scenario
from cpugpu.rig import Rig

SIZE, ROUNDS = 16, 3
INTACT = {"intact": "every block came back as it was computed"}
CORRUPT = {"corrupt": "a block was copied before it was there, or overwritten while it was copied"}


@scenario(accept=INTACT, forbid=CORRUPT)
def offload(rig: Rig, make_event: type[CpuGpuEvent] = CpuGpuEvent) -> str:
    """Three rounds, all six edges."""
    return go_round(rig, make_event)


def go_round(
    rig: Rig, make_event: type[CpuGpuEvent], *, host_handed_back: bool = True, block_handed_back: bool = True
) -> str:
    """Offload and load back, with all of the edges or without one."""
    computed, stored, restored = ([make_event() for _ in range(ROUNDS)] for _ in range(3))
    block_free, host_free, back_free = make_event(), make_event(), make_event()
    block, pinned, back = rig.buffer(0, SIZE), rig.buffer(0, SIZE), rig.buffer(0, SIZE)
    wrong = rig.buffer(0)

    def model() -> None:
        stream = rig.stream()
        for number in range(ROUNDS + 1):
            if number < ROUNDS:
                if number and block_handed_back:
                    block_free.wait(stream)
                rig.fill(block, number + 1, stream)
                computed[number].record(stream)
            if number:
                restored[number - 1].wait(stream)
                rig.check(back, number, wrong, stream)
                if number < ROUNDS:
                    back_free.record(stream)

    def offloader() -> None:
        stream = rig.stream()
        for number in range(ROUNDS):
            computed[number].wait(stream)
            if number and host_handed_back:
                host_free.wait(stream)
            rig.copy(block, pinned, stream)
            stored[number].record(stream)
            if number + 1 < ROUNDS and block_handed_back:
                block_free.record(stream)

    def loader() -> None:
        stream = rig.stream()
        for number in range(ROUNDS):
            stored[number].wait(stream)
            if number:
                back_free.wait(stream)
            rig.copy(pinned, back, stream)
            restored[number].record(stream)
            if number + 1 < ROUNDS and host_handed_back:
                host_free.record(stream)

    rig.run(model, offloader, loader)
    return "intact" if rig.read(wrong) == 0 else "corrupt"
