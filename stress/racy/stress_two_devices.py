"""Device events from a pool for all devices, and nobody looks at the error (NVIDIA/cuCascade#189).

What a run of it shows:

    $ cpugpu stress stress/racy/stress_two_devices.py --stress-seconds=2
    one_event_two_devices[PooledEvent]: racy, as it should be (244 executions in 1.9 s)
        outcome  times  share  grade      meaning
        stale      131  53.7%  forbidden  a wait was bound to a record of the other device
        fresh      113  46.3%  accepted   every wait was bound to its record, of whichever device
"""

from __future__ import annotations

import contextlib
from typing import Any

from stress.stress_two_devices import one_event_two_devices
from stress.subjects import SeedEvent


class PooledEvent(SeedEvent):
    """Records whatever device event it was lent, as a release build does: a refused record is passed over."""

    def record(self, stream: Any = None) -> None:
        with contextlib.suppress(RuntimeError):
            self._event.record(stream)
        self._recorded.set()


pooled_event_two_devices = one_event_two_devices.on(PooledEvent, racy=True, module=__name__)
