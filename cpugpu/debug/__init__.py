"""The instrumented event, switched on by `CPUGPU_DEBUG`; loaded only then.

`InstrumentedEvent` is what `CpuGpuEvent()` makes under the toggle. `journal` remembers what happened to instrumented
events in this process. `RULES` are the rules by name, each with its explanation.
"""

from cpugpu.debug.event import InstrumentedEvent
from cpugpu.debug.journal import Journal, Kind, Operation, journal
from cpugpu.debug.rules import RULES, Rule

__all__ = ["RULES", "InstrumentedEvent", "Journal", "Kind", "Operation", "Rule", "journal"]
