"""What `cpugpu run` is given that is wrong, and what the program does that is in its way."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from cpugpu.errors import SanitizerError  # noqa: E402
from cpugpu.sanitize.ending import FOUND, NOT_WRITTEN  # noqa: E402
from tests.sanitize.command import Run, python_with, run_apart  # noqa: E402

RACE = """
import sys, torch
side = torch.cuda.Stream()
with torch.cuda.stream(side):
    x = torch.full((4,), 1.0, device="cuda")
(x + 1).tolist()
"""
CLEAN = "import torch\ntorch.ones(4, device='cuda').sum().item()\n"


@pytest.fixture
def race(tmp_path: Path) -> Path:
    path = tmp_path / "race.py"
    path.write_text(RACE)
    return path


# -- what is asked for -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "given", "allowed"),
    [
        (
            ["absent.py"],
            "there is no script absent.py",
            "SCRIPT, a folder or archive with a __main__.py, and",
        ),
        (["empty"], "the folder empty has no __main__.py", "a folder or archive with a __main__.py"),
        (["-m", "absent"], "there is no module absent", "-m MODULE"),
        (["-m", "absent.part"], "there is no module absent.part", "-m MODULE"),
        (["-m", ".part"], "-m '.part' is no module's name", "-m MODULE"),
        (["x" * 300], f"{'x' * 300} cannot be read: File name too long", "SCRIPT"),
        (["--json=absent/f", "race.py"], "--json=absent/f cannot be written: No such file", "a folder that is there"),
        (["--json=empty", "race.py"], "--json=empty cannot be written: Is a directory", "a file in a folder"),
        (["--suppressions=absent", "race.py"], "the suppression file absent cannot be read", "No such file"),
        (["--suppressions=bad", "race.py"], "bad, line 3: 'hots' begins with no rule", "rules are captured-event-"),
    ],
    ids=lambda value: " ".join(value)[:30] if isinstance(value, list) else "",
)
def test_the_message_says_what_was_given_and_what_is_allowed(
    run: Run, race: Path, arguments: list[str], given: str, allowed: str
) -> None:
    (race.parent / "empty").mkdir()
    (race.parent / "bad").write_text("# known\nrace\nhots\n")
    race.write_text("print('it has begun')" + RACE)
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert given in done.stderr
    assert allowed in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_script_that_cannot_be_read(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "secret.py"
    path.write_text("")
    path.chmod(0)
    # Who may read everything still gets an error from a memory that is not there.
    name = str(path) if not os.access(path, os.R_OK) else "/proc/self/mem"
    done = run(name)
    assert done.returncode == 2
    assert f"{name} cannot be read: " in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "value"), [("TORCH_CUDA_SANITIZER", "1"), ("CPUGPU_SANITIZE", "1"), ("CPUGPU_SANITIZE", "nonsense")]
)
def test_another_sanitizer_in_the_environment(
    run: Run, race: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    done = run("race.py")
    assert done.returncode == 2
    assert f"{name}={value!r}" in done.stderr
    assert len(done.stderr.splitlines()) == 1


# -- the exit status ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ends", "options", "status"),
    [
        ("", [], 0),
        ("", ["--exit-code"], FOUND),
        ("sys.exit(0)", ["--exit-code"], FOUND),
        ("sys.exit(3)", ["--exit-code"], 3),
        ("sys.exit('text')", ["--exit-code"], 1),
        ("raise KeyError('mine')", ["--exit-code"], 1),
        ("raise KeyError('mine')", [], 1),
    ],
)
def test_findings_change_the_status_of_a_program_that_ends_well_and_if_asked(
    run: Run, race: Path, ends: str, options: list[str], status: int
) -> None:
    race.write_text(RACE + ends)
    done = run(*options, "race.py")
    assert done.returncode == status
    assert done.stderr.count("race.py:6: race: add reads") == 1
    assert "cpugpu/" not in done.stderr  # no frame of ours


def test_without_findings_the_status_is_the_programs(run: Run, tmp_path: Path) -> None:
    (tmp_path / "clean.py").write_text(CLEAN)
    done = run("--exit-code", "clean.py")
    assert (done.returncode, done.stderr) == (0, "")


def test_raise_is_an_exception_of_the_program(run: Run, race: Path) -> None:
    done = run("--raise", "--exit-code", "race.py")
    assert done.returncode == 1
    assert done.stderr.startswith(f'Traceback (most recent call last):\n  File "{race}", line 6, in <module>')
    assert SanitizerError.__name__ in done.stderr


def test_findings_that_can_no_longer_be_written_are_printed_all_the_same(run: Run, race: Path) -> None:
    race.write_text(RACE + "import os, shutil\nshutil.rmtree('out')\n")
    (race.parent / "out").mkdir()
    done = run("--json=out/found", "--exit-code", "race.py")
    assert done.returncode == NOT_WRITTEN
    assert "the findings cannot be written to " in done.stderr
    assert "race.py:6: race: " in done.stderr


def test_the_file_is_where_it_was_asked_for_wherever_the_program_goes(run: Run, race: Path) -> None:
    race.write_text("import os\nos.mkdir('other')\nos.chdir('other')\n" + RACE)
    (race.parent / "found").write_text("of an earlier run")
    run("--json=found", "race.py")
    assert [each["rule"] for each in json.loads((race.parent / "found").read_text())["findings"]] == ["race"]


# -- how it ends the process -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ends", "status", "says"),
    [
        ("import os; os._exit(5)", 5, ""),
        ("import os; os._exit(0)", FOUND, ""),
        ("raise KeyboardInterrupt", -2, "\nKeyboardInterrupt\n"),
    ],
)
def test_at_once(race: Path, ends: str, status: int, says: str) -> None:
    race.write_text(RACE + ends)
    done = run_apart("--exit-code", "--json=found", "race.py", cwd=race.parent)
    assert done.returncode == status
    assert done.stderr.count("race.py:6: race: ") == 1
    assert says in done.stderr
    assert "cpugpu/" not in done.stderr
    assert len(json.loads((race.parent / "found").read_text())["findings"]) == 1


def test_at_once_where_the_environment_asks_for_it(tmp_path: Path) -> None:
    text = (
        f"import cpugpu, os\nwith cpugpu.simulate():\n    import cpugpu.sanitize\n    exec({RACE!r})\n    os._exit(5)"
    )
    done = python_with(text, tmp_path, CPUGPU_SANITIZE="1")
    assert done.returncode == 5
    assert done.stderr.count(": race: add reads") == 1


# -- its own modes -----------------------------------------------------------------------------------------------------

MODES = """
import sys, torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
seen = []
class Dispatch(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        seen.append(func.__name__)
        return func(*args, **(kwargs or {}))
class Function(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        seen.append(func.__name__)
        return func(*args, **(kwargs or {}))
def work():
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        x = torch.full((4,), 1.0, device="cuda")
    return (x + 1).tolist()
"""


@pytest.mark.parametrize("mode", ["Dispatch", "Function"])
@pytest.mark.parametrize("stays", [False, True])
def test_a_mode_of_the_program_sees_its_work_and_so_do_we(run: Run, tmp_path: Path, mode: str, stays: bool) -> None:
    uses = f"mode = {mode}().__enter__()\nwork()" if stays else f"with {mode}():\n    work()"
    asserts = "\nassert any(each.startswith('add') for each in seen), seen\nsys.exit(7)"
    leaves = "\nimport atexit\natexit.register(mode.__exit__, None, None, None)" if stays else ""
    (tmp_path / "modes.py").write_text(MODES + uses + leaves + asserts)
    done = run("modes.py")
    assert done.returncode == 7, done.stderr
    assert "modes.py:18: race: add reads" in done.stderr  # where the program works, not where its mode is asked


CSAN = "import torch.cuda._sanitizer\ntorch.cuda._sanitizer.enable_cuda_sanitizer()\n"


def test_torchs_own_sanitizer_stays_off(run: Run, race: Path) -> None:
    race.write_text(CSAN + RACE + "assert not torch.cuda._sanitizer.cuda_sanitizer.enabled\n")
    done = run("race.py")
    assert done.returncode == 0
    assert f"torch's own sanitizer stays off (turned on at {race}:2 in <module>)" in done.stderr
    assert "race.py:8: race: " in done.stderr


def test_afterwards_it_can_be_turned_on_and_then_it_is_ours_that_stays_off() -> None:
    from torch.cuda import _sanitizer as theirs

    from cpugpu.sanitize import start, watching
    from cpugpu.simulate import simulate

    with simulate():
        with watching():
            pass
        theirs.enable_cuda_sanitizer()
        try:
            assert theirs.cuda_sanitizer.enabled
            with pytest.raises(RuntimeError, match="torch's own sanitizer is on"):
                start()
        finally:
            theirs.cuda_sanitizer.disable()


def test_modules_that_are_loaded_later_have_their_patches_taken_out_again(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.delitem(sys.modules, "torch.cuda._sanitizer", raising=False)
    finders = [*sys.meta_path]
    (tmp_path / "program.py").write_text(CSAN)
    done = run("program.py")
    assert "stays off" in done.stderr
    assert sys.modules["torch.cuda._sanitizer"].CUDASanitizer.enable.__module__ == "torch.cuda._sanitizer"
    assert sys.meta_path == finders
