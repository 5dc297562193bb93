"""`cpugpu merge` and the parts of a campaign, as a user meets them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cpugpu.campaign import append, read
from cpugpu.cli import main
from tests.test_campaign import ENTRIES, HEADER, written
from tests.test_plugin import MINE, SUBJECTS


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    made = [tmp_path / "one", tmp_path / "two"]
    for folder in made:
        folder.mkdir()
        written(folder / "results.jsonl")
    return made


def merged(folders: list[Path]) -> tuple[int, Path]:
    out = folders[0].parent / "out"
    return main(["merge", str(out), *map(str, folders)]), out


def test_two_machines_are_joined(folders: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    status, out = merged(folders)
    assert status == 1, "a scenario has failed"
    run = read(out / "results.jsonl")
    assert (len(run.headers), len(run.entries)) == (2, 4)
    assert json.loads((out / "results.json").read_text())
    assert {path.name for path in out.iterdir()} == {"results.jsonl", "index.html", "junit.xml", "results.json"}
    told = capsys.readouterr().out
    assert "s[C]: FAILED (20 executions" in told
    assert "1 scenarios in 2 parts, 1 failed" in told


def test_a_file_that_is_cut_keeps_what_was_measured(folders: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    cut = folders[1] / "results.jsonl"
    cut.write_bytes(cut.read_bytes()[:-10])
    status, out = merged(folders)
    assert status == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert "line 3 is cut in the middle; 1 results before it were read" in errors[0]
    assert len(read(out / "results.jsonl").entries) == 3


def test_a_file_of_another_version(folders: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    (folders[1] / "results.jsonl").write_text('{"version": 2}\n')
    status, out = merged(folders)
    assert status == 2
    assert "is of version 2; this cpugpu reads version 1" in capsys.readouterr().err
    assert len(read(out / "results.jsonl").entries) == 2


def test_a_folder_without_results(folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _ = merged([*folders, tmp_path / "nothing"])
    assert status == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert "nothing" in errors[0]


def test_the_result_is_no_folder_of_those_given(folders: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    before = (folders[0] / "results.jsonl").read_bytes()
    assert main(["merge", str(folders[0]), *map(str, folders)]) == 2
    assert "name another one for the result" in capsys.readouterr().err
    assert (folders[0] / "results.jsonl").read_bytes() == before


def test_all_that_passed_is_status_0(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    folder.mkdir()
    result = ENTRIES[0].result
    assert result is not None
    passing = ENTRIES[0].__class__(
        ENTRIES[0].shard, type(result)("s[C]", "sim", 9, 1, 0.1, False), None, ENTRIES[0].replay
    )
    append(folder / "results.jsonl", HEADER)
    append(folder / "results.jsonl", passing)
    assert main(["merge", str(tmp_path / "out"), str(folder)]) == 0


# -- the campaign through pytest -----------------------------------------------------------------------------------


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    for number in range(3):
        pytester.makepyfile(**{f"stress_{number}": MINE.replace("def mine", f"def mine_{number}")})
    pytester.makepyfile(subjects=SUBJECTS)
    return pytester


FILES = [f"stress_{number}.py" for number in range(3)]


def stress(project: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return project.runpytest_subprocess(*FILES, "--stress-device=sim", "--stress-seconds=0.3", *arguments)


def test_parts_make_up_the_whole(project: pytest.Pytester) -> None:
    for number in (1, 2):
        assert stress(project, f"--stress-shard={number}/2", f"--stress-report=r{number}").ret == 0
    assert main(["merge", str(project.path / "all"), str(project.path / "r1"), str(project.path / "r2")]) == 0
    titles = sorted(item.target.title for item in read(project.path / "all" / "results.jsonl").items)
    assert titles == [f"mine_{number}[CpuGpuEvent]" for number in range(3)]


def test_the_second_run_is_compared_with_the_first(project: pytest.Pytester) -> None:
    assert stress(project, "--stress-report=r", "--stress-subject=subjects:Bare").ret in (0, 1)
    assert stress(project, "--stress-report=r", "--stress-subject=subjects:Bare").ret in (0, 1)
    assert read(project.path / "r" / "previous.jsonl").entries


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--stress-shard=5/4", "--stress-shard=5/4: allowed is I/N with I from 1 to N, 2/8 for instance"),
        ("--stress-workers=0", "--stress-workers=0: allowed is a number of processes from 1"),
        ("--stress-ray=127.0.0.1:1", "--stress-ray=127.0.0.1:1"),
        ("--stress-report=subjects.py/below", "subjects.py/below cannot be written: Not a directory"),
    ],
)
def test_bad_input_is_one_clear_line(project: pytest.Pytester, argument: str, message: str) -> None:
    result = stress(project, argument)
    assert result.ret == 2
    told = [line for line in result.errlines + result.outlines if message in line]
    assert len(told) == 1
    assert "Traceback" not in result.stdout.str() + result.stderr.str()


def test_no_such_scenario(project: pytest.Pytester) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "cpugpu", "stress", "stress_0.py::nothing", "--stress-device=sim"],
        capture_output=True,
        text=True,
        cwd=project.path,
        check=False,
    )
    assert run.returncode == 2
    assert "stress_0.py::nothing" in run.stderr
    assert "Traceback" not in run.stdout + run.stderr
