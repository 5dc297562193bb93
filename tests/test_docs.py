"""The README says what is so: its figures are those of the files that it names, its targets exist."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

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
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"make (\w+)", README)) <= targets


def test_every_file_that_is_named_exists() -> None:
    named = set(re.findall(r"\]\(([\w/.-]+)\)", README)) | set(re.findall(r"`((?:\w+/)+\w+\.py)`", README))
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []
