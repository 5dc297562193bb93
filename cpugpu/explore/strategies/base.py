"""What a strategy is: the three questions that it answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from cpugpu.explore.execution import Actor
from cpugpu.explore.run import Run


class Strategy(Protocol):
    """Decides the order of steps. Lives across executions, so that it can learn from them."""

    #: Does it try every schedule (of its bound), or every trace, until `begin` says that there is none left?
    exhaustive: bool
    #: Must an execution go on after its failure? Reductions look at what the other threads would have done.
    to_the_end: bool

    def begin(self) -> bool:
        """Is there another schedule to try?"""

    def choose(self, enabled: Sequence[Actor], current: Actor | None) -> Actor | None:
        """Which of the enabled actors (never empty) takes the next step? None gives this schedule up."""

    def end(self, run: Run) -> None:
        """What happened: steps, conflicts, outcome."""
