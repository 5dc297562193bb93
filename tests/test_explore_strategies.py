"""The strategies that sample, the wrappers, and the estimate of what sampling has not seen."""

from __future__ import annotations

import datetime
import itertools
import math
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence

import pytest

from cpugpu.explore.execution import Actor, Key
from cpugpu.explore.operation import WRITE
from cpugpu.explore.run import Ending, Run, execute
from cpugpu.explore.standins.patching import standing_in
from cpugpu.explore.strategies.base import Strategy
from cpugpu.explore.strategies.coverage import Coverage, trace_of
from cpugpu.explore.strategies.dfs import DepthFirst
from cpugpu.explore.strategies.dpor import Dpor
from cpugpu.explore.strategies.pct import UNFAIR, Pct
from cpugpu.explore.strategies.pos import Pos
from cpugpu.explore.strategies.random_walk import RandomWalk
from cpugpu.explore.strategies.urw import Urw
from cpugpu.explore.strategies.wrappers import Counting, Deterministic
from cpugpu.rig import Rig, Scenario, scenario
from tests.small.programs import PROGRAMS, independent, updates

pytestmark = pytest.mark.slow

BY_NAME = {program.name: program for program in PROGRAMS}
SAMPLING: list[Callable[[int], Strategy]] = [RandomWalk, Pct, Pos, Urw]
SEEDS = range(20)

sampling = pytest.mark.parametrize("make", SAMPLING)


def runs(program: Scenario, strategy: Strategy, most: int | None = None) -> Iterator[Run]:
    with standing_in():
        while (most is None or most > 0) and strategy.begin():
            run = execute(program, strategy.choose, to_the_end=strategy.to_the_end)
            strategy.end(run)
            yield run
            most = most - 1 if most is not None else None


def sampled(program: Scenario, strategy: Strategy, count: int, *, skip: int = 0) -> Counter[tuple[Key, ...]]:
    """How often each schedule came, after the first few."""
    return Counter(tuple(run.schedule) for run in itertools.islice(runs(program, strategy, count + skip), skip, None))


def all_runs(program: Scenario) -> list[Run]:
    return [*runs(program, DepthFirst())]


def chi_square(found: Counter[tuple[Key, ...]], expected: dict[tuple[Key, ...], float]) -> float:
    """How far samples are from a distribution; infinite if there is one that cannot be."""
    if not found.keys() <= expected.keys():
        return math.inf
    total = sum(found.values())
    return sum((found[key] - total * share) ** 2 / (total * share) for key, share in expected.items())


def threshold(cells: int) -> float:
    """What chi-square exceeds by chance with a probability of about 0.001 (Wilson and Hilferty's approximation)."""
    freedom = cells - 1
    return freedom * (1 - 2 / (9 * freedom) + 3.09 * math.sqrt(2 / (9 * freedom))) ** 3


def uniform(program: Scenario) -> dict[tuple[Key, ...], float]:
    schedules = [tuple(run.schedule) for run in all_runs(program)]
    return dict.fromkeys(schedules, 1 / len(schedules))


def walked(program: Scenario) -> dict[tuple[Key, ...], float]:
    """The probability of each schedule in a random walk."""
    return {tuple(run.schedule): probability(run) for run in all_runs(program)}


def probability(run: Run) -> float:
    return math.prod(1 / len(step.enabled) for step in run.steps)


# -- all of them ------------------------------------------------------------------------------------------------------


@sampling
@pytest.mark.parametrize(
    ("name", "within"),
    [
        ("cta2", 100),
        ("abba", 150),
        ("lost_wakeup", 200),
        ("message_passing_bad", 200),
        ("drain_then_clear", 200),
        ("twostage", 700),
        ("stolen_wakeup", 900),
        ("flag_mutex", 1500),
    ],
)
def test_a_bug_is_found_with_every_seed(make: Callable[[int], Strategy], name: str, within: int) -> None:
    for seed in SEEDS:
        assert any(run.failed for run in runs(BY_NAME[name].scenario, make(seed), within)), seed


