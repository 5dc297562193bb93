"""The folder of a campaign: what is in it is lost neither to a second campaign, nor to one that fails or is stopped."""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
from pathlib import Path

import pytest

from cpugpu.campaign import Part, Run, append, read
from cpugpu.campaign.folder import begin, claimed
from cpugpu.errors import BadInput
from cpugpu.job import Job, run_job
from tests.test_campaign import ENTRIES, HEADER, written
from tests.test_plugin import MINE


def told(line: str) -> None:
    raise AssertionError(f"nothing was to be said, but: {line}")


def test_the_last_results_are_kept_aside(tmp_path: Path) -> None:
    written(tmp_path / "results.jsonl")
    last = begin(tmp_path, HEADER, told)
    assert last == read(tmp_path / "previous.jsonl") == Run([HEADER], ENTRIES)
    assert read(tmp_path / "results.jsonl") == Run([HEADER], [])


def test_results_that_were_never_had_do_not_take_their_place(tmp_path: Path) -> None:
    written(tmp_path / "results.jsonl")
    for _ in range(3):
        assert begin(tmp_path, HEADER, told) == Run([HEADER], ENTRIES)
    assert read(tmp_path / "previous.jsonl") == Run([HEADER], ENTRIES)
    assert read(tmp_path / "results.jsonl") == Run([HEADER], [])


def test_the_first_campaign_of_a_folder(tmp_path: Path) -> None:
    assert begin(tmp_path, HEADER, told) is None


def test_a_cluster_that_cannot_be_had_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    before = written(tmp_path / "results.jsonl").read_bytes()
    job = Job([], {}, {}, [], "sim", "sim", 7, None, 1.0, Part(), None, tmp_path, "127.0.0.1:1", time.monotonic())
    for _ in range(2):
        with pytest.raises(BadInput, match=r"--stress-ray=127\.0\.0\.1:1 needs Ray"):
            run_job(job, told)
    assert (tmp_path / "results.jsonl").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["results.jsonl"]


def test_a_folder_is_one_campaign_s_at_a_time(tmp_path: Path) -> None:
    for _ in range(2):
        with claimed(tmp_path), pytest.raises(BadInput, match=re.escape(str(tmp_path))), claimed(tmp_path):
            pass
    assert not list(tmp_path.iterdir()), "no lock is left lying"


# -- through pytest ------------------------------------------------------------------------------------------------


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makepyfile(stress_mine=MINE)
    return pytester


def test_a_second_campaign_is_told_so(project: pytest.Pytester) -> None:
    folder = project.mkdir("r")
    before = written(folder / "results.jsonl").read_bytes()
    with claimed(folder):
        append(folder / "results.jsonl", ENTRIES[0])  # a shard needs no claim
        before = (folder / "results.jsonl").read_bytes()
        result = project.runpytest_subprocess("stress_mine.py", "--stress-device=sim", "--stress-report=r")
    assert result.ret == 2
    lines = [line for line in result.errlines + result.outlines if "another campaign writes there" in line]
    assert len(lines) == 1
    assert str(folder) in lines[0]
    assert (folder / "results.jsonl").read_bytes() == before


@pytest.mark.parametrize(("error", "status"), [("ValueError", 3), ("BadInput", 2)])
def test_only_bad_input_is_told_as_such(project: pytest.Pytester, error: str, status: int) -> None:
    project.makeconftest(
        "import cpugpu.pytest_plugin as plugin\nfrom cpugpu.errors import BadInput\n"
        f"def run_job(job, write):\n    raise {error}('a mistake')\nplugin.run_job = run_job\n"
    )
    result = project.runpytest_subprocess("stress_mine.py", "--stress-device=sim")
    assert result.ret == status


INTERRUPTS = """
import os, signal
from cpugpu import scenario

@scenario(accept=["done"])
def first(rig):
    return "done"

@scenario(accept=["done"])
def second(rig):
    os.kill(int(os.environ["WATCHER"]), signal.SIGINT)
    signal.pause()
"""


def test_an_interrupted_campaign_leaves_its_report(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    project.makepyfile(stress_two=INTERRUPTS)
    project.makeconftest(
        "import os, signal\n"
        "os.environ['WATCHER'] = str(os.getpid())\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    )
    temporary = tempfile.TemporaryDirectory()  # a short name, for multiprocessing has sockets there
    monkeypatch.setenv("TMPDIR", temporary.name)
    options = ["--stress-device=sim", "--stress-workers=1", "--stress-seed=7@0", "--stress-seconds=0.05"]
    result = project.runpytest_subprocess("stress_two.py", "--stress-report=r", *options)
    folder = project.path / "r"
    assert result.ret == 2
    assert f"cpugpu: interrupted after 1 shards; report {folder / 'index.html'}" in result.outlines
    assert [entry.shard.target.name for entry in read(folder / "results.jsonl").entries] == ["first"]
    assert "first" in (folder / "index.html").read_text()
    assert "first" in (folder / "junit.xml").read_text()
    assert json.loads((folder / "results.json").read_text())
    assert not list(Path(temporary.name).glob("cpugpu-*"))
    temporary.cleanup()
