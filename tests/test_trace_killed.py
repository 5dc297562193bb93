"""SIGKILL: what a write has returned from is in the trace, whatever happens then."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from cpugpu.trace import read

ROOT = Path(__file__).parent.parent
WRITES = """
import os, sys
from cpugpu.trace import TraceWriter
from tests.e2e.sample import entry

writer = TraceWriter(sys.argv[1], limit=int(sys.argv[2]), meta={"pid": os.getpid()})
number = 0
while True:
    writer.write([entry(begin_ns=number + n + 1, place=f"app.py:{number + n}") for n in range(7)])
    number += 7
    os.write(1, b"%d\\n" % number)
"""


@pytest.mark.parametrize("run", [*range(8), *(pytest.param(run, marks=pytest.mark.slow) for run in range(8, 50))])
def test_a_killed_program_leaves_all_that_it_had_written(tmp_path: Path, run: int) -> None:
    draw = random.Random(run)
    limit = draw.choice((1 << 30, 1 << 30, 40_000))  # the last one begins a new file every few hundred entries
    path = tmp_path / "t"
    with subprocess.Popen(
        [sys.executable, "-c", WRITES, path, str(limit)], stdout=subprocess.PIPE, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        for _ in range(draw.randrange(1, 2_000)):
            assert process.stdout.readline()
        process.kill()
        reported = [int(line) for line in process.stdout if line.endswith(b"\n")]
    trace = read(path)
    numbers = [int(entry.place.removeprefix("app.py:")) for entry in trace]
    assert numbers == list(range(numbers[-1] + 1 - len(numbers), numbers[-1] + 1))
    assert numbers[0] == 0 or trace.lost_parts
    assert len(numbers) % 7 == 0
    assert not reported or numbers[-1] + 1 >= reported[-1]