@sampling
def test_the_same_seed_leads_to_the_same_schedules(make: Callable[[int], Strategy]) -> None:
    program = BY_NAME["wrong_lock2"].scenario
    first, again, other = ([run.schedule for run in runs(program, make(seed), 40)] for seed in (5, 5, 6))
    assert first == again != other


@sampling
def test_a_thread_that_spins_does_not_keep_out_who_it_waits_for(make: Callable[[int], Strategy]) -> None:
    @scenario(accept=["done"])
    def program(rig: Rig) -> Hashable:
        flag = rig.cell(0)

        def spin() -> None:
            while not flag.get():
                pass

        rig.run(spin, spin, lambda: flag.set(1))
        return "done"

    assert {(run.ending, run.outcome) for run in runs(program, make(1), 60)} == {(Ending.OUTCOME, "done")}


@sampling
def test_none_of_them_claims_to_be_exhaustive(make: Callable[[int], Strategy]) -> None:
    strategy = make(0)
    assert not strategy.exhaustive
    assert not strategy.to_the_end
    assert len([*runs(independent(1), strategy, 20)]) == 20


# -- the random walk and the uniform one ------------------------------------------------------------------------------


def test_a_random_walk_chooses_evenly_at_each_step() -> None:
    program = independent(3, 3)
    expected = walked(program)
    assert chi_square(sampled(program, RandomWalk(1), 2000), expected) < threshold(len(expected))


def test_urw_is_uniform_over_interleavings_and_a_random_walk_is_not() -> None:
    program = independent(4, 4)
    expected = uniform(program)
    assert len(expected) == math.comb(8, 4)
    assert chi_square(sampled(program, Urw(1), 2800, skip=Urw.trials), expected) < threshold(len(expected))
    assert chi_square(sampled(program, RandomWalk(1), 1500), expected) > 5 * threshold(len(expected))


@scenario
def makes_a_thread(rig: Rig) -> Hashable:
    """Not before its second step does one thread make another, which has most of the steps."""
    cells = [rig.cell(0) for _ in range(3)]

    def steps(number: int, count: int) -> Callable[[], None]:
        def body() -> None:
            for value in range(count):
                cells[number].set(value)

        return body

    def maker() -> None:
        cells[0].set(1)
        threading.Thread(target=steps(1, 3)).start()

    rig.run(maker, steps(2, 3))
    rig.until(lambda: cells[1].get() == 2, cells[1])
    return None


class _OwnStepsOnly(Urw):
    def _add_up(self) -> None:
        self._whole = dict(self._counts)


def test_urw_counts_the_steps_of_those_that_are_still_to_be_made() -> None:
    def orders(strategy: Strategy, count: int | None) -> Counter[tuple[Key, ...]]:
        main = (0,)  # it waits for the others
        return Counter(
            tuple(key for key in run.schedule if key != main) for run in runs(makes_a_thread, strategy, count)
        )

    every = orders(DepthFirst(), None)
    assert len(every) == math.comb(2 + 3 + 3, 3)
    expected = dict.fromkeys(every, 1 / len(every))
    assert chi_square(orders(Urw(2), 1200), expected) < threshold(len(expected))
    assert chi_square(orders(_OwnStepsOnly(2), 1200), expected) > 2 * threshold(len(expected))


class _OneTrial(Urw):
    trials = 1
    floor = 0

    def end(self, run: Run) -> None:
        if self._executions == 1:
            super().end(run)


def test_urw_with_a_single_trial_and_no_floor_would_never_reach_some_schedules() -> None:
    program = BY_NAME["cta2"]
    brittle = [len(sampled(program.scenario, _OneTrial(seed), 300)) for seed in range(6)]
    robust = [len(sampled(program.scenario, Urw(seed), 300)) for seed in range(6)]
    assert min(robust) == program.interleavings
    assert sum(count < program.interleavings for count in brittle) >= 3, brittle


def test_urw_learns_of_steps_that_its_trials_have_not_seen() -> None:
    done = itertools.count()

    @scenario
    def program(rig: Rig) -> Hashable:
        cell = rig.cell(0)
        times = 3 if next(done) < Urw.trials else 9

        def thread() -> None:
            for each in range(times):
                cell.set(each)

        rig.run(thread, thread)
        return None

    strategy = Urw(1)
    for _ in runs(program, strategy, Urw.trials):
        pass
    assert sorted(strategy._counts.values())[-2:] == [3, 3]
    for _ in runs(program, strategy, 1):
        pass
    assert sorted(strategy._counts.values())[-2:] == [9, 9]


def test_urw_does_not_learn_to_spin_ever_longer() -> None:
    @scenario(accept=["done"])
    def program(rig: Rig) -> Hashable:
        flag = rig.cell(0)

        def spin() -> None:
            while not flag.get():
                pass

        rig.run(spin, lambda: flag.set(1))
        return "done"

    strategy, unlimited = Urw(1), Urw(1)
    unlimited.growth = 1000
    tried = max(strategy._counts[key] for _ in runs(program, strategy, Urw.trials) for key in strategy._counts)
    for _ in runs(program, strategy, 600):
        pass
    for _ in runs(program, unlimited, 600):
        pass
    assert max(strategy._counts.values()) <= Urw.growth * tried < max(unlimited._counts.values())


# -- priorities -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "depth"),
    [
        ("abba", 2),
        ("twostage", 2),
        ("message_passing_bad", 2),
        ("flag_mutex", 3),
        ("try_lock_abba", 3),
        ("peterson_swapped", 3),
    ],
)
def test_pct_finds_a_bug_of_its_depth_as_often_as_it_guarantees_and_none_that_is_deeper(name: str, depth: int) -> None:
    program = BY_NAME[name].scenario
    strategy, count = Pct(5, depth), 300 if depth == 2 else 900
    found = sum(run.failed for run in itertools.islice(runs(program, strategy, count), 1, None))
    assert found >= count / (2 * strategy.length ** (depth - 1))
    shallow = itertools.islice(runs(program, Pct(5, depth - 1), count), 1, None)  # the first one is a random walk
    assert not any(run.failed for run in shallow)


def test_pct_has_few_schedules_where_it_has_few_changes() -> None:
    strategy = Counting(Pct(1, depth=1))
    for _ in runs(independent(5, 5), strategy, 200):
        pass
    assert strategy.distinct <= 2 + 1  # who is first; and the random walk at the beginning


def test_pct_orders_three_actors_in_every_way() -> None:
    assert len(sampled(independent(1, 1, 1), Pct(1, depth=1), 100)) == 6


def test_pct_lets_a_third_go_on_where_two_poll() -> None:
    @scenario(accept=["done"])
    def program(rig: Rig) -> Hashable:
        flag = rig.cell(0)

        def poll() -> None:
            while not flag.get():
                rig.pause()

        rig.run(poll, poll, lambda: flag.set(1))
        return "done"

    for seed in range(5):
        strategy = Counting(Pct(seed, depth=2))
        for run in itertools.islice(runs(program, strategy, 50), 1, None):
            assert len(run.steps) < 40 < UNFAIR


@pytest.mark.parametrize("depth", [0, -1])
def test_pct_refuses_a_depth_below_one(depth: int) -> None:
    with pytest.raises(ValueError, match="depth"):
        Pct(0, depth)


class _DrawsOnce(Pos):
    """The priority of a step is drawn once."""

    def _taken(self, actor: Actor) -> None:
        self._pending.pop(actor.key, None)


