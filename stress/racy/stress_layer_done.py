"""The layer-done counter before it was mended: no flag for the CPU, and a reader that does not wait for the last layer.

`layer_done` runs with one device event a layer and nothing else (sgl#38472): a wait that comes before its record is a
no-op, and one that comes before its second record is bound to the load of the batch before. `whole_slot_unfenced`
copies the slot as soon as its load is queued (sgl#36743).

    $ cpugpu stress stress/racy/stress_layer_done.py --stress-seconds=6
    layer_done[BareEvent]: racy, as it should be (211 executions in 1.8 s)
        outcome  times  share  grade      meaning
        stale      168  79.6%  forbidden  a layer was read before it was loaded, or loaded over while it was read
        loaded      43  20.4%  accepted   every layer was computed from its own load
    whole_slot_unfenced: racy, as it should be (391 executions in 1.8 s)
        outcome  times  share  grade      meaning
        whole      275  70.3%  accepted   the copy has every layer
        partial    116  29.7%  forbidden  the copy has layers that were not loaded yet
"""

from __future__ import annotations

from cpugpu import CpuGpuEvent, scenario
from cpugpu.rig import Rig
from stress.stress_layer_done import PARTIAL, WHOLE, copy_on_write, layer_done
from stress.subjects import BareEvent

layer_done_bare = layer_done.on(BareEvent, racy=True, module=__name__)


@scenario(accept=WHOLE, forbid=PARTIAL, racy=True)
def whole_slot_unfenced(rig: Rig) -> str:
    """The copy waits for no layer."""
    return copy_on_write(rig, CpuGpuEvent, waits=0)
