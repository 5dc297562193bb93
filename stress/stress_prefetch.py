"""A prefetcher with two buffers and back-pressure.

The loader fills one buffer while the trainer reads the other. `loaded` hands a full buffer over, `free` hands it back;
each buffer has an event for either direction. Where the way back is missing or unordered the loader overwrites a batch
that is still being read (vllm#32881).

    $ cpugpu stress stress/stress_prefetch.py --stress-seconds=5
    prefetch[CpuGpuEvent]: passed (454 executions in 5.0 s)
        outcome  times   share  grade     meaning
        intact     454  100.0%  accepted  every batch was read whole, as it was loaded
"""

from __future__ import annotations

from cpugpu import CpuGpuEvent, scenario
from cpugpu.rig import Rig

SIZE, BATCHES = 16, 6


@scenario(
    accept={"intact": "every batch was read whole, as it was loaded"},
    forbid={"ruined": "a batch was read before it was loaded, or overwritten while it was read"},
)
def prefetch(rig: Rig, make_event: type[CpuGpuEvent] = CpuGpuEvent) -> str:
    """Two buffers, six batches."""
    buffers = [rig.buffer(0, SIZE), rig.buffer(0, SIZE)]
    loaded, free = [make_event(), make_event()], [make_event(), make_event()]
    batch_in_use, wrong = rig.buffer(0, SIZE), rig.buffer(0)

    def loader() -> None:
        stream = rig.stream()
        for batch in range(BATCHES):
            slot = batch % 2
            if batch >= 2:
                free[slot].wait(stream)
            rig.fill(buffers[slot], batch + 1, stream)
            loaded[slot].record(stream)

    def trainer() -> None:
        stream = rig.stream()
        for batch in range(BATCHES):
            slot = batch % 2
            loaded[slot].wait(stream)
            rig.copy(buffers[slot], batch_in_use, stream)
            rig.check(batch_in_use, batch + 1, wrong, stream)
            if batch + 2 < BATCHES:
                free[slot].record(stream)

    rig.run(loader, trainer)
    return "intact" if rig.read(wrong) == 0 else "ruined"
