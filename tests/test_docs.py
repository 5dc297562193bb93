"""The README says what is so: its figures are those of the files that it names, its targets exist."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from cpugpu import settings
from cpugpu.debug import RULES
from cpugpu.report.rules import pages

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize(("name", "device"), [("handoff", "host"), ("handoff-gpu", "cuda")])
def test_figures_come_from_the_file_that_is_named(name: str, device: str) -> None:
    path = f"benchmarks/results/{name}.json"
    (row,) = [line for line in README.splitlines() if line.startswith("|") and path in line]
    result = json.loads((ROOT / path).read_text())
    measured = result["devices"][device]
    ratio = "ratio_of_CpuGpuEvent"
    figures = [
        measured["uncontended"]["SeedEvent"][ratio],
        measured["ping_pong"]["SeedEvent"][ratio],
        measured["ping_pong"]["BareLock"][ratio],
    ]
    assert [float(cell) for cell in re.findall(r"\| (\d+\.\d+) ", row)] == figures
    assert {"command", "date", "python", "system", "torch"} <= set(result)


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"make ([\w-]+)", README)) <= targets


def test_every_file_that_is_named_exists() -> None:
    named = set(re.findall(r"\]\(([\w/.-]+)\)", README)) | set(re.findall(r"`((?:\w+/)+\w+\.py)`", README))
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_debug_figures_come_from_their_file() -> None:
    extra = json.loads((ROOT / "benchmarks/results/debug.json").read_text())["extra"]
    for mode in ("log", "check", "raise"):
        (row,) = [line for line in README.splitlines() if line.startswith(f"| `{mode}`")]
        assert row.endswith(f"| {extra[f'{mode}_adds_us']} µs |")
    assert f"takes {extra['production_us']} µs" in README


def test_trace_figures_come_from_their_file() -> None:
    stages = json.loads((ROOT / "benchmarks/results/trace.json").read_text())["stages"]
    words = " ".join(README.split())
    assert f"summary in {stages['summary']['seconds']} s, export in {stages['perfetto']['seconds']} s" in words


def test_every_rule_has_a_page_which_is_made_from_it() -> None:
    folder = ROOT / "docs" / "rules"
    assert {path.name: path.read_text() for path in folder.iterdir()} == pages()
    assert f"There are {len(RULES)} [rules]" in README


def test_every_setting_is_in_the_readme_or_explained_where_it_is_read() -> None:
    assert settings.__doc__
    named = set(re.findall(r"CPUGPU_\w+", (ROOT / "cpugpu/settings.py").read_text()))
    assert named == set(re.findall(r"CPUGPU_\w+", settings.__doc__))
