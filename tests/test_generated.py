"""Generated programs: CpuGpuEvent never leaves what the oracle allows, and the mutants do, in a few operations."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings

from cpugpu import CpuGpuEvent, hammer, scenario
from cpugpu.debug import InstrumentedEvent
from cpugpu.rig import Rig
from stress import stress_generated
from stress.generated import program as language
from stress.generated.__main__ import main, search
from stress.generated.generator import draw
from stress.generated.legal import schedule
from stress.generated.oracle import Order, sights
from stress.generated.program import (
    Fill,
    Observe,
    Program,
    Record,
    UntilConsumed,
    Wait,
)
from stress.generated.search import Finding, smallest
from stress.generated.strategies import parts_of, programs
from stress.generated.verdict import complaint
from stress.stress_generated import Failing, generated
from stress.subjects import (
    FlagBeforeRecord,
    NoCpuWait,
    NoGpuWait,
    OneSharedEvent,
    RecordOnCurrentStream,
    WaitOnCurrentStream,
)
from tests.schedules import play_once

pytestmark = pytest.mark.slow

reproducibly = settings(deadline=None, derandomize=True, database=None, max_examples=150)


HAND_OFF = Program(((Fill(0, 1, 0), Record(0, 0)), (Wait(0, 1), Observe(0, 1))))


@given(programs())
@reproducibly
def test_what_is_drawn_is_legal_and_its_repr_is_the_program(program: Program) -> None:
    assert sorted(schedule(program)) == sorted(program)
    assert eval(repr(program), vars(language).copy()) == program


@given(programs(until_consumed=False))
@reproducibly
def test_a_subject_without_pending_is_not_asked_for_it(program: Program) -> None:
    assert not any(isinstance(program[place], UntilConsumed) for place in program)


@given(programs().flatmap(parts_of))
@reproducibly
def test_parts_of_a_program_are_legal(program: Program) -> None:
    assert set(sights(program)) == {place for place in program if isinstance(program[place], Observe)}


def test_a_program_is_drawn_from_its_own_parts() -> None:
    program = draw(random.Random(1), until_consumed=True)
    drawn: list[Program] = []

    def passes(part: Program) -> str:
        drawn.append(part)
        return ""

    smallest(parts_of(program), passes, examples=20)
    assert Program(()) in drawn
    assert program in drawn


# -- soundness -----------------------------------------------------------------------------------------------------


@given(programs())
@reproducibly
def test_the_original_stays_within_what_is_allowed(program: Program) -> None:
    for seed in range(4):
        assert complaint(program, play_once(program, CpuGpuEvent, seed)) == ""


def complaints(make_event: Callable[[], Any], *, programs: int, seed: int = 0) -> int:
    rng = random.Random(seed)
    drawn = (draw(rng, until_consumed=True) for _ in range(programs))
    return sum(complaint(program, play_once(program, make_event, seed)) != "" for program in drawn)


def test_the_original_stays_within_it_in_thousands_of_programs() -> None:
    assert complaints(CpuGpuEvent, programs=2000) == 0


@pytest.mark.parametrize("subject", [CpuGpuEvent, InstrumentedEvent])
def test_so_it_does_under_the_hammer(subject: Callable[[], Any]) -> None:
    result = hammer(generated.on(subject), seconds=1.0, device="sim", seed=2)
    assert [row.outcome for row in result.rows] == ["ordered"]


# -- power ---------------------------------------------------------------------------------------------------------


def shrunk(make_event: Callable[[], Any]) -> Finding:
    """By Hypothesis, where schedules are drawn and nothing is left to chance."""

    def fails(program: Program) -> str:
        seen = (complaint(program, play_once(program, make_event, seed)) for seed in range(12))
        return next(filter(None, seen), "")

    found = smallest(programs(), fails, seed=1, examples=2000)
    assert found is not None
    return smallest(parts_of(found.program), fails, known={found.program: found.complaint}, examples=200) or found


@pytest.mark.parametrize(
    ("mutant", "operations"),
    [(NoGpuWait, 6), (RecordOnCurrentStream, 6), (WaitOnCurrentStream, 6), (OneSharedEvent, 9)],
)
def test_a_mutant_is_found_and_shrunk(mutant: Callable[[], Any], operations: int) -> None:
    """A hand-off that is seen to fail takes 4 operations; to see one event recorded too often takes 7."""
    finding = shrunk(mutant)
    assert len(finding.program) <= operations
    assert "saw -1" in finding.complaint
    assert "allowed is" in finding.complaint


def test_the_original_is_not_found() -> None:
    assert (
        smallest(programs(), lambda program: complaint(program, play_once(program, CpuGpuEvent, 0)), examples=100)
        is None
    )


def test_a_mutant_that_does_not_block_is_found_and_shrunk_under_the_hammer() -> None:
    done, finding = search(NoCpuWait, seconds=60, seed=1, device="sim")
    assert finding is not None
    assert len(finding.program) <= 8
    assert done.plays >= done.programs > 0


def test_a_mutant_that_wakes_too_early_is_found_in_a_campaign(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stress_generated, "SHRINK_SECONDS", 0.2)
    result = hammer(generated.on(FlagBeforeRecord), seconds=60, device="sim", seed=0, stop_at_first=True)
    assert result.failures


# -- the oracle's own mutants ----------------------------------------------------------------------------------------


def test_without_the_edges_of_hand_offs_the_mutants_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    assert complaints(NoGpuWait, programs=200) > 0
    monkeypatch.setattr(Order, "_handed_over", lambda self, number, hand_off: 0)
    assert complaints(NoGpuWait, programs=200) == 0


@pytest.mark.parametrize(
    ("edge", "false"),
    [
        ("_known_done", lambda order, number: order.called[number]),  # as if every call waited for the device
        ("_held", lambda order, number, stream=None: order.called[number]),  # as if there were one stream
        ("_captured", lambda order, number, event: order.called[number]),  # as if an event covered all streams
    ],
)
def test_with_a_false_edge_the_original_is_accused(monkeypatch: pytest.MonkeyPatch, edge: str, false: Any) -> None:
    monkeypatch.setattr(Order, edge, false)
    assert complaints(CpuGpuEvent, programs=200) > 0


@pytest.mark.parametrize(("edge", "share"), [("_handed_over", 0.4), ("_captured", 0.05), ("_known_done", 0.05)])
def test_in_many_programs_each_kind_of_edge_matters(monkeypatch: pytest.MonkeyPatch, edge: str, share: float) -> None:
    """A program whose answers are the same without the hand-offs could not show that one is broken."""
    rng = random.Random(0)
    drawn = [draw(rng, until_consumed=True) for _ in range(300)]
    whole = [sights(program) for program in drawn]
    monkeypatch.setattr(Order, edge, lambda *_: 0)
    assert sum(sights(program) != before for program, before in zip(drawn, whole, strict=True)) > share * 300


# -- in a campaign -------------------------------------------------------------------------------------------------


def test_an_execution_that_is_repeated_draws_the_same_program() -> None:
    drawn: set[Program] = set()

    @scenario
    def drawing(rig: Rig) -> str:
        drawn.add(draw(rig.random(), until_consumed=True))
        return "drawn"

    for iteration, programs_so_far in ((3, 1), (3, 1), (4, 2)):
        hammer(drawing, seconds=0.05, device="sim", seed=1, iteration=iteration)
        assert len(drawn) == programs_so_far


def printed(details: str) -> Program:
    program = eval(details[details.index("Program((") :], vars(language).copy())
    assert isinstance(program, Program)
    return program


def test_a_failure_is_told_with_the_shrunk_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stress_generated, "SHRINK_SECONDS", 60.0)  # it ends when there is nothing left to leave out
    result = hammer(generated.on(NoGpuWait), seconds=60, device="sim", seed=1, stop_at_first=True)
    details = result.failures[0].details
    assert result.failures[0].outcome == "unordered"
    assert details.startswith("shrunk from ")
    assert "thread 0" in details
    assert len(printed(details)) <= 8


def test_a_program_that_does_not_fail_again_is_told_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stress_generated, "SHRINK_SECONDS", 0.2)

    @scenario(forbid=["unordered"])
    def once(rig: Rig) -> str:
        return Failing("unordered", "the listing", HAND_OFF, rig, CpuGpuEvent)

    details = hammer(once, seconds=0.05, device="sim", stop_at_first=True).failures[0].details
    assert details.startswith("not shrunk: it did not fail again within 0.1 s\n\nthe listing")
    assert printed(details) == HAND_OFF


class Refuses(CpuGpuEvent):
    def wait(self, stream: Any = None, timeout: float | None = None) -> None:
        super().wait(stream)
        raise LookupError("no such record")


class NeverReturns(CpuGpuEvent):
    def record(self, stream: Any = None) -> None:
        pass


def test_a_program_in_which_a_thread_raises_is_shrunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stress_generated, "SHRINK_SECONDS", 2.0)
    result = hammer(generated.on(Refuses), seconds=60, device="sim", seed=2, stop_at_first=True)
    assert result.failures[0].outcome == "raises LookupError"
    assert result.failures[0].details.startswith("shrunk from ")
    assert "no such record" in result.failures[0].details


def test_a_program_that_hangs_is_told() -> None:
    result = hammer(generated.on(NeverReturns), seconds=60, device="sim", seed=2, stop_at_first=True, patience=0.3)
    assert result.failures[0].outcome == "hang"
    assert "h0.wait(" in result.failures[0].details
    assert "Program((" in result.failures[0].details


def test_the_command_searches_and_shrinks(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "program"
    file.write_text("\n".join(f"  | {line}" for line in repr(HAND_OFF).splitlines()))  # as a report has it
    options = ["--device=sim", "--seconds=0.5", f"--program={file}"]
    assert main(options) == 0
    assert "none fails" in capsys.readouterr().out
    assert main([*options, "--subject=stress.subjects:NoGpuWait", "--seconds=20"]) == 1
    assert "the smallest that fails has 4 operations" in capsys.readouterr().out
