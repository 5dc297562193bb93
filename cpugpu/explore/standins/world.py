"""What the stand-ins keep for one execution: who is which thread, and what they number."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from cpugpu.explore.execution import Execution, current
from cpugpu.explore.execution import Thread as Actor
from cpugpu.explore.operation import WRITE, Resource

if TYPE_CHECKING:
    from cpugpu.explore.standins.threads import Thread


class World:
    """Of one execution. `roster` is touched by who starts a thread, and by who looks which there are."""

    def __init__(self, execution: Execution) -> None:
        self.execution = execution
        self.thread_of: dict[Actor, Thread] = {}
        self.roster = Resource(("threads",), "the threads")
        self._numbering = Resource(("numbers",), "the numbers in names")
        self._numbers: dict[str, itertools.count[int]] = {}

    def number(self, of: str, first: int) -> int:
        """The next number for the name of an `of`. Who gets which depends on who asks first."""
        self.execution.touch((self._numbering, WRITE))
        return next(self._numbers.setdefault(of, itertools.count(first)))


_world: World | None = None


def world() -> World:
    """That of the execution that runs; `OutsideExploration` where none does."""
    global _world
    execution = current()
    if _world is None or _world.execution is not execution:
        _world = World(execution)
    return _world
