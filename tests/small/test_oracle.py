"""The oracle against figures that others have found, against closed forms, and its two counters against each other."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

import pytest

from cpugpu.rig import Rig, scenario
from tests.small import programs
from tests.small.oracle import TooLarge, Touches, World, conflict, interleavings, measure, trace_of
from tests.small.programs import LARGEST, MORE, PROGRAMS, TABLE, Program, random_program

pytestmark = pytest.mark.slow

BY_NAME = {program.name: program for program in PROGRAMS}

#: Programs with more than 1,500 trace prefixes. Their figures were computed once.
HEAVY = {
    "bounded_buffer3", "independent6x3", "lastzero5", "lost_update4", "philosophers5", "readers5", "readers6",
    "readers8", "reorder3", "semaphore2of3", "spin_lock3", "try_lock4", "updates6", "writers5",
}  # fmt: skip

#: Counted by somebody else: interleavings, failing ones, traces, failing traces, preemptions, bounded.
COUNTED = {
    "cta2": (16, 12, 6, 4, 1, (2, 6, 10)),
    "cta3": (702, 684, 63, 60, 1, (6, 30, 84)),
    "cta2_locked": (2, 0, 2, 0, None, (2, 2, 2)),
    "lost_update2": (6, 4, 4, 2, 1, (2, 4, 6)),
    "account_bad": (6, 2, 6, 2, 0, (6, 6, 6)),
    "abba": (6, 2, 3, 1, 1, (2, 6, 6)),
    "philosophers3": (168, 6, 7, 1, 1, None),
    "twostage": (37, 1, 3, 1, 1, (2, 6, 15)),
    "lost_wakeup": (8, 1, 3, 1, 1, (2, 7, 8)),
    "lost_wakeup_ok": (2, 0, 2, 0, None, (2, 2, 2)),
    "peterson": (26, 0, 4, 0, None, (2, 12, 20)),
    "readers2": (30, 0, 4, 0, None, (6, 18, 30)),
    "readers3": (630, 0, 8, 0, None, (24, 132, 384)),
    "lastzero3": (920, 0, 12, 0, None, (24, 142, 451)),
    "uneven": (26, 1, 26, 1, 0, (2, 26, 26)),
}


def named(some: list[Program]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("program", some, ids=[program.name for program in some])


def count_plainly(program: Program) -> Program:
    """The figures of a program by the executions of all its interleavings."""
    runs = [*interleavings(program.scenario)]
    traces: dict[object, bool] = {trace_of(run.steps): run.failed for run in runs}
    defined = not any(run.cut for run in runs)
    return Program(
        program.name,
        program.scenario,
        interleavings=len(runs),
        failing=sum(run.failed for run in runs),
        traces=len(traces) if defined else None,
        failing_traces=sum(traces.values()) if defined else None,
        passing_traces=len(traces) - sum(traces.values()),
        preemptions=min((run.preemptions for run in runs if run.failed), default=None),
        bounded=tuple(sum(run.preemptions <= bound for run in runs) for bound in range(3)),  # type: ignore[arg-type]
    )


@named(TABLE)
def test_the_oracle_agrees_with_what_others_have_counted(program: Program) -> None:
    found = measure(program.scenario)
    all_ends = sum(found.ends.values())  # counts a cut run as a trace, as the others did
    bounded = found.bounded if COUNTED[program.name][-1] else None
    assert (
        found.interleavings,
        found.failing,
        all_ends,
        all_ends - found.passing_traces,
        found.preemptions,
        bounded,
    ) == COUNTED[program.name]


def test_the_table_is_complete() -> None:
    assert COUNTED.keys() == {program.name for program in TABLE}
    assert len(BY_NAME) == len(PROGRAMS)
    assert BY_NAME.keys() > HEAVY


@named([program for program in PROGRAMS if program.name not in HEAVY])
def test_the_figures_of_a_program_are_those_of_the_oracle(program: Program) -> None:
    assert programs._program(program.name, program.scenario, measure(program.scenario)) == program


@named([program for program in PROGRAMS if program.interleavings <= 500])
def test_executing_every_interleaving_gives_the_same_figures(program: Program) -> None:
    assert count_plainly(program) == program


@pytest.mark.parametrize("seed", range(1000, 1016))
def test_both_counters_agree_on_a_random_program(seed: int) -> None:
    program = random_program(seed)
    if program.interleavings > 400:
        return
    assert count_plainly(program) == program


def test_random_programs_are_the_same_for_the_same_seed_and_small() -> None:
    first, second = ([random_program(seed) for seed in range(4)] for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert one.scenario.function.__doc__ == other.scenario.function.__doc__
        assert 2 <= one.interleavings == other.interleavings <= LARGEST


# -- closed forms -----------------------------------------------------------------------------------------------------


@named([program for program in PROGRAMS if program.name.startswith(("independent", "two_steps", "one_thread"))])
def test_independent_threads_have_one_trace(program: Program) -> None:
    world = World(program.scenario)
    lengths = []
    for thread in range(len(world.threads)):
        while world.pending(thread) is not None:
            world.take(thread)
        lengths.append(world.threads[thread].steps)
    world.close()
    assert program.interleavings == math.factorial(sum(lengths)) // math.prod(map(math.factorial, lengths))
    assert program.traces == 1


@pytest.mark.parametrize("steps", [1, 2, 4, 10, 20])
def test_two_independent_threads_by_preemptions(steps: int) -> None:
    figures = measure(programs.independent(steps, steps))
    assert figures.interleavings == math.comb(2 * steps, steps)
    assert figures.bounded == (2, 2 * steps, 2 * (steps * steps - steps + 1))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 8])
def test_readers_double_the_traces(count: int) -> None:
    program = BY_NAME[f"readers{count}"]
    assert program.traces == 2**count
    assert program.interleavings == math.factorial(2 * count + 1) // 2**count


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_last_zero_has_the_published_number_of_traces(count: int) -> None:
    assert BY_NAME[f"lastzero{count}"].traces == (count + 3) * 2**count // 4


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_philosophers_order_each_fork_and_fail_in_one_trace(count: int) -> None:
    program = BY_NAME[f"philosophers{count}"]
    assert (program.traces, program.failing_traces) == (2**count - 1, 1)
    assert program.failing == math.factorial(count)


@pytest.mark.parametrize(
    ("name", "threads"), [("counter3", 3), ("counter4", 4), ("counter5", 5), ("cta3_locked", 3), ("updates6", 6)]
)
def test_critical_sections_come_in_any_order(name: str, threads: int) -> None:
    assert BY_NAME[name].interleavings == BY_NAME[name].traces == math.factorial(threads)


@pytest.mark.parametrize("count", [3, 5])
def test_writers_and_a_reader_come_in_any_order(count: int) -> None:
    program = BY_NAME[f"writers{count}"]
    assert program.traces == math.factorial(count + 1)
    assert program.interleavings == math.factorial(count + 2) // 2


def test_threads_that_meet_once_have_two_traces() -> None:
    program = BY_NAME["mixed10"]
    assert (program.interleavings, program.traces) == (math.comb(22, 11), 2)


def test_locks_that_are_not_shared_order_nothing() -> None:
    program = BY_NAME["own_locks4"]
    assert (program.interleavings, program.traces) == (math.factorial(12) // 6**4, 1)


# -- the oracle itself ------------------------------------------------------------------------------------------------


def _all_write(first: Touches, second: Touches) -> bool:
    return any(a == b for a, _ in first for b, _ in second)


def _nothing_conflicts(first: Touches, second: Touches) -> bool:
    return False


def _only_two_writes(first: Touches, second: Touches) -> bool:
    return any(a == b and write and other for a, write in first for b, other in second)


@pytest.mark.parametrize(
    ("name", "dependent", "traces"),
    [
        ("readers2", _all_write, 6),
        ("only_readers6", _all_write, 720),
        ("readers3", _only_two_writes, 1),
        ("lost_update2", _only_two_writes, 2),
        ("cta2", _nothing_conflicts, 3),
        ("abba", _nothing_conflicts, 2),
    ],
)
def test_another_relation_between_steps_gives_other_traces(
    name: str, dependent: Callable[[Touches, Touches], bool], traces: int
) -> None:
    runs = [*interleavings(BY_NAME[name].scenario)]
    assert len({trace_of(run.steps, dependent) for run in runs}) == traces
    assert len({trace_of(run.steps) for run in runs}) == BY_NAME[name].traces != traces


def test_a_wait_gives_the_lock_away_and_a_wake_takes_it() -> None:
    runs = [*interleavings(BY_NAME["lost_wakeup_ok"].scenario)]
    steps = next(run.steps for run in runs if any(step.operation == "wake" for step in run.steps))
    (wait,) = (step for step in steps if step.operation == "wait")
    (notifier_acquires,) = (step for step in steps if step.operation == "acquire" and step.thread != wait.thread)
    assert conflict(wait.touches, notifier_acquires.touches)


def test_an_execution_says_what_can_come_next() -> None:
    world = World(BY_NAME["abba"].scenario)
    world.take(0)
    world.take(1)
    assert world.enabled() == []
    assert world.outcome() == "hang"
    world.close()
    assert [(step.thread, step.index, step.operation) for step in world.steps] == [(0, 0, "acquire"), (1, 0, "acquire")]


def test_only_a_run_that_is_cut_short_leaves_its_trace_undefined() -> None:
    undefined = [program.name for program in PROGRAMS if program.traces is None]
    for name in undefined:
        assert any("raises AssertionError" in str(outcome) for outcome in measure(BY_NAME[name].scenario).ends)
    assert "account_bad" not in undefined  # when its assertion fails, the others are done
    assert "twostage" in undefined


def test_the_order_of_notify_is_that_of_the_sleepers() -> None:
    assert {run.outcome for run in interleavings(BY_NAME["first_in_first_out"].scenario)} == {"right"}


def test_threading_is_left_as_it_was() -> None:
    before = threading.Lock, threading.Condition, threading.Semaphore
    measure(BY_NAME["lost_wakeup"].scenario)
    with pytest.raises(ZeroDivisionError):
        measure(scenario(lambda rig: 1 // 0))
    assert before == (threading.Lock, threading.Condition, threading.Semaphore)


def test_a_thread_that_fails_before_its_first_step_ends_the_run() -> None:
    @scenario
    def program(rig: Rig) -> None:
        cell = rig.cell(0)

        def fails() -> None:
            raise ValueError

        rig.run(cell.get, fails)

    figures = measure(program)
    assert (figures.interleavings, figures.failing, figures.traces) == (1, 1, None)


def test_what_is_too_large_is_refused() -> None:
    with pytest.raises(TooLarge):
        measure(BY_NAME["readers8"].scenario, limit=100)


def test_there_are_programs_of_all_sizes() -> None:
    assert len(MORE) >= 40
    assert max(program.interleavings for program in PROGRAMS) > 1_000_000
    assert max(program.traces or 0 for program in PROGRAMS) >= 500
