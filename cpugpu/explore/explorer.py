"""`explore`: try the schedules of a scenario, until there are none left, one fails, or the time is up.

Which strategy has which share of the time is decided here; what may be concluded in the end, in `conclusion.py`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from time import monotonic  # the real one, also while the stand-ins are in place

from cpugpu import settings
from cpugpu.explore.before import made_before
from cpugpu.explore.carriers import Carriers
from cpugpu.explore.conclusion import Tally, conclude
from cpugpu.explore.executor import Executor
from cpugpu.explore.kept import Kept
from cpugpu.explore.lines import traced
from cpugpu.explore.rig import Place
from cpugpu.explore.run import Ending, Run
from cpugpu.explore.schedule import ScheduleError
from cpugpu.explore.standins.patching import standing_in
from cpugpu.explore.strategies.base import Strategy
from cpugpu.explore.strategies.dfs import DepthFirst
from cpugpu.explore.strategies.dpor import Dpor
from cpugpu.explore.strategies.pct import Pct
from cpugpu.explore.strategies.pos import Pos
from cpugpu.explore.strategies.random_walk import RandomWalk
from cpugpu.explore.strategies.urw import Urw
from cpugpu.explore.strategies.wrappers import Deterministic
from cpugpu.explore.unmodelled import UNKNOWN
from cpugpu.explore.verdict import Verdict
from cpugpu.explore.watchdog import watched
from cpugpu.rig import Scenario

STRATEGIES = ("auto", "dfs", "dpor", "random", "pct", "pos", "urw")
#: Before reduction: most bugs need few preemptions, and a schedule with few is one that people can read.
_FIRST_BOUNDS = (0, 1, 2)
#: At most this share of the time goes to each of these bounds.
_BOUND_SHARE = 0.2
#: Of what is left then, reduction gets this share, unless it comes to its end; the rest is for sampling.
_REDUCTION_SHARE = 0.6
#: URW and POS take turns of so many schedules.
_TURN = 200

Tell = Callable[[str, int, int], None]


def explore(
    scenario: Scenario,
    *,
    seconds: float = 10.0,
    strategy: str = "auto",
    bound: int | None = None,
    seed: int | None = None,
    replay: str | None = None,
    trace: Sequence[type] = (),
    stop_at_first: bool = True,
    spurious: int = 0,
    tell: Tell | None = None,
) -> Verdict:
    """Try the schedules of `scenario`: which thread, and which stream of the simulated device, takes the next step.

    `strategy`: `dfs` tries every schedule, or with `bound` every one with at most so many preemptions; `dpor` one of
    each trace; `random`, `pct`, `pos` and `urw` sample until the time is up. `auto`: the bounds 0, 1 and 2, then `dpor`
    to the end, then `urw` and `pos` in turn. `seed`: of random choices (None: `CPUGPU_SEED`, else drawn). `replay`: the
    text of a schedule, which is all that is tried. `trace`: classes of which every line is a step too, so that a race
    inside them is seen. `stop_at_first`: end at the first failing schedule. `spurious`: so many waits of each thread
    on a condition may end though nobody has notified them. `tell` gets the strategy, the schedules and the failing ones
    now and then.

    What is proved holds for the interleavings of steps at the granularity that the verdict names: what a thread does
    between two steps is never torn apart. A line of a traced class is a step where it touches an attribute, a variable
    that several functions share, or what one of these holds, in lists and other objects to a depth of four; a line is
    never torn apart but at the operations in it, and what code of other classes does to their own attributes is no
    step. The scenario must do the same whenever the schedule is the same. `ValueError` for bad arguments,
    `ScheduleError` for a `replay` that does not fit.
    """
    _check(scenario, seconds, strategy, bound, seed)
    if not isinstance(spurious, int) or spurious < 0:
        raise ValueError(f"spurious={spurious!r} is not a number of wake-ups from 0")
    if seed is None:
        seed = settings.seed()
    if seed is None:
        seed = random.SystemRandom().randrange(2**32)
    unfit = scenario.unfit(Place())
    with ExitStack() as stack:
        carriers = stack.enter_context(Carriers())
        executor = Executor(scenario, tuple(trace), int(spurious), carriers)
        exploration = _Exploration(executor, seconds, seed, stop_at_first=stop_at_first, tell=tell)
        if unfit:
            return exploration.refuse(f"the explorer cannot run it: it {unfit}")
        if before := made_before(scenario.function):
            return exploration.refuse(before)
        stack.enter_context(watched())
        stack.enter_context(standing_in())
        stack.enter_context(traced(trace))
        # That a wait warns after a minute is a timeout like any other, which would be a choice in every wait.
        stack.enter_context(settings.stalls_by_default_after(None))
        if replay is not None or scenario.schedule:
            return exploration.repeat(replay or scenario.schedule)
        return exploration.run(strategy, bound)


class _Exploration:
    """An exploration under way."""

    def __init__(
        self, executor: Executor, seconds: float, seed: int, *, stop_at_first: bool, tell: Tell | None
    ) -> None:
        self._executor = executor
        self._seed = seed
        self._stop_at_first = stop_at_first
        self._tell = tell
        self._began = monotonic()
        self._deadline = self._began + seconds
        self._tally = Tally(self._began)
        self._kept = Kept(executor.scenario)

    def refuse(self, reason: str) -> Verdict:
        """Try nothing."""
        self._tally.reason = reason
        return self._verdict("none", None, exhausted=False)

    def repeat(self, text: str) -> Verdict:
        """One schedule, as it was written down."""
        replay = self._executor.replay(text)
        self._drive("replay", replay, math.inf)
        if not replay.fits and not self._tally.reason:
            raise ScheduleError(f"{text!r} does not fit: the program did something else than when it was written down")
        return self._verdict("replay", None, exhausted=False)

    def run(self, name: str, bound: int | None) -> Verdict:
        """By the strategy of that name."""
        for text in self._kept.texts() if self._stop_at_first else ():  # else all failing ones are to be counted
            if self._repeats_failure(text):
                return self._verdict("kept", None, exhausted=False)
        if name == "auto":
            return self._auto(bound)
        strategy = _make(name, bound, self._seed)
        exhausted = self._drive(name, strategy, self._deadline)
        if exhausted and name == "dpor":
            self._tally.traces = self._tally.schedules
        if isinstance(strategy, DepthFirst) and exhausted and not strategy.cut:
            bound = None
        return self._verdict(name, bound if name == "dfs" else None, exhausted=exhausted)

    def _auto(self, bound: int | None) -> Verdict:
        bounds = range(bound + 1) if bound is not None else _FIRST_BOUNDS
        seconds = self._deadline - self._began
        for number in bounds:
            limit = self._deadline if bound is not None else min(self._deadline, monotonic() + seconds * _BOUND_SHARE)
            search = DepthFirst(number)
            exhausted = self._drive(f"dfs, at most {number} preemptions", search, limit)
            if self._over:
                return self._verdict("auto", bound, exhausted=False)
            if exhausted:
                self._tally.proved_below = number + 1
                if not search.cut:  # there are no others
                    return self._verdict("auto", None, exhausted=True)
        if bound is not None:
            return self._verdict("auto", bound, exhausted=exhausted)
        before, now = self._tally.schedules, monotonic()
        exhausted = self._drive("dpor", Dpor(), now + (self._deadline - now) * _REDUCTION_SHARE)
        if exhausted:
            self._tally.traces = self._tally.schedules - before
        elif not self._over:
            self._sample()
        return self._verdict("auto", None, exhausted=exhausted)

    def _sample(self) -> None:
        """URW and POS in turn, until the time is up."""
        for number, strategy in enumerate(_in_turn(self._seed)):
            name = "urw" if number % 2 == 0 else "pos"
            self._drive(name, strategy, self._deadline, most=_TURN)
            if self._over or monotonic() >= self._deadline:
                return

    @property
    def _over(self) -> bool:
        return bool(self._tally.reason) or (self._stop_at_first and self._tally.first is not None)

    def _drive(self, name: str, strategy: Strategy, deadline: float, *, most: float = math.inf) -> bool:
        """Try schedules by a strategy. True if it has none left, and none was lost."""
        tally, checked = self._tally, Deterministic(strategy)
        count = 0
        while count < most:
            if monotonic() >= deadline:
                return False
            if not checked.begin():
                return strategy.exhaustive and not tally.reason
            run = self._executor.execute(checked)
            checked.end(run)
            if checked.difference:
                tally.reason = f"{self._executor.place}: the scenario is not deterministic: {checked.difference}"
                return False
            if run.ending is Ending.GIVEN_UP or getattr(strategy, "vain", False):
                continue
            if not run.complete:
                tally.reason = _why(run, self._executor)
                return False
            count += 1
            tally.add(run, sampled=not strategy.exhaustive)
            if self._tell is not None:
                self._tell(name, tally.schedules, tally.failing)
            if self._over:
                return False
        return False

    def _repeats_failure(self, text: str) -> bool:
        """Try a schedule that has failed before."""
        try:
            replay = self._executor.replay(text)
        except ScheduleError:
            self._kept.forget(text)
            return False
        self._drive("kept", replay, math.inf)
        if self._tally.first is None:
            self._kept.forget(text)
            self._tally = Tally(self._began)
        return self._tally.first is not None

    def _verdict(self, name: str, bound: int | None, *, exhausted: bool) -> Verdict:
        verdict = conclude(
            self._tally, self._executor, strategy=name, bound=bound, seed=self._seed, exhausted=exhausted
        )
        if verdict.failure is not None:
            self._kept.keep(verdict.failure.replay)
        return verdict


def _make(name: str, bound: int | None, seed: int) -> Strategy:
    if name == "dfs":
        return DepthFirst(bound)
    if name == "dpor":
        return Dpor()
    makers: dict[str, Callable[[int], Strategy]] = {"random": RandomWalk, "pct": Pct, "pos": Pos, "urw": Urw}
    return makers[name](seed)


def _in_turn(seed: int) -> Iterator[Strategy]:
    urw, pos = Urw(seed), Pos(seed)
    while True:
        yield urw
        yield pos


def _why(run: Run, executor: Executor) -> str:
    """Why nothing can be concluded from a run that has not come to an end of its own."""
    if run.ending is Ending.SET_UP:
        return f"it raised before it had a thread:\n{run.details}"
    if run.details.startswith(f"{UNKNOWN}: "):
        return executor.place + run.details.removeprefix(UNKNOWN)
    return run.details


def _check(scenario: object, seconds: float, strategy: str, bound: int | None, seed: int | None) -> None:
    if not isinstance(scenario, Scenario):
        raise TypeError(f"explore() takes what @scenario makes, not {scenario!r}")
    if not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
        raise ValueError(f"seconds={seconds!r} is not a number of seconds above 0")
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy={strategy!r} is not one of {', '.join(STRATEGIES)}")
    if bound is not None and (not isinstance(bound, int) or bound < 0):
        raise ValueError(f"bound={bound!r} is neither a number of preemptions from 0 nor None")
    if bound is not None and strategy not in ("auto", "dfs"):
        raise ValueError(f"bound={bound!r} is for the strategies auto and dfs, not for {strategy}")
    if seed is not None and seed < 0:
        raise ValueError(f"seed={seed!r} is not an integer from 0")
