"""`cpugpu run`, and the fixture and marker of pytest."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

from cpugpu.cli import main
from tests.sanitize.command import Done, Run

pytest_plugins = ["pytester"]


@pytest.fixture
def cpugpu(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command, in this process: torch takes seconds to load."""

    def run(*arguments: str, cwd: Path | None = None) -> Done:
        monkeypatch.setattr(sys, "argv", [*sys.argv])
        monkeypatch.setattr(sys, "path", [*sys.path])
        monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
        if cwd is not None:
            monkeypatch.chdir(cwd)
        capfd.readouterr()
        status = main(["run", *arguments])
        for name in ("neighbour", "program"):
            sys.modules.pop(name, None)
        return Done(status, *capfd.readouterr())

    return run


PROGRAM = """
import sys, threading, torch, neighbour
assert __name__ == "__main__"
x = torch.arange(4, device="cuda:1")
print(sys.argv[1:], torch.cuda.device_count(), x.sum().item(), neighbour.HERE)
if "raise" in sys.argv:
    raise KeyError("mine")
sys.exit(int(sys.argv[1]))
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    (tmp_path / "neighbour.py").write_text("HERE = 'here'")
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


def test_a_program_runs_as_under_python(cpugpu: Run, program: Path) -> None:
    done = cpugpu("--devices", "2", "--seed=3", str(program), "7", "--seed", "x")
    assert done.returncode == 7, done.stderr
    assert done.stdout == "['7', '--seed', 'x'] 2 6 here\n"


def test_its_traceback_is_its_own(cpugpu: Run, program: Path) -> None:
    done = cpugpu("--devices", "2", str(program), "raise")
    assert done.returncode == 1
    assert done.stderr.startswith(f'Traceback (most recent call last):\n  File "{program}", line 7')
    assert done.stderr.rstrip().endswith("KeyError: 'mine'")


def test_a_module(cpugpu: Run, program: Path) -> None:
    done = cpugpu("--devices=2", "-m", "program", "0", cwd=program.parent)
    assert (done.returncode, done.stdout) == (0, "['0'] 2 6 here\n"), done.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["absent.py"], "there is no script absent.py"),
        ([], "which program? allowed are SCRIPT, a folder or archive with a __main__.py, and -m MODULE"),
        (["--devices=0", __file__], "devices=0: a simulated machine has at least 1 device"),
        (["--device=real", "--seed=1", __file__], "--devices and --seed are for --device sim"),
    ],
)
def test_bad_input_is_one_line(cpugpu: Run, arguments: list[str], complaint: str) -> None:
    done = cpugpu(*arguments)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert len(done.stderr.splitlines()) == 1


TESTS = """
import pytest, torch

@pytest.mark.simulated_cuda(devices=2)
def test_marker():
    assert torch.zeros(1, device="cuda:1").item() == 0

def test_fixture(simulated_cuda):
    assert torch.cuda.device_count() == 1

def test_neither():
    assert not torch.cuda.is_available()

@pytest.mark.simulated_cuda(devices=0)
def test_bad():
    pass
"""


def test_the_marker_and_the_fixture(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TESTS)
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-W", "ignore")
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(["*devices=0: a simulated machine has at least 1 device*"])
