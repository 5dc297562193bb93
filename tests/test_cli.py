"""The command `cpugpu`."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

import cpugpu
from cpugpu.cli import main
from tests.test_plugin import MINE

#: Its end takes longer than the quarter of a second that subprocess.run() would grant it.
INTERRUPTED = """
import os, signal, time
from pathlib import Path

def pytest_runtest_call(item):
    os.killpg(os.getpgid(0), signal.SIGINT)
    while True:
        time.sleep(0)

def pytest_sessionfinish(session):
    time.sleep(0.6)
    Path("ended").write_text("whole")
"""


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


def test_control_c_is_answered_by_pytest_in_its_own_time(tmp_path: Path, control_c: None) -> None:
    """Both processes get the interrupt, as from a terminal."""
    (tmp_path / "conftest.py").write_text(INTERRUPTED)
    (tmp_path / "test_it.py").write_text("def test_it(): pass")
    done = subprocess.run(
        [sys.executable, "-m", "cpugpu", "stress", "test_it.py"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
        start_new_session=True,
    )
    assert done.returncode == 130
    assert "Traceback" not in done.stdout + done.stderr
    assert (tmp_path / "ended").read_text() == "whole"


def test_a_pytest_that_a_signal_ends_is_told_as_a_shell_does(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("import os, signal\ndef test_it(): os.kill(os.getpid(), signal.SIGKILL)")
    assert run("stress", "test_it.py", cwd=tmp_path).returncode == 128 + signal.SIGKILL


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
