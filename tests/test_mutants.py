"""The mutants fit the code, are undone, and are killed. All of them by all engines: `make mutants`."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import pytest

from cpugpu.debug.examples import PAIRS
from cpugpu.hammer import choose_device, hammer
from stress import subjects
from stress.mutants import MUTANTS, PARTS, Mutant, PatchError, inner, small
from stress.mutants.catalogue import scenarios_for
from stress.mutants.engines import ENGINES, Kill, Pulse, put_to
from stress.mutants.explorer import EXPLORE, LINES, Stage, explore_mutant, exploring, search
from stress.mutants.handed import HANDED
from stress.mutants.matrix import Matrix, Row, choose, line, make_matrix, summary
from stress.mutants.mutant import SANITIZE
from stress.mutants.trial import try_in_process
from stress.mutants.unordered import UNORDERED
from stress.stress_hand_off import hand_off


def test_there_are_at_least_thirty_of_every_part() -> None:
    assert len(MUTANTS) >= 30
    assert {mutant.part for mutant in MUTANTS.values()} == {part for parts in PARTS.values() for part in parts}


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=lambda mutant: mutant.name)
def test_a_mutant_fits_the_code_and_is_undone(mutant: Mutant) -> None:
    if mutant.part == "accelerator":
        pytest.importorskip("torch", reason="the accelerator's device needs torch, which is not installed")
    function = mutant._function()
    original = function.__code__
    with mutant.applied():
        assert function.__code__ is not original
    assert function.__code__ is original


def test_a_mutant_is_undone_after_an_exception() -> None:
    mutant = MUTANTS["no-gpu-wait"]
    original = mutant._function().__code__
    with pytest.raises(KeyError), mutant.applied():
        raise KeyError
    assert mutant._function().__code__ is original


def test_a_patch_that_does_not_fit_is_an_error() -> None:
    mutant = Mutant("rotten", "event", "cpugpu.event:CpuGpuEvent.wait", "-    no such line\n+    other\n", "nothing")
    with pytest.raises(PatchError, match="fits 0 places"), mutant.applied():
        pass


def test_a_mutant_is_seen_by_the_hammer() -> None:
    with MUTANTS["no-gpu-wait"].applied():
        assert not hammer(hand_off, seconds=30, device="sim", seed=0, stop_at_first=True).passed
    assert hammer(hand_off, seconds=0.1, device="sim", seed=0).passed


def test_a_matrix_has_a_row_a_mutant_and_a_column_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant has a minute, and needs a second where the machine is its own; the control takes all that it has."""
    monkeypatch.setattr("stress.mutants.matrix.CONTROL_TIMES", 1 / 60)
    matrix = make_matrix([MUTANTS["no-gpu-wait"]], ["hammer"], device="sim", seconds=60, seed=0)
    data = matrix.to_dict()
    assert data["version"] == 1
    assert data["engines"] == ["hammer"]
    row = next(row for row in data["rows"] if row["mutant"] == "no-gpu-wait")
    assert row["results"]["hammer"]["killed"]
    assert row["results"]["hammer"]["by"]


def test_each_device_shows_mutants_of_its_own() -> None:
    assert {each.part for each in choose([], "sim")} == {"event", "device", "rules"}
    assert {each.part for each in choose([], "accelerator")} == {"event", "accelerator"}
    assert [each.name for each in choose(["torch-wait-left-out"], "accelerator")] == ["torch-wait-left-out"]
    with pytest.raises(ValueError, match="'torch-wait-left-out' is neither a mutant nor a part for sim: event, device"):
        choose(["torch-wait-left-out"], "sim")


@pytest.mark.parametrize("subject", subjects.MUTANTS)
def test_a_class_with_one_mistake_is_killed_by_the_catalogue(subject: type[Any]) -> None:
    listed = [each for each in scenarios_for("event", subject, choose_device("sim")(0)) if each.subject_name]
    kill = put_to(listed, ENGINES["hammer"], Pulse(), device="sim", seconds=60, seed=0, began=time.monotonic())
    assert kill.killed
    assert kill.by in [each.name for each in listed]


