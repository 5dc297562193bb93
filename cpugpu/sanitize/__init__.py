"""The sanitizer: unmodified programs, threads and streams in one happens-before.

`Model` is told what a program does and finds what nothing orders. `region` says which bytes a tensor has, `here` where
the program stands. `Model.findings` go to `report.text` or `report.as_json`; `suppress.read` reads what is not to be
reported. That half needs no torch.

`start`, `stop` and `watching` put the other half in place, which sees what a program does under torch's and Python's
own names; `annotate_read` and `annotate_write` tell it of what it cannot see. With `CPUGPU_SANITIZE=1` (or `raise`)
importing this starts it, and the report comes when the process ends.
"""

from typing import TYPE_CHECKING, Any

from cpugpu import settings
from cpugpu.sanitize.clocks import Actor, Clock
from cpugpu.sanitize.events import Event
from cpugpu.sanitize.findings import Finding, Findings, Side
from cpugpu.sanitize.memory import Storage, Ticket
from cpugpu.sanitize.model import Access, Model, Sync
from cpugpu.sanitize.places import Place, RawPlace, here, place_of
from cpugpu.sanitize.registry import RULES, Rule
from cpugpu.sanitize.strides import Region, region

if TYPE_CHECKING:
    from cpugpu.sanitize.annotations import annotate_read, annotate_write
    from cpugpu.sanitize.session import Session, start, stop, watching

__all__ = [
    "RULES",
    "Access",
    "Actor",
    "Clock",
    "Event",
    "Finding",
    "Findings",
    "Model",
    "Place",
    "RawPlace",
    "Region",
    "Rule",
    "Session",
    "Side",
    "Storage",
    "Sync",
    "Ticket",
    "annotate_read",
    "annotate_write",
    "here",
    "place_of",
    "region",
    "start",
    "stop",
    "watching",
]


def __getattr__(name: str) -> Any:
    """What needs torch is loaded when it is asked for."""
    if name in ("annotate_read", "annotate_write"):
        from cpugpu.sanitize import annotations

        return getattr(annotations, name)
    if name in ("Session", "start", "stop", "watching"):
        from cpugpu.sanitize import session

        return getattr(session, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if settings.sanitize_mode() != "off":
    from cpugpu.sanitize.ending import start_for_the_process

    start_for_the_process()
