"""The pytest plugin where a run is out of the ordinary: names that collide, files that do not import, replays."""

from __future__ import annotations

import json
import shlex
import sys

import pytest

from tests.test_plugin import MINE as HAND_OFF
from tests.test_plugin import SUBJECTS, stress

#: The class in the module `olde` is wrong, each time.
MINE = """
from cpugpu import CpuGpuEvent, scenario

@scenario(accept=["right"])
def mine(rig, make_event=CpuGpuEvent):
    return "wrong" if make_event.__module__ == "olde" else "right"
"""
EVENT = """
from cpugpu import CpuGpuEvent

class Ev(CpuGpuEvent):
    pass
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project with a right and a wrong class of one name."""
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    pytester.makepyfile(
        stress_mine=MINE,
        newe=EVENT,
        olde=EVENT,
    )
    return pytester


def replay_of(result: pytest.RunResult) -> list[str]:
    """The words of the first replay line, as a shell takes them, from the path on."""
    line = next(line for line in result.outlines if line.startswith("  replay: "))
    cpugpu, command, *words = shlex.split(line.removeprefix("  replay: "))
    assert (cpugpu, command) == ("cpugpu", "stress")
    return words


# -- names that collide ------------------------------------------------------------------------------------------------


def test_two_subjects_of_one_name_are_two_items(project: pytest.Pytester) -> None:
    result = stress(
        project, "--stress-seconds=0.2", "--stress-subject=newe:Ev", "--stress-subject=olde:Ev", "--stress-report=r"
    )
    result.assert_outcomes(passed=1, failed=1)
    report = json.loads((project.path / "r" / "results.json").read_text())
    assert {item["title"]: item["verdict"] for item in report["items"]} == {
        "mine[newe:Ev]": "passed",
        "mine[olde:Ev]": "failed",
    }
    result.stdout.fnmatch_lines(["mine[[]newe:Ev[]]: passed*", "mine[[]olde:Ev[]]: FAILED*"])
    again = project.runpytest_subprocess(*replay_of(result), "--stress-seconds=0.2")
    again.assert_outcomes(failed=1)
    again.stdout.fnmatch_lines(["mine[[]Ev[]] FAILED: outcome 'wrong'*"])


def test_a_subject_that_is_given_twice_is_one(project: pytest.Pytester) -> None:
    result = stress(project, "--stress-seconds=0.1", *["--stress-subject=newe:Ev"] * 2)
    result.assert_outcomes(passed=1)


def test_scenarios_of_one_title_are_named_by_their_attributes(project: pytest.Pytester) -> None:
    project.makepyfile(
        stress_made="""
        from cpugpu import scenario

        def made(outcome):
            @scenario(accept=[1])
            def inner(rig):
                return outcome
            return inner

        right, wrong = made(1), made(2)
        """
    )
    result = project.runpytest_subprocess("stress_made.py", "--stress-device=sim", "--stress-seconds=0.2")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["right: passed*", "wrong: FAILED*"])
    assert replay_of(result)[0] == "stress_made.py::wrong"


def test_what_is_collected_twice_is_refused(project: pytest.Pytester) -> None:
    result = project.runpytest_subprocess(
        "--keep-duplicates", "stress_mine.py", "stress_mine.py", "--stress-device=sim", "--stress-seconds=0.1"
    )
    assert result.ret == 2
    assert "mine[CpuGpuEvent] was collected more than once" in result.stdout.str() + result.stderr.str()


# -- errors and options ------------------------------------------------------------------------------------------------


def test_a_file_that_does_not_import_ends_the_run_before_the_campaign(project: pytest.Pytester) -> None:
    project.makepyfile(stress_broken="import nothing_of_that_name")
    files = ["stress_mine.py", "stress_broken.py", "--stress-device=sim", "--stress-report=r"]
    result = project.runpytest_subprocess(*files, "--stress-seconds=0.1")
    assert result.parseoutcomes().keys() == {"errors"}
    result.stdout.fnmatch_lines(["*No module named 'nothing_of_that_name'*"])
    assert not (project.path / "r").exists(), "no campaign was run"
    result = project.runpytest_subprocess(*files, "--stress-seconds=0.1", "--continue-on-collection-errors")
    assert result.parseoutcomes().keys() == {"errors", "passed"}
    assert (project.path / "r" / "index.html").exists()


@pytest.mark.parametrize("option", ["--stress-report=r", "--stress-ray=local", "--stress-workers=2"])
def test_what_is_the_campaign_s_is_refused_beside_xdist(project: pytest.Pytester, option: str) -> None:
    result = stress(project, "-n1", option)
    assert result.ret == 2
    told = [line for line in result.errlines + result.outlines if f"{option} has no effect with -n" in line]
    assert len(told) == 1
    assert "Traceback" not in result.stdout.str() + result.stderr.str()


