"""The future map as SGLang had it: one bare event, recorded on two streams (sgl#30435).

What a run of it shows:

    $ cpugpu stress stress/racy/stress_future_map.py --stress-seconds=2
    future_map_of_one_event[BareEvent]: racy, as it should be (534 executions in 2.0 s)
        outcome  times  share  grade      meaning
        silent     292  54.7%  forbidden  the second record went through; by luck the forward pass was over
        stale      242  45.3%  forbidden  the second record took the fence off the forward stream
"""

from __future__ import annotations

from stress.stress_future_map import future_map_of_one_event
from stress.subjects import BareEvent

future_map_bare = future_map_of_one_event.on(BareEvent, racy=True, module=__name__)
