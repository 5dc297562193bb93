"""`cpugpu merge` and the parts of a campaign, as a user meets them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cpugpu.campaign import append, read
from cpugpu.cli import main
from tests.e2e.report_sample import MATRIX
from tests.test_campaign import ENTRIES, HEADER, written
from tests.test_plugin import MINE, SUBJECTS


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    made = [tmp_path / "one", tmp_path / "two"]
    for folder in made:
        folder.mkdir()
        written(folder / "results.jsonl")
    return made


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def merged(folders: list[Path]) -> tuple[int, Path]:
    out = folders[0].parent / "out"
    return main(["merge", str(out), *map(str, folders)]), out


def test_two_machines_are_joined(folders: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    status, out = merged(folders)
    assert status == 1, "a scenario has failed"
    run = read(out / "results.jsonl")
    assert (len(run.headers), len(run.entries)) == (2, 4)
    assert json.loads((out / "results.json").read_text())
    assert {path.name for path in out.iterdir()} == {
        "results.jsonl", "merged.json", "index.html", "junit.xml", "results.json"
    }  # fmt: skip
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


def test_a_forgotten_result_deletes_no_part(folders: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    """`cpugpu merge one two`: what is meant as a part would be the folder for the result."""
    before = contents(folders[0])
    assert main(["merge", *map(str, folders)]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert "one/results.jsonl holds results that no merge has made" in errors[0]
    assert "name a new one" in errors[0]
    assert contents(folders[0]) == before


def test_nothing_is_written_where_nothing_was_read(
    folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out = merged(folders)
    before = contents(out)
    capsys.readouterr()
    for target in (out, tmp_path / "new"):
        assert main(["merge", str(target), str(tmp_path / "nowhere")]) == 2
        errors = capsys.readouterr().err.splitlines()
        assert len(errors) == 1
        assert "nowhere: No such file or directory; there is nothing to join, and nothing was written" in errors[0]
    assert contents(out) == before
    assert not (tmp_path / "new").exists()


def test_what_a_merge_has_made_may_be_made_anew(folders: list[Path]) -> None:
    merged(folders)
    status, out = merged(folders[:1])
    assert status == 1
    assert len(read(out / "results.jsonl").headers) == 1


def test_a_campaign_in_the_folder_of_a_merge_is_not_overwritten(
    folders: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    _, out = merged(folders)
    append(out / "results.jsonl", ENTRIES[0])
    before = contents(out)
    assert merged(folders)[0] == 2
    assert "holds results that no merge has made" in capsys.readouterr().err
    assert contents(out) == before


def test_a_disk_that_is_full_leaves_the_last_merge(folders: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    _, out = merged(folders)
    before = contents(out)

    def full(path: Path, record: object) -> None:
        if path.exists():
            raise OSError(28, "No space left on device")
        append(path, record)  # type: ignore[arg-type]

    monkeypatch.setattr("cpugpu.report.merge.append", full)
    assert merged(folders)[0] == 2
    assert contents(out) == before


@pytest.mark.parametrize("again", ["one", "one/results.jsonl", "two/../one", "link"])
def test_a_part_that_is_given_twice_is_not_counted_twice(
    folders: list[Path], tmp_path: Path, again: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "link").symlink_to(folders[0])
    status, out = merged([*folders, tmp_path / again])
    assert status == 2
    assert "is given twice; its results would be counted twice" in capsys.readouterr().err
    assert not out.exists()


def test_a_file_in_the_place_of_the_result(folders: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    file = folders[0].parent / "out"
    file.write_text("mine")
    assert merged(folders)[0] == 2
    assert capsys.readouterr().err == f"cpugpu: {file} is a file; the first argument is the folder for the result\n"
    assert file.read_text() == "mine"


def test_the_newest_mutant_matrix_is_taken_over(folders: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    for folder, device, age in zip(folders, ("newer", "older"), (100, 200), strict=True):
        path = folder / "mutants.json"
        path.write_text(json.dumps({**MATRIX, "device": device}))
        os.utime(path, (1e9 - age, 1e9 - age))
    _, out = merged(folders)
    assert f"there are 2 files mutants.json; the newest is taken, {folders[0]}/mutants.json" in capsys.readouterr().out
    assert json.loads((out / "mutants.json").read_text())["device"] == "newer"
    assert "mutant-table" in (out / "index.html").read_text()
    os.utime(folders[1] / "mutants.json", (1e9, 1e9))  # measured again
    merged(folders)
    assert json.loads((out / "mutants.json").read_text())["device"] == "older"


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
