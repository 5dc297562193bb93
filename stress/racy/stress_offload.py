"""Offloading without the way back: a buffer is used again before whoever reads it is done.

`host_buffer_reused` lacks the edge from the loader to the offloader: the next block overwrites the pinned buffer while
the copy back has not read it (trt#15546, vllm#32881). `block_reused` lacks the edge from the offloader to the model:
the next block is computed into memory that is still being copied out (vllm#47282). Every other edge is there, so that
no thread sees anything wrong.

    $ cpugpu stress stress/racy/stress_offload.py --stress-seconds=6
    host_buffer_reused: racy, as it should be (160 executions in 1.9 s)
        outcome  times  share  grade      meaning
        intact     128  80.0%  accepted   every block came back as it was computed
        corrupt     32  20.0%  forbidden  a block was copied before it was there, or overwritten while it was copied
    block_reused: racy, as it should be (161 executions in 2.0 s)
        outcome  times  share  grade      meaning
        corrupt    148  91.9%  forbidden  a block was copied before it was there, or overwritten while it was copied
        intact      13   8.1%  accepted   every block came back as it was computed
"""

from __future__ import annotations

from cpugpu import CpuGpuEvent, scenario
from cpugpu.rig import Rig
from stress.stress_offload import CORRUPT, INTACT, go_round


@scenario(accept=INTACT, forbid=CORRUPT, racy=True)
def host_buffer_reused(rig: Rig) -> str:
    """The pinned buffer is not handed back."""
    return go_round(rig, CpuGpuEvent, host_handed_back=False)


@scenario(accept=INTACT, forbid=CORRUPT, racy=True)
def block_reused(rig: Rig) -> str:
    """The block is not handed back."""
    return go_round(rig, CpuGpuEvent, block_handed_back=False)
