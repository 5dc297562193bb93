"""The instrumented event, switched on by `CPUGPU_DEBUG`; loaded only then.

`InstrumentedEvent` is what `CpuGpuEvent()` makes under the toggle. `journal` remembers what happened to instrumented
events in this process. `RULES` are the rules by name, each with its explanation. `watcher` finds what does not report
itself: stalls, deadlocks, dead threads. `defects.counts` has what went wrong in the debug mode itself.
"""

from cpugpu.debug import defects
from cpugpu.debug.event import InstrumentedEvent
from cpugpu.debug.journal import Journal, journal
from cpugpu.debug.operation import Kind, Operation
from cpugpu.debug.rules import RULES, Moment, Rule
from cpugpu.debug.watcher import Watcher, watcher

__all__ = [
    "RULES",
    "InstrumentedEvent",
    "Journal",
    "Kind",
    "Moment",
    "Operation",
    "Rule",
    "Watcher",
    "defects",
    "journal",
    "watcher",
]
