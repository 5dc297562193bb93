"""What an actor does next: one step, the things that it touches, and when it can be taken.

Two steps of different actors *conflict* if they touch one resource and one of them writes it. Steps that do not
conflict commute, so executions that differ only in their order are one *trace* (Mazurkiewicz). Reductions rest on this,
so a footprint may say too much and never too little.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import TypeAlias


class Access(enum.IntEnum):
    """How a step touches a resource.

    `CAUSE` orders like a write, and can never be the other way round: what was made before it was used, a thread that
    was started before it ran. It gives an order and no race. `AFTER` reads what had to be there first, as who waits for
    the end of a thread does: it comes after the write, without a race, and is in no order with others like it.
    """

    READ = 0
    WRITE = 1
    CAUSE = 2
    AFTER = 3


READ, WRITE, CAUSE, AFTER = Access.READ, Access.WRITE, Access.CAUSE, Access.AFTER
#: Of two such accesses either may come first, and it makes no difference.
READING = (READ, AFTER)
#: Such an access is never the other way round.
ORDERED = (CAUSE, AFTER)


class Resource:
    """Something that steps touch: a lock, a cell, an attribute.

    `key` is the same in every execution in which the maker has done the same so far, whatever others have done
    meanwhile: it is built of the maker's key and a count of the maker's own. `name` is for people.
    """

    __slots__ = ("key", "name")

    def __init__(self, key: tuple[object, ...], name: str) -> None:
        self.key = key
        self.name = name

    def __repr__(self) -> str:
        return self.name


Footprint: TypeAlias = "tuple[tuple[Resource, Access], ...]"


class Operation:
    """The next step of an actor. Its effect is what the actor does between this step and its next.

    `label`: for people, "acquire lock-1". `enabled`: can it be taken now? None for one that always can; it looks at the
    state that the footprint names, and changes nothing. `timeout`: where it cannot be taken, a clock may end the wait
    instead; the seconds are virtual. `rests`: the actor has nothing to do but to let others go on (a sleep, a poll):
    it is not taken again before somebody else has moved, if anybody can.
    """

    __slots__ = ("enabled", "footprint", "label", "rests", "timeout")

    def __init__(
        self,
        label: str,
        footprint: Footprint,
        enabled: Callable[[], bool] | None = None,
        *,
        timeout: float | None = None,
        rests: bool = False,
    ) -> None:
        self.label = label
        self.footprint = footprint
        self.enabled = enabled
        self.timeout = timeout
        self.rests = rests

    def __repr__(self) -> str:
        return self.label