# -- the explorer's column -------------------------------------------------------------------------------------------

#: One of each part; the first takes lines.
EXPLORED = [
    ("slot-read-late", Stage([small.records_in_turn], None, 1000, LINES)),
    ("stall-adds-to-timeout", Stage([small.times_out_behind_a_stall], None, 10)),
    ("put-back-over-a-newer-record", Stage([small.puts_back_what_is_there], None, 100)),
    ("worker-leaves-work-behind", Stage([inner.works_after_a_rest], None, 100)),
    ("kernels-atomic", Stage([inner.tears], None, 10)),
    ("double-record-negated", Stage([inner.rule(PAIRS["double-record"])], 0, 1)),
]


@pytest.mark.parametrize(("name", "stage"), EXPLORED, ids=[name for name, _ in EXPLORED])
def test_a_mutant_is_killed_by_the_explorer_in_the_same_schedule_each_time(name: str, stage: Stage) -> None:
    found = []
    for _ in range(2):
        with MUTANTS[name].applied(), exploring(stage.trace):
            found.append(search(stage.programs[0], stage, math.inf))
    assert found[0].outcome
    assert found[0] == found[1]


def test_the_code_as_it_is_passes_these_programs() -> None:
    for _, stage in EXPLORED[1:]:
        assert not explore_mutant(None, seconds=60, given=[stage]).killed


def test_a_mutant_that_is_no_mistake_is_equivalent() -> None:
    same = """
    -self._generation += 1
    +self._generation = 1 + self._generation
    """
    mutant = Mutant("counts-otherwise", "event", "cpugpu.event:CpuGpuEvent.record", same, "nothing")
    programs = [small.tells_once, small.record_raises]
    given = [Stage(programs, None, 100, trace, proves=True) for trace in ((), LINES)]
    with mutant.applied():
        kill = explore_mutant("event", seconds=60, given=given)
    assert not kill.killed
    assert kill.proved == 2
    row = Row(mutant, {EXPLORE: kill})
    assert row.equivalent
    assert line(row).endswith("equiv")
    assert "every trace of 2 programs" in summary(Matrix([EXPLORE], "sim", 10, 0, row, [row]))


def test_a_survivor_of_the_explorer_without_a_reason_is_a_complaint() -> None:
    control = Row(Mutant("none", "event", "", "", ""), {EXPLORE: Kill(False, 1.0, proved=3)})
    unknown = Row(Mutant("unknown", "event", "", "", ""), {EXPLORE: Kill(False, 1.0)})
    known = Row(Mutant("known", "event", "", "", "", unexplored="no model"), {EXPLORE: Kill(False, 1.0, proved=3)})
    matrix = Matrix([EXPLORE], "sim", 10, 0, control, [unknown, known])
    assert matrix.complaints() == ["explore neither kills nor proves, and nobody knows why: unknown"]
    assert line(control).endswith("proved")
    assert line(known).endswith("-")
    assert "no model" in summary(matrix)


def test_the_explorer_kills_in_a_process_of_its_own_whatever_the_seed() -> None:
    kills = [try_in_process(EXPLORE, "failure-stays", device="sim", seconds=60, seed=seed) for seed in (0, 1)]
    assert {(kill.by, kill.outcome) for kill in kills} == {("records_after_a_failure", "refused")}


# -- the sanitizer's column --------------------------------------------------------------------------------------------

#: By program, the mutants in which it has a finding in whatever interleaving there is.
FOUND = {
    "waits_when_it_is_there": [
        "record-on-current-stream",
        "gate-before-record",
        "no-gpu-wait",
        "wait-on-current-stream",
    ],
    "records_while_a_wait_is_in_the_driver": ["spare-not-taken", "no-gpu-record", "spare-before-gpu-wait"],
    "goes_on_after_a_failure": ["old-record-left"],
    "looks_after_a_synchronization": ["synchronize-does-not-block"],
    "synchronizes_in_vain_at_first": ["synchronize-timeout-returns"],
}


