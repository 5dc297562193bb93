"""The pytest plugin, as a user's own project sees it."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest

MINE = """
from cpugpu import CpuGpuEvent, scenario

@scenario(accept={"fresh": "the copy saw the fill"}, forbid={"stale": "the copy came first"})
def mine(rig, make_event=CpuGpuEvent):
    ready, cell, seen = make_event(), rig.buffer(0), rig.buffer(0)

    def producer():
        stream = rig.stream()
        rig.fill(cell, 1, stream)
        ready.record(stream)

    def consumer():
        stream = rig.stream()
        ready.wait(stream)
        rig.copy(cell, seen, stream)

    rig.run(producer, consumer)
    return "fresh" if rig.read(seen) == 1 else "stale"
"""
#: One execution is enough to see that `Bare` is wrong, on however slow a machine: it has many hand-offs. What a thread
#: draws depends on its place in run(), so these have other pauses each time, and whoever comes first also comes last.
MANY = """
from cpugpu import CpuGpuEvent, scenario

@scenario(accept={"fresh": "the copy saw the fill"}, forbid={"stale": "the copy came first"})
def mine(rig, make_event=CpuGpuEvent):
    filling, copying = rig.stream(), rig.stream()

    def nothing():
        pass

    def hand_over(before, swapped):
        ready, cell, seen = make_event(), rig.buffer(0), rig.buffer(0)

        def producer():
            rig.fill(cell, 1, filling)
            ready.record(filling)

        def consumer():
            ready.wait(copying)
            rig.copy(cell, seen, copying)

        pair = [consumer, producer] if swapped else [producer, consumer]
        rig.run(*[nothing] * before, *pair)
        return rig.read(seen) == 1

    return "fresh" if all(hand_over(n // 2, n % 2) for n in range(30)) else "stale"
"""
SUBJECTS = """
from cpugpu.device import resolve

class Bare:
    def __init__(self):
        self.event = resolve().event()
    def record(self, stream=None):
        self.event.record(stream)
    def wait(self, stream=None):
        self.event.wait(stream)

class NoWait:
    def record(self, stream=None): pass

function = len
instance = Bare.__new__(Bare)
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project that has nothing but a file of scenarios."""
    pytester.makepyfile(stress_mine=MINE, subjects=SUBJECTS)
    return pytester


def stress(project: pytest.Pytester, *arguments: str) -> Any:
    return project.runpytest_subprocess("stress_mine.py", "--stress-device=sim", *arguments)


def test_a_file_of_scenarios_is_all_it_takes(project: pytest.Pytester) -> None:
    result = stress(project, "--stress-seconds=0.2", "--stress-seed=7")
    assert result.ret == 0
    result.assert_outcomes(passed=1)
    lines = result.outlines
    assert any(line.startswith("cpugpu: device sim (simulated") for line in lines[:4])
    assert "cpugpu: seed 7, 0.2 s in all" in lines[:5]
    result.stdout.re_match_lines(
        [
            r"=+ outcomes =+",
            r"mine\[CpuGpuEvent\]: passed \(.* executions? in .* s\)",
            r"    outcome +times +share +grade +meaning",
            r"    fresh +[\d,]+ +100.0% +accepted +the copy saw the fill",
        ]
    )


def test_a_failure_names_the_outcome_and_the_line_to_paste_which_replays(project: pytest.Pytester) -> None:
    project.makepyfile(stress_mine=MANY)
    options = ["--stress-seconds=0.1", "--stress-workers=1", "--stress-subject=subjects:Bare"]
    result = stress(project, *options, "--stress-seed=7")
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        [
            "mine[[]Bare[]] FAILED: outcome 'stale' is forbidden (the copy came first)",
            "  replay: cpugpu stress 'stress_mine.py::mine[[]Bare[]]' --stress-device=sim*:Bare --stress-seed=7@*",
            "mine[[]Bare[]]: FAILED (*",
        ]
    )
    line = next(line for line in result.outlines if "replay: " in line)
    seed = re.search(r"--stress-seed=(\S+)", line)
    assert seed is not None
    again = project.runpytest_subprocess(
        "stress_mine.py::mine[Bare]", "--stress-device=sim", *options, f"--stress-seed={seed[1]}"
    )
    assert again.ret == 1
    again.stdout.fnmatch_lines(["*outcome 'stale' is forbidden*"])


def test_several_subjects_are_several_items(project: pytest.Pytester) -> None:
    result = stress(
        project,
        "--stress-seconds=0.2",
        "--stress-subject=cpugpu:CpuGpuEvent",
        "--stress-subject=cpugpu.debug:InstrumentedEvent",
    )
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["mine[[]CpuGpuEvent[]]: passed*", "mine[[]InstrumentedEvent[]]: passed*"])


def test_a_subject_that_lacks_a_method_is_skipped_with_the_reason(project: pytest.Pytester) -> None:
    project.makepyfile(stress_mine=MINE.replace("accept=", "needs=['close'], accept="))
    result = stress(project, "--stress-seconds=0.2", "--stress-subject=subjects:Bare", "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*Bare has no close()*"])


def test_options_may_stand_in_the_ini_file(project: pytest.Pytester) -> None:
    project.makeini(
        "[pytest]\nstress_seconds = 0.2\nstress_seed = 11\nstress_device = sim\nstress_subject = subjects:Bare"
    )
    result = project.runpytest_subprocess("stress_mine.py", "--stress-seconds=0.1")
    assert "cpugpu: seed 11, 0.1 s in all" in result.outlines
    assert "mine[Bare]" in result.stdout.str()


def test_imported_scenarios_are_not_collected_again(project: pytest.Pytester) -> None:
    project.makepyfile(stress_other="from stress_mine import mine\n")
    result = stress(project, "stress_other.py", "--collect-only", "-q")
    assert [line for line in result.outlines if "::" in line] == ["stress_mine.py::mine[CpuGpuEvent]"]


@pytest.mark.parametrize("workers", ["-n0", "-n2"])
def test_bad_ini_values_are_one_clear_line(project: pytest.Pytester, workers: str) -> None:
    project.makeini("[pytest]\nstress_seconds = -1")
    result = project.runpytest_subprocess(".", workers)
    assert result.ret == 2
    result.stderr.fnmatch_lines(["*--stress-seconds=-1: allowed is a number of seconds above 0*"])
    assert "Traceback" not in result.stdout.str() + result.stderr.str()


def test_a_subject_in_the_ini_file_that_does_not_import(project: pytest.Pytester) -> None:
    project.makeini("[pytest]\nstress_subject = nope:X\nstress_device = sim")
    result = project.runpytest_subprocess(".")
    assert result.ret == 2
    result.stdout.fnmatch_lines(["*--stress-subject=nope:X does not import (ModuleNotFoundError*"])
    assert "Traceback" not in result.stdout.str()


def test_scenarios_that_are_met_on_the_way_run_too(project: pytest.Pytester) -> None:
    """`pytest -n 2` in a project's root: no word on the command line is about stress."""
    project.makepyfile(stress_other=MINE.replace("def mine", "def other"))
    project.makeini("[pytest]\nstress_seconds = 0.4\nstress_device = sim")
    result = project.runpytest_subprocess("-n2")
    result.assert_outcomes(passed=2)
    assert len([line for line in result.outlines if line.startswith("cpugpu: device sim, seed ")]) == 1


def test_it_runs_without_pytest_timeout(project: pytest.Pytester) -> None:
    result = stress(project, "--stress-seconds=0.1", "-p", "no:timeout", "--strict-markers")
    result.assert_outcomes(passed=1)


def test_the_replay_line_is_right_in_a_folder_below(project: pytest.Pytester) -> None:
    project.makeini("[pytest]")
    below = project.mkdir("below")
    (below / "stress_below.py").write_text(MANY)
    (below / "subjects.py").write_text(SUBJECTS)
    options = ["--stress-device=sim", "--stress-seconds=0.1", "--stress-workers=1", "--stress-subject=subjects:Bare"]
    run = subprocess.run(
        [sys.executable, "-m", "cpugpu", "stress", "stress_below.py", *options],
        capture_output=True,
        text=True,
        cwd=below,
        check=False,
    )
    assert "replay: cpugpu stress 'stress_below.py::mine[Bare]'" in run.stdout


def test_a_project_without_scenarios_hears_nothing(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_other="import sys\ndef test(): assert 'torch' not in sys.modules")
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(passed=1)
    assert "device" not in result.stdout.str()


def test_workers_share_the_seed_and_the_time(project: pytest.Pytester) -> None:
    for number in range(3):
        project.makepyfile(**{f"stress_{number}": MINE.replace("def mine", f"def mine_{number}")})
    result = project.runpytest_subprocess(
        *(f"stress_{number}.py" for number in range(3)), "-n2", "--stress-device=sim", "--stress-seconds=0.6"
    )
    result.assert_outcomes(passed=3)
    assert len([line for line in result.outlines if re.match(r"mine_\d\[CpuGpuEvent\]: passed", line)]) == 3
    assert len([line for line in result.outlines if line.startswith("cpugpu: seed")]) == 1


def test_workers_hammer_with_the_seed_of_the_controller(project: pytest.Pytester) -> None:
    project.makepyfile(stress_mine=MANY)
    result = stress(project, "-n1", "--stress-seconds=0.1", "--stress-subject=subjects:Bare", "-x")
    seed = next(line for line in result.outlines if line.startswith("cpugpu: seed")).split()[2].rstrip(",")
    result.stdout.fnmatch_lines([f"*--stress-seed={seed}@*"])


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--stress-seconds=-1", "--stress-seconds=-1: allowed is a number of seconds above 0"),
        ("--stress-seconds=soon", "--stress-seconds=soon: allowed is a number of seconds above 0"),
        ("--stress-seconds=nan", "--stress-seconds=nan: allowed is a number of seconds above 0"),
        ("--stress-seed=x", "--stress-seed=x: allowed is an integer from 0, or one and an execution, 123@45"),
        ("--stress-seed=1@", "--stress-seed=1@: allowed is an integer from 0"),
        ("--stress-device=gpu", "device 'gpu' is not one of auto, accelerator, sim"),
        ("--stress-subject=nowhere:Class", "does not import (ModuleNotFoundError: No module named 'nowhere')"),
        ("--stress-subject=subjects:Nothing", "does not import (AttributeError"),
        ("--stress-subject=subjects", "allowed is MODULE:CLASS"),
        ("--stress-subject=subjects:NoWait", "--stress-subject=subjects:NoWait has no wait()"),
        (
            "--stress-subject=subjects:instance",
            "--stress-subject=subjects:instance is no class; allowed is MODULE:CLASS",
        ),
        ("--stress-subject=subjects:function", "has no record() and no wait()"),
    ],
)
def test_bad_input_is_one_clear_line_and_exit_status_2(project: pytest.Pytester, argument: str, message: str) -> None:
    result = stress(project, argument)
    assert result.ret == 2
    told = [line for line in result.errlines + result.outlines if message in line]
    assert len(told) == 1
    assert "Traceback" not in result.stdout.str() + result.stderr.str()


def test_an_accelerator_that_is_not_there(project: pytest.Pytester) -> None:
    from cpugpu.device import find_accelerator

    if find_accelerator() is not None:
        pytest.skip("there is an accelerator here")
    result = project.runpytest_subprocess("stress_mine.py", "--stress-device=accelerator")
    assert result.ret == 2
    result.stderr.fnmatch_lines(["*'accelerator' was asked for and there is none here; allowed are auto and sim*"])


def test_a_wrong_debug_mode_is_one_clear_line(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CPUGPU_DEBUG", "nonsense")
    result = stress(project, "--stress-seconds=0.1")
    assert result.ret == 2
    assert "CPUGPU_DEBUG='nonsense' is not one of" in result.stderr.str()
    assert "Traceback" not in result.stdout.str() + result.stderr.str()
