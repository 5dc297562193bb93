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
#: So many are kept that are at work; of a queue that has more it is not known any more when all have ended.
_MOST = 256


@dataclass(eq=False)
class Work:
    """What a thread does now, or did. `error` is what it died of, empty where it did not, and `place` where.

    `epoch`: the thread's at its end, of which nobody knew before. `number`: the `id` of the exception. `noticed`:
    somebody has taken it from where it was kept.
    """

    ended: bool = False
    error: str = ""
    place: RawPlace | Place | None = None
    epoch: int = 0
    number: int = 0
    noticed: bool = False


class Put(NamedTuple):
    """The latest item of some work.

    `handling` is the `id` of an exception that it was handling: an item that is put then tells of it.
    """

    thread: Actor
    work: Work
    handling: int = 0

    @property
    def tells(self) -> bool:
        """Has somebody been told of the death, by the item or by a future?"""
        return self.work.noticed or (self.handling != 0 and self.handling == self.work.number)

    def death_known_to(self, thread: Actor) -> bool:
        """Is the end of the work before whatever `thread` does next?"""
        return thread.knows(self.thread, self.work.epoch)


@dataclass(eq=False)
class Feed:
    """Who has put into a queue, the last one last, and how many items there were."""

    puts: dict[Work, Put] = field(default_factory=dict)
    items: int = 0
    many: bool = False
    _limit: int = _KEPT

    def add(self, put: Put) -> None:
        """Somebody puts something."""
        self.items += 1
        if self.many:
            return
        self.puts.pop(put.work, None)
        if len(self.puts) >= self._limit:
            for work in [work for work in self.puts if work.ended]:
                del self.puts[work]
            self._limit = max(_KEPT, 2 * len(self.puts))
            if self._limit > _MOST:
                self.puts.clear()
                self.many = True
                return
        self.puts[put.work] = put

    def dead(self) -> Put | None:
        """The last item, if who has put it has died since, and all others that have put one have ended."""
        if self.many or not self.puts or not all(work.ended for work in self.puts):
            return None
        last = next(reversed(self.puts.values()))
        return last if last.work.error else None


class Ask(NamedTuple):
    """A thread waits for an item of a queue. Afterwards, in vain: `put` is the last item, and `items` how many."""

    feed: Feed
    place: RawPlace | Place | None
    put: Put | None = None
    items: int = 0
