"""A stress job."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from cpugpu import job


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="this system does not tell when a process was started")
def test_the_time_runs_from_the_start_of_the_process() -> None:
    """Not from when the plugin was loaded: the clock of a new process is ahead of its first look at it."""
    code = "import time; seen = time.monotonic()\nfrom cpugpu.job import process_began\nprint(seen - process_began())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(run.stdout) > -0.02  # a tick of the system's clock is a hundredth of a second
    assert job.process_began() < time.monotonic()


def test_without_that_it_runs_from_now(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(self: Path) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", nothing)
    before = time.monotonic()
    assert before <= job.process_began() <= time.monotonic()