def test_pos_draws_the_priorities_of_racing_steps_again() -> None:
    program = updates(2, 3)
    expected = walked(program)  # each time, both are new
    assert chi_square(sampled(program, Pos(1), 1200), expected) < threshold(len(expected))
    assert chi_square(sampled(program, _DrawsOnce(1), 1200), expected) > 5 * threshold(len(expected))


def test_pos_keeps_the_priorities_of_steps_that_do_not_race() -> None:
    found = sampled(independent(3, 3), Pos(1), 1200)
    in_a_row = sum(count for schedule, count in found.items() if len({*schedule[:3]}) == 1)
    # A thread does all it has before the other's first step if that step has the lowest priority of four.
    assert in_a_row / 1200 == pytest.approx(2 * 1 / 4, abs=0.04)
    once = sampled(independent(3, 3), _DrawsOnce(1), 1200)
    assert sum(count for schedule, count in once.items() if len({*schedule[:3]}) == 1) == in_a_row


# -- the wrappers -----------------------------------------------------------------------------------------------------


def test_counting_counts() -> None:
    strategy = Counting(DepthFirst())
    found = [*runs(BY_NAME["abba"].scenario, strategy)]
    assert (strategy.executions, strategy.distinct, strategy.given_up) == (6, 6, 0)
    assert strategy.steps == sum(len(run.steps) for run in found)
    assert strategy.deepest == max(len(run.steps) for run in found)
    assert strategy.exhaustive
    assert not strategy.to_the_end
    assert Counting(Dpor()).to_the_end


def test_counting_counts_a_schedule_once() -> None:
    strategy = Counting(RandomWalk(0))
    assert len([*runs(BY_NAME["two_steps"].scenario, strategy, 50)]) == 50
    assert (strategy.executions, strategy.distinct, strategy.full) == (50, 2, False)


def test_counting_remembers_only_so_many() -> None:
    strategy = Counting(DepthFirst(), remembers=4)
    for _ in runs(BY_NAME["abba"].scenario, strategy):
        pass
    assert (strategy.executions, strategy.distinct, strategy.full) == (6, 4, True)


def test_counting_counts_what_was_given_up() -> None:
    class GivesUp(RandomWalk):
        def choose(self, enabled: Sequence[Actor], current: Actor | None) -> Actor | None:
            return None if current is not None else super().choose(enabled, current)

    strategy = Counting(GivesUp(0))
    for _ in runs(BY_NAME["abba"].scenario, strategy, 3):
        pass
    assert (strategy.executions, strategy.given_up, strategy.steps, strategy.distinct) == (3, 3, 3, 0)


SAMPLE = [program for program in PROGRAMS if program.interleavings <= 3000][::2][:40]


@pytest.mark.parametrize("make", [lambda _seed: DepthFirst(), lambda _seed: Dpor(), *SAMPLING])
def test_a_deterministic_scenario_is_taken_for_one(make: Callable[[int], Strategy]) -> None:
    assert len(SAMPLE) == 40
    for program in SAMPLE:
        strategy = Deterministic(make(1))
        for _ in runs(program.scenario, strategy, 20):
            pass
        assert not strategy.difference, program.name


def _keeps_state() -> Scenario:
    seen: list[int] = []

    @scenario
    def program(rig: Rig) -> Hashable:
        cell = rig.cell(0)
        seen.append(1)
        first = len(seen) == 1

        def thread() -> None:
            if first:
                cell.get()
            else:
                cell.set(1)

        rig.run(thread, thread)
        return None

    return program


def _keeps_state_and_stops_early() -> Scenario:
    seen: list[int] = []

    @scenario
    def program(rig: Rig) -> Hashable:
        cell = rig.cell(0)
        seen.append(1)
        rig.run(cell.get)
        return cell.get() if len(seen) < 3 else 0

    return program


def _keeps_state_and_goes_on() -> Scenario:
    seen: list[int] = []

    @scenario
    def program(rig: Rig) -> Hashable:
        cell = rig.cell(0)
        seen.append(1)
        rig.run(cell.get)
        return cell.get() if len(seen) > 2 else 0

    return program


