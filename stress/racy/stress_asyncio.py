"""A cancelled await, and a second wait: the record goes to the first one, which nobody awaits any more.

The executor's thread cannot be cancelled (cpython#107505). It is `CpuGpuEvent` that is used here; each record satisfies
one wait, and this program has made two.

    $ cpugpu stress stress/racy/stress_asyncio.py --stress-seconds=2
    abandoned_wait: racy, as it should be (1,133 executions in 1.9 s)
        outcome  times  share  grade      meaning
        handed     664  58.6%  accepted   the coroutine got the hand-off
        lost       469  41.4%  forbidden  a wait that nobody awaits has consumed it
"""

from __future__ import annotations

from cpugpu import CpuGpuEvent, scenario
from cpugpu.rig import Rig
from stress.stress_asyncio import HANDED, LOST, await_twice


@scenario(accept=HANDED, forbid=LOST, only=("no scheduler",), racy=True)
def abandoned_wait(rig: Rig) -> str:
    """The second await is of another wait."""
    return await_twice(rig, CpuGpuEvent, keep=False)
