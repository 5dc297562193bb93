"""The mutants fit the code, are undone, and are killed. All of them by all engines: `make mutants`."""

from __future__ import annotations

import time
from typing import Any

import pytest

from cpugpu.hammer import choose_device, hammer
from stress import subjects
from stress.mutants import MUTANTS, PARTS, Mutant, PatchError
from stress.mutants.catalogue import scenarios_for
from stress.mutants.engines import ENGINES, Pulse, put_to
from stress.mutants.matrix import choose, make_matrix
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
