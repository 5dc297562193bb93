"""A tensor that is read on another stream than its own, without `record_stream` (H21, meta-pytorch/torchrec#4231).

What a run of it shows:

    $ cpugpu stress stress/racy/stress_record_stream.py --stress-seconds=2
    SKIPPED needs a real accelerator, with torch's own memory and streams
"""

from __future__ import annotations

from cpugpu import CpuGpuEvent, scenario
from cpugpu.rig import Rig
from stress.stress_record_stream import REUSED, WHOLE, lend_tensor


@scenario(accept=WHOLE, forbid=REUSED, only=("accelerator",), racy=True)
def no_record_stream(rig: Rig) -> str:
    """The allocator is not told."""
    return lend_tensor(rig, CpuGpuEvent, tell_allocator=False)
