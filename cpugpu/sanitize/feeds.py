"""Queues: who puts into one, and whether that one is still at work.

*Work* is what a thread does from its start to its end, or one task of a pool's. It dies of an exception that leaves it:
that is printed, or kept in a future until somebody asks, and reaches nobody who waits for the next item.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from cpugpu.sanitize.clocks import Actor
from cpugpu.sanitize.places import Place, RawPlace

#: So many that have put something are kept before those that have ended are let go of.
_KEPT = 8


@dataclass(eq=False)
class Work:
    """What a thread does now, or did. `error` is what it died of, empty where it did not, and `place` where."""

    ended: bool = False
    error: str = ""
    place: RawPlace | Place | None = None


class Put(NamedTuple):
    """The latest item of some work. `epoch` is the thread's then; whatever it does later is of another."""

    thread: Actor
    epoch: int
    work: Work


@dataclass(eq=False)
class Feed:
    """Who has put into a queue, the last one last."""

    puts: dict[Work, Put] = field(default_factory=dict)

    def add(self, put: Put) -> None:
        """Somebody puts something."""
        self.puts.pop(put.work, None)
        if len(self.puts) >= _KEPT:
            for work in [work for work in self.puts if work.ended]:
                del self.puts[work]
        self.puts[put.work] = put

    def dead(self) -> Put | None:
        """The last item, if who has put it has died since, and all others that have put one have ended."""
        if not self.puts or not all(work.ended for work in self.puts):
            return None
        last = next(reversed(self.puts.values()))
        return last if last.work.error else None


class Ask(NamedTuple):
    """A thread waits for an item of a queue, or has waited in vain."""

    feed: Feed
    place: RawPlace | Place | None