def _keeps_state_and_tells_something_else() -> Scenario:
    seen: list[int] = []

    @scenario(accept=["first"], forbid=["later"])
    def program(rig: Rig) -> Hashable:
        cell = rig.cell(0)
        seen.append(1)
        rig.run(cell.get)
        return "first" if len(seen) < 3 else "later"

    return program


def _depends_on_the_order_of_a_set() -> Scenario:
    hashes = itertools.cycle([0, 1, 1, 0])

    class Thing:
        """Its hash is like an address: another one in each execution."""

        def __init__(self, number: int) -> None:
            self.number = number
            self._hash = next(hashes)

        def __hash__(self) -> int:
            return self._hash

    @scenario
    def program(rig: Rig) -> Hashable:
        cells = [rig.cell(0), rig.cell(0)]
        rig.run(lambda: [cells[thing.number].get() for thing in {Thing(0), Thing(1)}], cells[0].get)
        return None

    return program


def _depends_on_the_time() -> Scenario:
    @scenario
    def program(rig: Rig) -> Hashable:
        cells = [rig.cell(0), rig.cell(0)]
        rig.run(cells[datetime.datetime.now().microsecond % 2].get)
        return None

    return program


NOT_DETERMINISTIC = [
    _keeps_state,
    _keeps_state_and_stops_early,
    _keeps_state_and_goes_on,
    _keeps_state_and_tells_something_else,
    _depends_on_the_order_of_a_set,
    _depends_on_the_time,
]


@pytest.mark.parametrize(
    ("program", "make"),
    [
        *itertools.product(NOT_DETERMINISTIC, SAMPLING),
        (_keeps_state, lambda _seed: DepthFirst()),
        (_depends_on_the_order_of_a_set, lambda _seed: DepthFirst()),
    ],
)
def test_a_scenario_that_is_not_deterministic_is_noticed(
    program: Callable[[], Scenario], make: Callable[[int], Strategy]
) -> None:
    strategy = Deterministic(make(1))
    for _ in runs(program(), strategy, 300):
        pass
    assert strategy.difference.startswith("after the same ")
    assert not strategy.begin()


def test_a_difference_names_the_step_and_what_was_offered() -> None:
    strategy = Deterministic(DepthFirst())
    found = [*runs(_keeps_state(), strategy)]
    assert found[-1].ending is Ending.GIVEN_UP
    assert strategy.difference == (
        "after the same 0 steps, what could be next was thread (get cell 0.0), thread (get cell 0.0); "
        "now what could be next was thread (set cell 0.0), thread (set cell 0.0)"
    )


def test_wrappers_can_be_wrapped() -> None:
    counting = Counting(DepthFirst())
    strategy = Deterministic(counting)
    assert len([*runs(BY_NAME["cta2"].scenario, strategy)]) == counting.executions == 16
    assert strategy.exhaustive


# -- coverage ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "program",
    [program for program in PROGRAMS if program.interleavings <= 120 and program.traces is not None],
    ids=lambda program: program.name,
)
def test_all_interleavings_have_the_traces_that_the_oracle_counts(program: object) -> None:
    coverage = Coverage()
    for run in runs(program.scenario, DepthFirst()):  # type: ignore[attr-defined]
        coverage.add(run)
    assert (coverage.executions, coverage.seen) == (program.interleavings, program.traces)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["readers3", "treiber_stack3", "semaphore_try", "waiters3_all"])
def test_larger_programs_too(name: str) -> None:
    coverage = Coverage()
    for run in runs(BY_NAME[name].scenario, DepthFirst()):
        coverage.add(run)
    assert coverage.seen == BY_NAME[name].traces


