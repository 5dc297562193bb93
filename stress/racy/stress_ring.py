"""The ring of slots with nothing but device events: a wait that is early is bound to the lap before, or to nothing.

What a run of it shows:

    $ cpugpu stress stress/racy/stress_ring.py --stress-seconds=2
    ring[BareEvent]: racy, as it should be (52 executions in 2.0 s)
        outcome  times  share  grade      meaning
        ruined      48  92.3%  forbidden  a payload was read too early, or overwritten too early
        whole        4   7.7%  accepted   every payload was read whole, as it was written
"""

from __future__ import annotations

from stress.stress_ring import ring
from stress.subjects import BareEvent

ring_bare = ring.on(BareEvent, racy=True, module=__name__)