@pytest.mark.parametrize("name", [name for names in FOUND.values() for name in names])
def test_a_mutant_is_found_by_the_sanitizer_in_one_run_whatever_the_seed(name: str) -> None:
    pytest.importorskip("torch")
    from stress.mutants.sanitized import run_once

    program = next(each for each in HANDED if name in FOUND.get(each.name, []))
    with MUTANTS[name].applied():
        assert all(run_once(program, seed)[0] for seed in range(3))


def test_in_the_code_as_it_is_the_sanitizer_finds_nothing() -> None:
    pytest.importorskip("torch")
    from stress.mutants.sanitized import sanitize_mutant

    for seed in range(3):
        kill = sanitize_mutant(seconds=60, seed=seed, given=HANDED)
        assert not kill.killed, (kill.by, kill.finding, kill.outcome)


def test_what_is_given_away_by_an_outcome_is_no_finding() -> None:
    pytest.importorskip("torch")
    kill = try_in_process(SANITIZE, "failure-not-handed-over", device="sim", seconds=60, seed=0)
    assert (kill.by, kill.outcome, kill.finding) == ("goes_on_after_a_failure", "hang", "")
    mutant = MUTANTS["failure-not-handed-over"]
    assert " outcome  goes_on_after_a_failure (hang)" in line(Row(mutant, {SANITIZE: kill}))
    found = Kill(True, 1.0, "goes_on_after_a_failure", "stale", finding="race")
    assert " finding  goes_on_after_a_failure (race)" in line(Row(mutant, {SANITIZE: found}))


def test_a_survivor_of_the_sanitizer_without_a_reason_is_a_complaint() -> None:
    control = Row(Mutant("none", "event", "", "", ""), {SANITIZE: Kill(False, 1.0)})
    unknown = Row(Mutant("unknown", "event", "", "", ""), {SANITIZE: Kill(False, 1.0)})
    known = Row(MUTANTS["stall-adds-to-timeout"], {SANITIZE: Kill(False, 1.0)})
    silent = Row(MUTANTS["failure-stays"], {SANITIZE: Kill(True, 1.0, "program", "hang")})
    other = Row(Mutant("other", "device", "", "", ""))
    matrix = Matrix([SANITIZE], "sim", 10, 0, control, [unknown, known, silent, other])
    assert matrix.complaints() == ["sanitize finds nothing, and nobody knows why: unknown"]
    assert "about time alone" in summary(matrix)
    assert "failure-stays: a record is refused" in summary(matrix)
    assert matrix.share(SANITIZE) == pytest.approx(100 / 3)


def test_the_sanitizer_is_for_mutants_of_the_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stress.mutants.matrix.try_in_process", lambda *_, **__: Kill(False, 1.0))
    mutants = [MUTANTS["slot-read-late"], MUTANTS["kernels-atomic"]]
    matrix = make_matrix(mutants, ["hammer", SANITIZE], device="sim", seconds=1, seed=0)
    assert [set(row.results) for row in matrix.rows] == [{"hammer", SANITIZE}, {"hammer"}]


def test_the_results_of_the_sanitizer_are_of_these_mutants() -> None:
    file = Path(__file__).parent.parent / "benchmarks" / "results" / "mutants-sanitize.json"
    rows = {row["mutant"]: row["results"][SANITIZE] for row in json.loads(file.read_text())["rows"]}
    assert rows.keys() == {mutant.name for mutant in MUTANTS.values() if mutant.part == "event"}
    found = {name for name, kill in rows.items() if kill["finding"]}
    assert {name for names in FOUND.values() for name in names} <= found
    assert rows.keys() - found <= UNORDERED.keys()