@pytest.mark.parametrize(("name", "traces"), [("readers2", 1), ("lost_update2", 2), ("message_passing", 1)])
def test_without_its_reads_a_run_has_another_trace(name: str, traces: int) -> None:
    def written(run: Run) -> int:
        return trace_of(
            [step._replace(footprint=tuple(each for each in step.footprint if each[1] is WRITE)) for step in run.steps]
        )

    found = all_runs(BY_NAME[name].scenario)
    assert len({written(run) for run in found}) == traces
    assert len({trace_of(run.steps) for run in found}) == BY_NAME[name].traces != traces


def _weights(program: Scenario) -> dict[int, float]:
    """The probability of each trace in a random walk."""
    weights: Counter[int] = Counter()
    for run in all_runs(program):
        weights[trace_of(run.steps)] += probability(run)  # type: ignore[assignment]
    assert sum(weights.values()) == pytest.approx(1)
    return dict(weights)


@pytest.mark.parametrize(("name", "executions"), [("lost_update3", 20), ("lost_update3", 100), ("updates6", 200)])
def test_the_interval_holds_what_is_missing(name: str, executions: int) -> None:
    program = BY_NAME[name].scenario
    weights = _weights(program)
    estimates, truths = [], []
    for seed in range(6):
        coverage, seen = Coverage(), set()
        for run in runs(program, RandomWalk(seed), executions):
            coverage.add(run)
            seen.add(trace_of(run.steps))
        truth = 1 - sum(weights[trace] for trace in seen)
        estimate, low, high = coverage.missing_mass
        assert low <= truth <= high, seed
        assert low <= estimate <= high
        estimates.append(estimate)
        truths.append(truth)
    assert sum(estimates) / 6 == pytest.approx(sum(truths) / 6, abs=0.05 + 1 / executions)


def test_the_lower_end_says_so_where_most_is_missing() -> None:
    coverage = Coverage()
    for run in runs(updates(4, 3), RandomWalk(0), 500):  # of 369,600 traces
        coverage.add(run)
    assert coverage.missing_mass.estimate > 0.95
    assert coverage.missing_mass.low > 0.7


@pytest.mark.parametrize("name", ["readers3", "lost_update3"])
def test_nothing_is_missing_in_the_end(name: str) -> None:
    coverage = Coverage()
    for run in runs(BY_NAME[name].scenario, Pos(1), 1000):
        coverage.add(run)
    assert coverage.seen == coverage.traces == BY_NAME[name].traces
    estimate, low, high = coverage.missing_mass
    assert (estimate, low) == (0, 0)
    assert high < 0.05


def test_chao_comes_nearer_to_the_number_of_traces_than_what_was_seen() -> None:
    coverage = Coverage()
    for run in runs(BY_NAME["updates6"].scenario, RandomWalk(3), 500):
        coverage.add(run)
    assert coverage.seen < 400
    assert coverage.traces == pytest.approx(720, rel=0.2)


def test_without_executions_all_is_missing() -> None:
    coverage = Coverage()
    assert [*coverage.missing_mass] == [1, 0, 1]
    assert coverage.traces == 0
    with pytest.raises(ValueError, match="confidence"):
        Coverage(confidence=95)


def test_executions_that_were_given_up_do_not_count() -> None:
    coverage = Coverage()
    with standing_in():
        coverage.add(execute(BY_NAME["abba"].scenario, lambda _enabled, _current: None))
    assert coverage.executions == 0


_PRINTS = """
from tests.test_explore_strategies import BY_NAME, Urw, runs, trace_of
print([(run.schedule, trace_of(run.steps)) for run in runs(BY_NAME["stolen_wakeup"].scenario, Urw(3), 20)])
"""


def test_schedules_and_traces_do_not_depend_on_the_seed_of_hashes() -> None:
    printed = subprocess.run(
        [sys.executable, "-c", _PRINTS],
        env={**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    here = [(run.schedule, trace_of(run.steps)) for run in runs(BY_NAME["stolen_wakeup"].scenario, Urw(3), 20)]
    assert printed.strip() == str(here)
