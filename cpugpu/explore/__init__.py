"""The explorer: every interleaving of threads and streams, with a proof or a minimal failing schedule.

`explore(scenario)` runs the scenarios of the hammer under a scheduler of its own. Threads are greenlets, streams are
those of the simulated device, and what both do next is a choice. It returns a `Verdict`.
"""

import sys
from types import ModuleType
from typing import Any

from cpugpu.explore.explorer import STRATEGIES, explore
from cpugpu.explore.run import Ending
from cpugpu.explore.schedule import ScheduleError, reproduce_schedule
from cpugpu.explore.unmodelled import Unmodelled
from cpugpu.explore.verdict import Failure, Verdict, VerdictKind
from cpugpu.rig import Scenario

__all__ = [
    "STRATEGIES",
    "Ending",
    "Failure",
    "ScheduleError",
    "Unmodelled",
    "Verdict",
    "VerdictKind",
    "explore",
    "reproduce_schedule",
]


class _Callable(ModuleType):
    """`from cpugpu import explore` gives this package or the function, whichever came first: both can be called."""

    def __call__(self, scenario: Scenario, **options: Any) -> Verdict:
        return explore(scenario, **options)


sys.modules[__name__].__class__ = _Callable
