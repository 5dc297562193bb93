"""`explore(..., spurious=n)`: a wait on a condition may end though nobody has notified it, n times in each thread."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cpugpu import scenario
from cpugpu.explore import ScheduleError, VerdictKind, explore
from cpugpu.rig import Rig

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    return


def waits(rig: Rig, *, again: bool) -> str:
    """A consumer waits for the flag; `again`: and looks again when it was woken."""
    condition, ready, outcome = threading.Condition(), rig.cell(False), rig.cell("ready")

    def consumer() -> None:
        with condition:
            if again:
                while not ready.get():
                    condition.wait()
            elif not ready.get():
                condition.wait()
            if not ready.get():
                outcome.set("not ready")

    def producer() -> None:
        with condition:
            ready.set(True)
            condition.notify()

    rig.run(consumer, producer)
    return outcome.get()


@scenario(accept=["ready"])
def looks_once(rig: Rig) -> str:
    return waits(rig, again=False)


@scenario(accept=["ready"])
def looks_again(rig: Rig) -> str:
    return waits(rig, again=True)


@pytest.mark.parametrize("strategy", ["auto", "dpor", "dfs"])
def test_a_wait_without_a_loop_is_wrong_only_where_wake_ups_may_be_spurious(strategy: str) -> None:
    assert explore(looks_once, strategy=strategy, seconds=60).kind is VerdictKind.PROVED
    verdict = explore(looks_once, strategy=strategy, seconds=60, spurious=1)
    assert verdict.failure is not None
    assert verdict.failure.outcome == "not ready"
    assert verdict.failure.preemptions == 0


@pytest.mark.parametrize("strategy", ["auto", "dpor", "dfs"])
@pytest.mark.parametrize("spurious", [0, 1, 2, True])
def test_a_wait_in_a_loop_stands_them(strategy: str, spurious: int) -> None:
    verdict = explore(looks_again, strategy=strategy, seconds=60, spurious=spurious)
    assert verdict.kind is VerdictKind.PROVED


def test_the_more_there_are_the_more_there_is_to_try() -> None:
    counts = [explore(looks_again, strategy="dpor", seconds=60, spurious=number).traces for number in range(4)]
    assert counts == sorted(set(counts), key=lambda number: number or 0)


@pytest.mark.parametrize("strategy", ["dpor", "dfs"])
def test_a_timeout_is_tried_as_well(strategy: str) -> None:
    """A wait with a timeout ends in time, too late, or spuriously, which looks as if it was in time."""

    def program(rig: Rig) -> tuple[bool, bool]:
        condition, ready, found = threading.Condition(), rig.cell(False), rig.cell((True, True))

        def consumer() -> None:
            with condition:
                if not ready.get():
                    in_time = condition.wait(timeout=5)
                    found.set((in_time, ready.get()))

        def producer() -> None:
            with condition:
                ready.set(True)
                condition.notify()

        rig.run(consumer, producer)
        return found.get()

    for outcome, without, with_one in (
        ((True, True), True, True),
        ((False, True), True, True),  # it was notified while it took the lock back
        ((False, False), True, True),
        ((True, False), False, True),
    ):
        forbids = scenario(forbid=[outcome])(program)
        for spurious, found in ((0, without), (1, with_one)):
            verdict = explore(forbids, strategy=strategy, seconds=60, spurious=spurious)
            assert verdict.kind is (VerdictKind.FAILED if found else VerdictKind.PROVED), (outcome, spurious)


def test_a_schedule_belongs_to_the_number_of_them() -> None:
    failure = explore(looks_once, spurious=1).failure
    assert failure is not None
    again = explore(looks_once, spurious=1, replay=failure.replay).failure
    assert again is not None
    assert again.outcome == "not ready"
    with pytest.raises(ScheduleError, match="spurious wake-ups are not what they were"):
        explore(looks_once, replay=failure.replay)


@pytest.mark.parametrize("number", [-1, 1.5, None])
def test_what_is_no_number_of_them(number: Any) -> None:
    with pytest.raises(ValueError, match="spurious="):
        explore(looks_once, spurious=number)


MINE = """
import threading
from cpugpu import scenario

@scenario(accept=["ready"])
def looks_once(rig):
    condition, ready, outcome = threading.Condition(), rig.cell(False), rig.cell("ready")

    def consumer():
        with condition:
            if not ready.get():
                condition.wait()
            if not ready.get():
                outcome.set("not ready")

    def producer():
        with condition:
            ready.set(True)
            condition.notify()

    rig.run(consumer, producer)
    return outcome.get()
"""


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cpugpu", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def test_the_command_has_the_option_and_pastes_it(tmp_path: Path) -> None:
    (tmp_path / "stress_mine.py").write_text(MINE)
    assert command("explore", "stress_mine.py").returncode == 0
    run = command("explore", "stress_mine.py::looks_once", "--spurious")
    assert run.returncode == 1, run.stderr
    line = run.stdout.strip().splitlines()[-1].split()
    assert line[1:5] == ["explore", "stress_mine.py::looks_once", "--spurious", "1"]
    assert "outcome 'not ready' is forbidden" in command(*line[1:]).stdout


def test_the_marker_has_the_option(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        stress_mine=MINE,
        test_mine="""
import pytest
from stress_mine import looks_once

def test_without(explore):
    explore(looks_once)

@pytest.mark.explore(spurious=1)
def test_with(explore):
    explore(looks_once)
""",
    )
    result = pytester.runpytest_subprocess("test_mine.py", "--strict-markers")
    result.assert_outcomes(passed=1, failed=1)
