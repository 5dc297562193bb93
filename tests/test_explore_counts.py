"""The explorer counts what there is, interleavings, traces, schedules with few preemptions: an oracle's figures.

The oracle (`tests/small`) shares no code with the explorer.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cpugpu.explore import VerdictKind, explore
from cpugpu.explore import happens_before as order_module
from cpugpu.explore.run import execute
from cpugpu.explore.standins.patching import standing_in
from cpugpu.explore.strategies import dpor as dpor_module
from cpugpu.explore.strategies.dpor import Dpor
from tests.small.programs import PROGRAMS, random_program

pytestmark = pytest.mark.slow

BY_NAME = {program.scenario.name: program for program in PROGRAMS}


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    return


def of(measure: str, most: int, least: int = 0) -> Any:
    """The programs with a figure in that range."""
    chosen = [each for each in PROGRAMS if least <= (getattr(each, measure) or -1) <= most]
    return pytest.mark.parametrize("program", chosen, ids=lambda each: each.scenario.name)


@of("interleavings", 120)
def test_depth_first_tries_every_interleaving(program: Any) -> None:
    verdict = explore(program.scenario, strategy="dfs", seconds=60, stop_at_first=False)
    assert (verdict.schedules, verdict.failing) == (program.interleavings, program.failing)
    assert verdict.kind is (VerdictKind.FAILED if program.failing else VerdictKind.PROVED)
    assert verdict.bound is None


@of("interleavings", 120)
def test_bounded_search_tries_every_schedule_within_its_bound(program: Any) -> None:
    if program.bounded is None:
        pytest.skip("its figures are not known")
    found = [
        explore(program.scenario, strategy="dfs", bound=bound, seconds=60, stop_at_first=False) for bound in range(3)
    ]
    assert tuple(verdict.schedules for verdict in found) == tuple(program.bounded)


@of("traces", 32)
def test_reduction_tries_one_schedule_of_each_trace(program: Any) -> None:
    verdict = explore(program.scenario, strategy="dpor", seconds=60, stop_at_first=False)
    assert (verdict.traces, verdict.failing) == (program.traces, program.failing_traces)
    assert verdict.schedules == verdict.traces


@of("passing_traces", 32)
def test_reduction_finds_every_passing_trace_where_others_are_cut_off(program: Any) -> None:
    verdict = explore(program.scenario, strategy="dpor", seconds=60, stop_at_first=False)
    assert verdict.schedules - verdict.failing == program.passing_traces
    assert bool(verdict.failing) == bool(program.failing)


@of("failing", 100, least=1)
def test_a_failing_schedule_has_as_few_preemptions_as_possible(program: Any) -> None:
    if program.preemptions is None or (program.traces or 1000) > 25:
        pytest.skip("its figure is not known, or it takes long")
    for strategy in ("dpor", "auto"):
        verdict = explore(program.scenario, strategy=strategy, seconds=30)
        assert verdict.failure is not None
        assert verdict.failure.preemptions == program.preemptions


@pytest.mark.parametrize("seed", range(20))
def test_random_programs_have_the_oracle_s_figures(seed: int) -> None:
    program = random_program(seed)
    verdict = explore(program.scenario, strategy="dpor", seconds=60, stop_at_first=False)
    if program.traces is not None:
        assert (verdict.traces, verdict.failing) == (program.traces, program.failing_traces)
    else:
        assert verdict.schedules - verdict.failing == program.passing_traces
    if program.interleavings <= 300:
        whole = explore(program.scenario, strategy="dfs", seconds=60, stop_at_first=False)
        assert (whole.schedules, whole.failing) == (program.interleavings, program.failing)


def test_no_execution_of_the_reduction_is_redundant() -> None:
    """Beside those that try out whether a blocked step can be taken elsewhere, which explore nothing."""
    strategy = Dpor()
    with standing_in():
        while strategy.begin():
            strategy.end(execute(BY_NAME["philosophers4"].scenario, strategy.choose, to_the_end=True))
    assert strategy.redundant == 0


# -- the figures would tell ----------------------------------------------------------------------------------------


def counted(name: str) -> tuple[int | None, int]:
    verdict = explore(BY_NAME[name].scenario, strategy="dpor", seconds=60, stop_at_first=False)
    return verdict.traces, verdict.failing


def test_a_reduction_that_takes_reads_for_conflicts_counts_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    def touching(one: Any, other: Any) -> bool:
        return bool({resource.key for resource, _ in one} & {resource.key for resource, _ in other})

    monkeypatch.setattr(dpor_module, "race", touching)
    monkeypatch.setattr(dpor_module, "conflict", touching)
    add = order_module.Order._add

    def confused(self: Any, step: Any) -> None:
        add(self, step)
        before = self.steps[: len(self.conflicts) - 1]
        self.conflicts[-1] = [at for at, each in enumerate(before) if touching(each.footprint, step.footprint)]

    monkeypatch.setattr(order_module.Order, "_add", confused)
    assert counted("only_readers6")[0] != BY_NAME["only_readers6"].traces


def test_a_reduction_without_the_pending_steps_misses_a_deadlock_s_other_way(monkeypatch: pytest.MonkeyPatch) -> None:
    end = Dpor.end

    def forgetful(self: Dpor, run: Any) -> None:
        run.pending = []
        end(self, run)

    monkeypatch.setattr(Dpor, "end", forgetful)
    assert counted("abba") != (3, 1)


def test_a_reduction_that_trusts_the_order_of_what_is_left_out_explores_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    reversal = dpor_module._reversal

    def trusting(*arguments: Any) -> Any:
        *events, last = reversal(*arguments)
        return [*events, dpor_module._Event(last.key, last.footprint, last.index)]

    monkeypatch.setattr(dpor_module, "_reversal", trusting)
    assert counted("nested_locks3")[0] != BY_NAME["nested_locks3"].traces


def test_an_order_without_reads_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    add = order_module.Order._add

    def blind(self: Any, step: Any) -> None:
        add(self, step._replace(footprint=tuple(each for each in step.footprint if each[1] != 0)))

    monkeypatch.setattr(order_module.Order, "_add", blind)
    assert counted("iriw")[0] != BY_NAME["iriw"].traces
