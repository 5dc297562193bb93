"""A forward pass that waits layer by layer for a loader thread.

SGLang's hierarchical cache brings a prefix back from host memory one layer at a time, and the forward pass waits for
each layer only when it gets there (`LayerLoadingEvent`, `LayerDoneCounter`). As long as one thread enqueued both, the
records came before the waits. When the loads moved into a loader thread (sgl#38472) they did not any more: "waiting on
a device event that was never recorded is a no-op", so that every layer got a flag for the CPU, next to its event. That
pair is `CpuGpuEvent`, written a second time.

Two more of its edges are here. The next load may overwrite the slot only when the last forward pass has read it
(sgl#36738), which is `free`. And who reads the slot as a whole has to wait for the last layer, not for the first
(sgl#36743: a copy-on-write took a half restored state), which is `whole_slot`.

    $ cpugpu stress stress/stress_layer_done.py --stress-seconds=6
    layer_done[CpuGpuEvent]: passed (150 executions in 1.9 s)
        outcome  times   share  grade     meaning
        loaded     150  100.0%  accepted  every layer was computed from its own load
    whole_slot[CpuGpuEvent]: passed (334 executions in 1.9 s)
        outcome  times   share  grade     meaning
        whole      334  100.0%  accepted  the copy has every layer
"""

from __future__ import annotations

from typing import Any

from cpugpu import CpuGpuEvent, scenario
from cpugpu.rig import Rig

SIZE, LAYERS, BATCHES = 8, 4, 2


@scenario(
    accept={"loaded": "every layer was computed from its own load"},
    forbid={"stale": "a layer was read before it was loaded, or loaded over while it was read"},
)
def layer_done(rig: Rig, make_event: type[CpuGpuEvent] = CpuGpuEvent) -> str:
    """The loader loads one slot again and again; the forward pass follows it through the layers."""
    free, done = make_event(), [make_event() for _ in range(LAYERS)]
    slot, wrong = [rig.buffer(0, SIZE) for _ in range(LAYERS)], rig.buffer(0)

    def loader() -> None:
        stream = rig.stream()
        for batch in range(BATCHES):
            if batch:
                free.wait(stream)
            for layer in range(LAYERS):
                rig.fill(slot[layer], 10 * batch + layer + 1, stream)
                done[layer].record(stream)

    def forward() -> None:
        stream = rig.stream()
        for batch in range(BATCHES):
            for layer in range(LAYERS):
                done[layer].wait(stream)
                rig.check(slot[layer], 10 * batch + layer + 1, wrong, stream)
            if batch + 1 < BATCHES:
                free.record(stream)

    rig.run(loader, forward)
    return "loaded" if rig.read(wrong) == 0 else "stale"


WHOLE = {"whole": "the copy has every layer"}
PARTIAL = {"partial": "the copy has layers that were not loaded yet"}


@scenario(accept=WHOLE, forbid=PARTIAL)
def whole_slot(rig: Rig, make_event: type[CpuGpuEvent] = CpuGpuEvent) -> str:
    """A copy of the whole slot, made when all of its layers are there."""
    return copy_on_write(rig, make_event, waits=LAYERS)


def copy_on_write(rig: Rig, make_event: type[CpuGpuEvent], waits: int) -> str:
    """The slot is known to others as soon as its load is queued; the copy waits for so many of the layers."""
    done = [make_event() for _ in range(LAYERS)]
    slot, copy, wrong = [rig.buffer(0) for _ in range(LAYERS)], rig.buffer(0, LAYERS), rig.buffer(0)
    known = rig.cell(False)

    def loader() -> None:
        stream = rig.stream()
        for layer in range(LAYERS):
            rig.fill(slot[layer], 1, stream)
            done[layer].record(stream)
        known.set(True)

    def take(*buffers: Any) -> None:
        for layer in range(LAYERS):
            buffers[-1][layer] = buffers[layer][0]

    def forward() -> None:
        stream = rig.stream()
        rig.until(known.get, known)
        for event in done[:waits]:
            event.wait(stream)
        rig.launch(stream, take, reads=slot, writes=[copy])
        rig.check(copy, 1, wrong, stream)

    rig.run(loader, forward)
    return "whole" if rig.read(wrong) == 0 else "partial"
