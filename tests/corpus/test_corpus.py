"""What is claimed of every snippet.

In real time the simulator shows the defect for some seed of 50, and nothing for 1,000 without it (100 unless the
environment variable SNIPPET_SEEDS says otherwise). The explorer catches the defect every time, and proves that the
other form is right, or finds nothing against it.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from pathlib import Path

import pytest

from cpugpu import scenario
from cpugpu.explore import Ending, Verdict, VerdictKind, explore
from cpugpu.simulate import simulate
from tests import corpus
from tests.corpus.registry import SNIPPETS, Patience, Snippet

for module in pkgutil.iter_modules(corpus.__path__):
    if not module.name.startswith("test_"):
        importlib.import_module(f"tests.corpus.{module.name}")

SEEDS, FEW, MANY = 50, 10, int(os.environ.get("SNIPPET_SEEDS", "100"))
#: What `make test` gives an exploration, in seconds. Almost all need a hundredth of that.
BUDGET = 20.0

each_snippet = pytest.mark.parametrize("snippet", [pytest.param(snippet, id=snippet.name) for snippet in SNIPPETS])


def is_right(snippet: Snippet, seed: int, *, fixed: bool) -> bool:
    """Run it once in real time."""
    with simulate(snippet.devices, seed=seed, **snippet.options):  # type: ignore[arg-type]
        return snippet.function(fixed, snippet.rounds)


def verdict(snippet: Snippet, *, fixed: bool, strategy: str, seconds: float = BUDGET) -> Verdict:
    """Explore it."""

    @scenario(accept=[True])
    def explored(rig: object) -> bool:
        with simulate(snippet.devices, **snippet.options):  # type: ignore[arg-type]
            return snippet.function(fixed, snippet.explored_rounds)

    return explore(explored, seconds=seconds, strategy=strategy, seed=0)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Under the explorer nobody looks at the clock, and no schedule is kept from one exploration to the next."""
    monkeypatch.setattr(Patience, "seconds", None)
    monkeypatch.chdir(tmp_path)


def test_there_are_at_least_25_snippets_of_defects_that_somebody_has_reported() -> None:
    assert len([snippet for snippet in SNIPPETS if snippet.trackers]) >= 25
    assert len({snippet.name for snippet in SNIPPETS}) == len(SNIPPETS)


@each_snippet
def test_a_snippet_has_a_story_and_a_hazard(snippet: Snippet) -> None:
    assert len(snippet.function.__doc__ or "") > 80
    assert snippet.hazards
    assert all(1 <= hazard <= 50 for hazard in snippet.hazards)
    assert all("#" in tracker for tracker in snippet.trackers)


@each_snippet
def test_some_seed_shows_the_defect(snippet: Snippet) -> None:
    assert not all(is_right(snippet, seed, fixed=False) for seed in range(SEEDS))


@each_snippet
def test_no_seed_of_a_few_is_wrong_without_the_defect(snippet: Snippet) -> None:
    assert [seed for seed in range(FEW) if not is_right(snippet, seed, fixed=True)] == []


@pytest.mark.slow
@pytest.mark.timeout(900)
@each_snippet
def test_no_seed_of_many_is_wrong_without_the_defect(snippet: Snippet) -> None:
    assert [seed for seed in range(MANY) if not is_right(snippet, seed, fixed=True)] == []


@each_snippet
@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("strategy", ["auto", "dpor"])  # what proves has to be able to catch
def test_the_explorer_catches_the_defect(snippet: Snippet, strategy: str) -> None:
    found = verdict(snippet, fixed=False, strategy=strategy)
    assert found.kind is VerdictKind.FAILED, str(found)
    assert found.failure is not None
    expected = {"outcome": (Ending.OUTCOME, False), "deadlock": (Ending.DEADLOCK, "hang")}[snippet.explored_as]
    assert (found.failure.kind, found.failure.outcome) == expected


@each_snippet
@pytest.mark.usefixtures("patient")
def test_the_explorer_proves_that_it_is_right_without_the_defect(snippet: Snippet) -> None:
    proof = verdict(snippet, fixed=True, strategy="dpor")
    assert proof.kind is VerdictKind.PROVED, str(proof)


@pytest.mark.slow
@each_snippet
@pytest.mark.usefixtures("patient")
def test_without_reduction_the_explorer_finds_nothing_either(snippet: Snippet) -> None:
    """Every schedule with few preemptions, then samples: reduction rests on what the snippets are said to touch."""
    searched = verdict(snippet, fixed=True, strategy="auto", seconds=3)
    assert searched.kind in (VerdictKind.PROVED, VerdictKind.SAMPLED), str(searched)
