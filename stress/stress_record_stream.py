"""A tensor is handed over, and its memory given back while the other stream reads it.

torch's caching allocator keeps a block for the stream that it was allocated on: when the tensor is dropped, the next
allocation on that stream may have the block at once, and is ordered after it there. Of a second stream that still reads
the block it knows nothing, unless it was told with `record_stream`. TorchRec copied weights out on a side stream,
dropped them, and the optimizer trained on what had come into their place: NaN (meta-pytorch/torchrec#4231, #4191: "64
device-side asserts, ~240 NaN events in 90 days"; hazard H21).

The hand-off is in order here, and it is not enough: it says when the consumer may begin, not when it is done.

This is about torch's allocator, so it needs an accelerator. On this machine:

    $ cpugpu stress stress/stress_record_stream.py --stress-seconds=2
    SKIPPED needs a real accelerator, with torch's own memory and streams
"""

from __future__ import annotations

import queue
from collections.abc import Callable
from typing import Any

from cpugpu import CpuGpuEvent, scenario
from cpugpu.device import resolve
from cpugpu.rig import Rig

SIZE, LATE_SECONDS = 1 << 16, 0.002
WHOLE = {"whole": "the consumer read what it was handed"}
REUSED = {"reused": "the block had a new owner while the consumer read it"}


@scenario(accept=WHOLE, forbid=REUSED, only=("accelerator",))
def record_stream(rig: Rig, make_event: type[CpuGpuEvent] = CpuGpuEvent) -> str:
    """The consumer tells the allocator of its stream."""
    return lend_tensor(rig, make_event, tell_allocator=True)


def lend_tensor(rig: Rig, make_event: type[CpuGpuEvent], *, tell_allocator: bool) -> str:
    """The producer hands a tensor over, and allocates another one when it was dropped."""
    import torch

    ready, seen, wrong = make_event(), rig.buffer(0, SIZE), rig.buffer(0)
    handed: queue.SimpleQueue[torch.Tensor] = queue.SimpleQueue()
    dropped = rig.cell(False)

    def tensor_of(value: int) -> torch.Tensor:
        return torch.full((SIZE,), value, dtype=torch.int64, device=resolve().name)

    def copy_from(tensor: torch.Tensor) -> Callable[[Any], None]:
        def copy(target: Any) -> None:
            target.copy_(tensor)

        return copy

    def producer() -> None:
        stream = rig.stream()
        with rig.on(stream):
            handed.put(tensor_of(1))
            ready.record(stream)
            rig.until(dropped.get, dropped)
            tensor_of(2)

    def consumer() -> None:
        stream = rig.stream()
        ready.wait(stream)
        tensor = handed.get()

        if tell_allocator:
            tensor.record_stream(stream)
        resolve().delay(stream, LATE_SECONDS)
        rig.launch(stream, copy_from(tensor), writes=[seen])
        del tensor
        dropped.set(True)
        rig.check(seen, 1, wrong, stream)

    rig.run(producer, consumer)
    return "whole" if rig.read(wrong) == 0 else "reused"
