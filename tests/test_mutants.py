"""Every mutant is killed by the catalogue, and what is correct is not."""

from __future__ import annotations

import pytest

from cpugpu import CpuGpuEvent
from stress.mutants import SCENARIOS, try_mutant
from stress.subjects import MUTANTS, SeedEvent


@pytest.mark.parametrize("mutant", [SeedEvent, *MUTANTS], ids=lambda mutant: mutant.__name__)
def test_the_catalogue_kills_it(mutant: type) -> None:
    verdict = try_mutant(mutant, SCENARIOS, seconds=60, seed=0)
    assert verdict.scenario


def test_the_original_survives() -> None:
    assert try_mutant(CpuGpuEvent, SCENARIOS, seconds=0.1, seed=0).scenario == ""
