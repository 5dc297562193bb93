"""What is executed again and again: a scenario, with all that a schedule of it belongs to."""

from __future__ import annotations

import inspect
from dataclasses import dataclass

from cpugpu.explore.carriers import Carriers
from cpugpu.explore.run import Run, execute
from cpugpu.explore.schedule import Replay, encode
from cpugpu.explore.strategies.base import Strategy
from cpugpu.rig import Scenario


@dataclass(frozen=True)
class Executor:
    """Executes one scenario, and knows its schedules as texts. To be used while the stand-ins are in place.

    `trace`: the classes of which every line is a step. `spurious`: so many waits of each thread may end unnotified.
    """

    scenario: Scenario
    trace: tuple[type, ...]
    spurious: int
    carriers: Carriers

    def execute(self, strategy: Strategy) -> Run:
        """One execution, in which `strategy` chooses."""
        return execute(
            self.scenario,
            strategy.choose,
            to_the_end=strategy.to_the_end,
            spurious=self.spurious,
            carriers=self.carriers,
        )

    def text(self, run: Run) -> str:
        """The schedule of `run`."""
        return encode(run, self.scenario, self.trace, self.spurious)

    def replay(self, text: str) -> Replay:
        """The strategy that repeats that schedule. `ScheduleError` if it belongs to anything else."""
        return Replay(text, self.scenario, self.trace, self.spurious)

    @property
    def place(self) -> str:
        """Where the scenario is written, as "file:line"."""
        code = inspect.unwrap(self.scenario.function).__code__
        return f"{code.co_filename}:{code.co_firstlineno}"
