"""Programs that nobody here wrote run to their end on the simulated device, learn the same, and set off no alarm."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("torch")

from tests.sanitize.command import python, run_apart

LOOPS = Path(__file__).parent / "loops"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("library", ["accelerate", "lightning"])
def test_it_runs_to_its_end_without_a_false_alarm_and_learns_the_same(library: str, tmp_path: Path) -> None:
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed: `make loops` installs it and runs this")
    program = str(LOOPS / f"{library}_loop.py")
    expected = python("-W", "ignore", program, cwd=tmp_path)
    assert expected.returncode == 0, expected.stderr
    losses = [float(line) for line in expected.stdout.splitlines()]
    assert len(losses) > 8
    half = len(losses) // 2  # an epoch
    assert sum(losses[half:]) < sum(losses[:half])
    for seed in range(2):
        done = run_apart("--device=sim", "--check", "--exit-code", f"--seed={seed}", program, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout == expected.stdout
        assert done.stderr.endswith("no findings\n")
        assert "Not seen" not in done.stderr
