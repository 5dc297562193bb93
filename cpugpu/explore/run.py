"""One execution of a scenario under a strategy, from the first step to the outcome."""

from __future__ import annotations

import enum
import traceback
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

from cpugpu.device import using
from cpugpu.explore.carriers import Carriers
from cpugpu.explore.driver import StreamActor
from cpugpu.explore.execution import Actor, Execution, Key, Step, Thread, set_current
from cpugpu.explore.operation import WRITE, Operation
from cpugpu.explore.rig import ExploredRig, ThreadFailed
from cpugpu.rig import HANG, Grade, Scenario, raised

#: An execution with more steps than this is given up.
STEPS = 5000
#: The tail of a livelock is looked for in so many steps; it repeats at least so often.
_TAIL, _TIMES = 600, 4


class Ending(enum.Enum):
    """How an execution came to its end."""

    OUTCOME = "outcome"
    DEADLOCK = "deadlock"  # nobody can take a step, and somebody has not ended
    LIVELOCK = "livelock"  # the same steps for ever, and nothing changes
    STEP_LIMIT = "step limit"
    GIVEN_UP = "given up"  # by the strategy
    UNMODELLED = "unmodelled"
    SET_UP = "set-up"  # the scenario raised before it had a thread


@dataclass(frozen=True)
class Blocked:
    """Somebody who could not go on at the end, or had no turn any more. `waits_for`: for people."""

    actor: Actor
    operation: Operation
    enabled: bool


@dataclass
class Run:
    """What happened. `outcome` is HANG after a deadlock or a livelock.

    `pending`: the next steps of those who had not ended, and of clocks whose time was not up. `cycle`: in a livelock,
    the steps that repeat.
    """

    steps: list[Step]
    ending: Ending
    outcome: Hashable
    grade: Grade
    meaning: str
    details: str = ""
    pending: list[Blocked] = field(default_factory=list)
    cycle: list[Step] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Did it come to an end of its own?"""
        return self.ending in (Ending.OUTCOME, Ending.DEADLOCK, Ending.LIVELOCK)

    @property
    def failed(self) -> bool:
        """Is the outcome a forbidden one?"""
        return self.complete and self.grade is Grade.FORBIDDEN

    @property
    def preemptions(self) -> int:
        """How often somebody was left who could have gone on."""
        before: Actor | None = None
        count = 0
        for step in self.steps:
            count += before is not None and step.actor is not before and before in step.enabled
            before = step.actor
        return count

    @property
    def schedule(self) -> list[Key]:
        """Who took each step."""
        return [step.actor.key for step in self.steps]


Choose = Callable[[Sequence[Actor], "Actor | None"], "Actor | None"]


def execute(
    scenario: Scenario,
    choose: Choose,
    *,
    to_the_end: bool = False,
    spurious: int = 0,
    carriers: Carriers | None = None,
) -> Run:
    """Execute `scenario` once; `choose` decides who takes each step. To be called while the stand-ins are in place.

    The execution ends when the scenario's function has returned, when a thread of the rig has raised (`to_the_end`:
    only when the others have come to their ends), or when nobody can go on. Who executes often has `carriers` for all.
    """
    if carriers is None:
        with Carriers() as carriers:
            return execute(scenario, choose, to_the_end=to_the_end, spurious=spurious, carriers=carriers)
    execution = Execution(carriers)
    execution.spurious = spurious
    set_current(execution)
    try:
        return _Executing(execution, scenario).run(choose, to_the_end=to_the_end)
    finally:
        try:
            execution.close()
        finally:
            set_current(None)


class _Executing:
    """An execution under way."""

    def __init__(self, execution: Execution, scenario: Scenario) -> None:
        self._execution = execution
        self._scenario = scenario
        self._outcome: Hashable = None
        self._details = ""
        self._raised_first = False
        self._main: Thread = execution.spawn("main", self._body)

    def run(self, choose: Choose, *, to_the_end: bool) -> Run:
        execution, main = self._execution, self._main
        current: Actor | None = None
        execution.come_up()
        while main.alive:
            if execution.unmodelled is not None:
                return self._result(Ending.UNMODELLED, details=str(execution.unmodelled))
            if execution.failed is not None and not to_the_end:
                break
            enabled = execution.enabled()
            if not enabled:
                if execution.failed is not None:
                    break
                return self._result(Ending.DEADLOCK, HANG)
            if len(execution.steps) >= STEPS:
                return self._endless(repeated(execution.steps))
            actor = choose(enabled, current)
            if actor is None:
                return self._result(Ending.GIVEN_UP)
            execution.take(actor, enabled)
            current = actor
        if execution.unmodelled is not None:
            return self._result(Ending.UNMODELLED, details=str(execution.unmodelled))
        if self._raised_first:
            return self._result(Ending.SET_UP, details=self._details)
        if execution.failed is not None:
            thread, exception = execution.failed
            details = "".join(traceback.format_exception(exception)).rstrip()
            return self._result(Ending.OUTCOME, raised(exception), details=f"{thread.name} raised:\n{details}")
        return self._result(Ending.OUTCOME, self._outcome, details=self._details)

    def _endless(self, cycle: Sequence[Step]) -> Run:
        """More steps than an execution may have: a livelock, if those who could change that have had their turns."""
        if not cycle:
            last = self._execution.steps[-1].actor
            text = f"an execution has more than {STEPS:,} steps, and no end of it repeats; {last.name} goes on"
            text = _placed(last, text)
            return self._result(Ending.STEP_LIMIT, HANG, details=text)
        turns = {step.actor.key for step in cycle}
        waiting = [actor for actor in cycle[0].enabled if all(actor in step.enabled for step in cycle)]
        starving = [actor.name for actor in waiting if actor.key not in turns]
        if starving:
            spins = cycle[0].actor
            text = f"{spins.name} spins, while {starving[0]} could go on; let it rest: time.sleep(), rig.pause()"
            text = _placed(spins, text)
            return self._result(Ending.STEP_LIMIT, HANG, details=text)
        return self._result(Ending.LIVELOCK, HANG, cycle=cycle)

    def _body(self) -> None:
        """The logical thread in which the scenario's function runs."""
        try:
            rig = ExploredRig(self._execution)
            with using(rig.device):
                outcome = self._scenario(rig)
                if not isinstance(outcome, Hashable):
                    raise TypeError(f"{self._scenario.title} returned {outcome!r}; an outcome has to be hashable")
                rig.end()
            self._outcome = outcome
        except ThreadFailed:
            pass  # the execution has kept it
        except Exception as exception:
            self._outcome = raised(exception)
            self._details = traceback.format_exc().rstrip()
            self._raised_first = len(self._execution.actors) == 1

    def _result(
        self, ending: Ending, outcome: Hashable = None, *, details: str = "", cycle: Sequence[Step] = ()
    ) -> Run:
        execution = self._execution
        pending = [
            Blocked(actor, actor.next, actor.next.enabled is None or actor.next.enabled())
            for actor in execution.actors
            if actor.next is not None and not (actor is self._main and ending is Ending.OUTCOME)
        ]
        pending += [Blocked(clock, operation, enabled=False) for clock, operation in execution.withdrawn]
        grade, meaning = self._scenario.grade(outcome)
        return Run(execution.steps, ending, outcome, grade, meaning, details, pending, list(cycle))


def _placed(actor: Actor, text: str) -> str:
    """With the place in the user's code where the thread stands."""
    return f"{actor.place}: {text}" if isinstance(actor, Thread) and actor.place else text


def repeated(steps: Sequence[Step]) -> list[Step]:
    """The steps that the end of an execution repeats, if it does and they change nothing; else none."""
    tail = steps[-_TAIL:]
    marks = [(step.actor, step.label) for step in tail]
    for length in range(1, len(tail) // _TIMES + 1):
        if all(marks[-1 - i] == marks[-1 - i - length] for i in range(length * (_TIMES - 1))):
            cycle = list(tail[-length:])
            changes = any(access is WRITE for step in cycle for _, access in step.footprint)
            return [] if changes else cycle
    return []


def threads_and_streams(actors: Sequence[Actor]) -> list[Actor]:
    """Those that have something left to do, clocks left out."""
    return [
        actor
        for actor in actors
        if (isinstance(actor, StreamActor) and actor.queue)
        or (isinstance(actor, Thread) and not isinstance(actor, StreamActor) and actor.alive)
    ]
