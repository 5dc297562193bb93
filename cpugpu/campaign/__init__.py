"""A campaign: many scenarios in a given time, each shard a process of its own, here or on other machines.

`run` is the loop, `Budget` deals out the time, `LocalProcesses` (or `ray_cluster.RayTasks`) runs shards, and
`results.py` has the file that a campaign leaves.
"""

from cpugpu.campaign.budget import Budget
from cpugpu.campaign.campaign import Executor, Observer, Once, Plan, run
from cpugpu.campaign.local import LocalProcesses
from cpugpu.campaign.parts import Part, parse_part
from cpugpu.campaign.results import Entry, Fault, Header, Item, ResultsError, Run, Shard, Target, append, merge, read
from cpugpu.campaign.work import Progress

__all__ = [
    "Budget",
    "Entry",
    "Executor",
    "Fault",
    "Header",
    "Item",
    "LocalProcesses",
    "Observer",
    "Once",
    "Part",
    "Plan",
    "Progress",
    "ResultsError",
    "Run",
    "Shard",
    "Target",
    "append",
    "merge",
    "parse_part",
    "read",
    "run",
]