def test_under_the_sanitizer_a_finding_is_an_outcome_with_a_line_that_replays_it(project: pytest.Pytester) -> None:
    pytest.importorskip("torch")
    project.makepyfile(stress_mine=HAND_OFF, subjects=SUBJECTS)
    options = ["--stress-sanitize", "--stress-seconds=0.2", "--stress-subject=cpugpu:CpuGpuEvent"]
    result = stress(project, *options, "--stress-subject=subjects:Bare")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "cpugpu: device cuda (*, under the sanitizer",
            "mine[[]Bare[]] FAILED: outcome 'finding' is forbidden (the sanitizer has found what nothing orders)",
            "*subjects.py:*",
            "  replay: cpugpu stress * --stress-sanitize --stress-seed=*",
        ]
    )
    line = next(line for line in result.outlines if "replay: " in line)
    again = project.runpytest_subprocess(*shlex.split(line.partition("replay: cpugpu stress ")[2]))
    again.stdout.fnmatch_lines(["*outcome 'finding' is forbidden*"])


def test_what_is_the_campaign_s_is_refused_under_the_sanitizer(project: pytest.Pytester) -> None:
    result = stress(project, "--stress-sanitize", "--stress-report=r")
    assert result.ret == 2
    told = "--stress-report=r has no effect with --stress-sanitize: it watches this process"
    assert any(told in line for line in result.errlines + result.outlines)


def test_without_workers_of_xdist_they_are_taken(project: pytest.Pytester) -> None:
    assert stress(project, "-n0", "--stress-seconds=0.1", "--stress-workers=1").ret == 0


def test_a_report_that_could_not_be_written_is_no_success(project: pytest.Pytester) -> None:
    (project.path / "r" / "index.html" / "in the way").mkdir(parents=True)
    result = stress(project, "--stress-seconds=0.1", "--stress-report=r")
    assert result.ret == 2
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["cpugpu: the report could not be written to *"])


def test_a_time_that_is_too_short_for_a_turn_each_is_told(project: pytest.Pytester) -> None:
    result = stress(project, "--stress-seconds=0.01", "--stress-workers=1")
    result.assert_outcomes(passed=1)
    told = [line for line in result.outlines if "too short" in line]
    assert len(told) == 1
    assert told[0].startswith("cpugpu: 0.01 s are too short for 1 scenarios: each gets one turn of 0.05 s")
    assert "too short" not in stress(project, "--stress-seconds=0.1", "--stress-workers=1").stdout.str()


# -- replays -----------------------------------------------------------------------------------------------------------


def test_a_replay_in_the_environment_of_a_part_keeps_its_seed(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "3")
    bare = ["--stress-seconds=0.2", "--stress-subject=olde:Ev"]
    result = stress(project, *bare, "--stress-seed=7")
    words = replay_of(result)
    assert any(word.startswith("--stress-seed=1000010@") for word in words), "the seed of the second part"
    again = project.runpytest_subprocess(*words, "--stress-seconds=0.2")
    assert "cpugpu: seed 1000010, 0.2 s in all" in again.outlines
    again.assert_outcomes(failed=1)
    # The whole of it was asked for there: so it is again.
    assert "--stress-shard=1/1" in replay_of(stress(project, *bare, "--stress-shard=1/1"))


def test_a_run_that_is_no_part_has_a_short_replay(project: pytest.Pytester) -> None:
    words = replay_of(stress(project, "--stress-seconds=0.2", "--stress-subject=olde:Ev"))
    assert [word.partition("=")[0] for word in words] == [
        "stress_mine.py::mine[Ev]", "--stress-device", "--stress-subject", "--stress-seed"
    ]  # fmt: skip


def test_a_replay_names_the_device_that_was_chosen(project: pytest.Pytester) -> None:
    """Pasted on another machine, `auto` may be another one."""
    result = project.runpytest_subprocess("stress_mine.py", "--stress-seconds=0.2", "--stress-subject=olde:Ev")
    assert "--stress-device=auto" not in replay_of(result)


def test_a_path_that_a_shell_would_take_apart_is_replayed(project: pytest.Pytester) -> None:
    name = 'it\'s  the "right"\n$(touch pwned) place'
    folder = project.path / name
    folder.mkdir()
    (folder / "stress_mine.py").write_text(MINE)
    path = f"{name}/stress_mine.py"
    options = ["--stress-device=sim", "--stress-seconds=0.2", "--stress-subject=olde:Ev"]
    text = project.runpytest_subprocess(path, *options).stdout.str()
    start = text.index("  replay: ") + len("  replay: ")
    line = text[start : text.index("\n", text.index("--stress-seed=", start))]
    words = shlex.split(line)
    assert words[2] == f"{path}::mine[Ev]"
    done = project.run("bash", "-c", line.replace("cpugpu", f"{shlex.quote(sys.executable)} -m cpugpu", 1))
    assert done.ret == 1
    assert "outcome 'wrong' is forbidden" in done.stdout.str()
    assert not (project.path / "pwned").exists()
