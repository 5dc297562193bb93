"""The command `cpugpu`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import cpugpu
from cpugpu.cli import main
from tests.test_plugin import MINE


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cpugpu", *arguments], capture_output=True, text=True, cwd=cwd, check=False
    )


def test_stress_is_pytest_on_a_path(tmp_path: Path) -> None:
    (tmp_path / "stress_mine.py").write_text(MINE)
    done = run("stress", "stress_mine.py", "--stress-seconds=0.1", "--stress-device=sim", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "mine[CpuGpuEvent]: passed" in done.stdout


def test_stress_without_a_path_is_the_folder_stress(tmp_path: Path) -> None:
    (tmp_path / "stress").mkdir()
    (tmp_path / "stress" / "stress_mine.py").write_text(MINE)
    done = run("stress", "--stress-seconds=0.1", "--stress-device=sim", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "mine[CpuGpuEvent]: passed" in done.stdout


def test_an_option_s_value_is_no_path(tmp_path: Path) -> None:
    (tmp_path / "stress").mkdir()
    (tmp_path / "stress" / "stress_mine.py").write_text(MINE)
    (tmp_path / "test_other.py").write_text("def test_mine(): raise AssertionError('not asked for')")
    done = run("stress", "-k", "mine", "--stress-seconds=0.1", "--stress-device=sim", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_exit_status_is_pytest_s(tmp_path: Path) -> None:
    assert run("stress", "--stress-seconds=-1", cwd=tmp_path).returncode == 2


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"cpugpu {cpugpu.__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["stres"]])
def test_a_wrong_command(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: cpugpu" in capsys.readouterr().err
