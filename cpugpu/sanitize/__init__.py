"""The sanitizer: unmodified programs, threads and streams in one happens-before.

`Model` is told what a program does and finds what nothing orders. `region` says which bytes a tensor has, `here` where
the program stands. `Model.findings` go to `report.text` or `report.as_json`; `suppress.read` reads what is not to be
reported. This half needs no torch.
"""

from cpugpu.sanitize.clocks import Actor, Clock
from cpugpu.sanitize.events import Event
from cpugpu.sanitize.findings import Finding, Findings, Side
from cpugpu.sanitize.memory import Storage, Ticket
from cpugpu.sanitize.model import Access, Model, Sync
from cpugpu.sanitize.places import Place, RawPlace, here, place_of
from cpugpu.sanitize.registry import RULES, Rule
from cpugpu.sanitize.strides import Region, region

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
    "Side",
    "Storage",
    "Sync",
    "Ticket",
    "here",
    "place_of",
    "region",
]
