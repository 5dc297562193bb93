"""A failing schedule repeats in another process, from the pasted line alone, whatever the hash seed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cpugpu.explore import ScheduleError, explore
from stress.stress_hand_off import hand_off
from stress.subjects import BareEvent, SeedEvent

ROOT = Path(__file__).parent.parent

#: Sets, dictionaries and objects by their hashes are what another hash seed would shuffle.
MINE = '''
import queue
import threading
from cpugpu import scenario


class Box:
    def __init__(self):
        self.items = {}

    def add(self, name):
        number = len(self.items)
        self.items[name] = number


@scenario(accept=["two numbers"])
def numbered(rig):
    """Two threads number their items."""
    box, threads = Box(), {"left", "right"}
    rig.run(*[lambda name=name: box.add(name) for name in sorted(threads)])
    return "two numbers" if len(set(box.items.values())) == 2 else "one number"


@scenario(accept=["done"])
def abba(rig):
    locks = {name: threading.Lock() for name in ("left", "right")}

    def both(first, second):
        with locks[first], locks[second]:
            pass

    rig.run(lambda: both("left", "right"), lambda: both("right", "left"))
    return "done"


@scenario(accept=["all"])
def pooled(rig):
    """A worker stops at the first empty queue."""
    items, taken = queue.Queue(), rig.cell(0)

    def producer():
        for item in ("one", "two"):
            items.put(item)

    def worker():
        try:
            while True:
                items.get(timeout=1)
                taken.update(lambda number: number + 1)
        except queue.Empty:
            pass

    rig.run(producer, worker)
    return "all" if taken.get() == 2 else "some"


@scenario(forbid=["stale"])
def bare(rig):
    event, cell, seen = rig.event(), rig.buffer(0), rig.buffer(0)

    def producer():
        stream = rig.stream()
        rig.fill(cell, 1, stream)
        event.record(stream)

    def consumer():
        stream = rig.stream()
        event.wait(stream)
        rig.copy(cell, seen, stream)

    rig.run(producer, consumer)
    return "fresh" if rig.read(seen) == 1 else "stale"
'''

PROGRAMS = {
    "numbered": ("outcome 'one number'", ["--trace", "stress_mine:Box"]),
    "abba": ("outcome 'hang'", []),
    "pooled": ("outcome 'some'", []),
    "bare": ("outcome 'stale'", []),
}

#: `explore(..., replay=...)` and `@reproduce_schedule(...)`, as one would write them.
AGAIN = """
import sys
from cpugpu.explore import explore, reproduce_schedule
import stress_mine

name, text = sys.argv[1:3]
found, trace = getattr(stress_mine, name), [stress_mine.Box] if name == "numbered" else []
first = explore(found, replay=text, trace=trace)
second = explore(reproduce_schedule(text)(found), trace=trace)
assert first.schedules == second.schedules == 1
assert first.failure.run.schedule == second.failure.run.schedule
assert str(first.failure.outcome) == str(second.failure.outcome)
print(f"outcome {str(first.failure.outcome)!r}")
"""


def python(*arguments: str, cwd: Path, hash_seed: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": str(hash_seed)},
    )


def pasted_line(name: str, tmp_path: Path) -> list[str]:
    """What the command prints to be pasted, for a scenario of `MINE`."""
    (tmp_path / "stress_mine.py").write_text(MINE)
    (tmp_path / "again.py").write_text(AGAIN)
    outcome, options = PROGRAMS[name]
    run = python("-m", "cpugpu", "explore", f"stress_mine.py::{name}", *options, cwd=tmp_path, hash_seed=0)
    assert run.returncode == 1, run.stderr
    assert outcome in run.stdout
    words = run.stdout.strip().splitlines()[-1].split()
    assert words[:2] == ["cpugpu", "explore"]
    return words[1:]


def table(output: str) -> list[str]:
    """The numbered steps."""
    return [line for line in output.splitlines() if line[:4].strip().isdecimal()]


def check_replays(name: str, tmp_path: Path, hash_seeds: range) -> None:
    line = pasted_line(name, tmp_path)
    elsewhere = tmp_path / "elsewhere"  # where no failing schedule is kept
    elsewhere.mkdir()
    for file in ("stress_mine.py", "again.py"):
        (elsewhere / file).write_text((tmp_path / file).read_text())
    steps = None
    for seed in hash_seeds:
        again = python("-m", "cpugpu", *line, cwd=elsewhere, hash_seed=seed)
        assert again.returncode == 1, again.stderr
        assert PROGRAMS[name][0] in again.stdout
        assert "found after 1 schedules" in again.stdout
        steps = steps or table(again.stdout)
        assert table(again.stdout) == steps
        assert steps


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_pasted_line_replays_in_another_process(name: str, tmp_path: Path) -> None:
    check_replays(name, tmp_path, range(1, 3))


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_pasted_line_replays_100_times_of_100(name: str, tmp_path: Path) -> None:
    """25 processes for each of the four."""
    check_replays(name, tmp_path, range(100, 125))


@pytest.mark.parametrize("name", ["numbered", "abba"])
def test_explore_and_the_decorator_replay_in_another_process(name: str, tmp_path: Path) -> None:
    text = pasted_line(name, tmp_path)[-1]
    for seed in (3, 4):
        again = python("again.py", name, text, cwd=tmp_path, hash_seed=seed)
        assert again.returncode == 0, again.stderr
        assert PROGRAMS[name][0] in again.stdout


# -- refused -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "cg9" + text[3:], "is a schedule of version 9; this is 1"),
        (lambda text: "garbage", "is no schedule; one looks like cg1-"),
    ],
    ids=["version", "garbage"],
)
def test_the_command_refuses_what_is_no_schedule_of_its_own(change: object, message: str, tmp_path: Path) -> None:
    *line, text = pasted_line("abba", tmp_path)
    again = python("-m", "cpugpu", *line, change(text), cwd=tmp_path, hash_seed=1)  # type: ignore[operator]
    assert again.returncode == 2
    assert message in again.stderr
    assert "Traceback" not in again.stderr


def test_the_command_refuses_a_schedule_of_code_that_was_changed(tmp_path: Path) -> None:
    line = pasted_line("numbered", tmp_path)
    for changed in (
        MINE.replace('"two numbers" if', '"two  numbers" if'),  # the scenario
        MINE.replace("number = len(self.items)", "number = 1 * len(self.items)"),  # what is traced
    ):
        (tmp_path / "stress_mine.py").write_text(changed)
        again = python("-m", "cpugpu", *line, cwd=tmp_path, hash_seed=1)
        assert again.returncode == 2
        assert "belongs to other code" in again.stderr


def test_a_program_that_does_something_else_is_told_so(tmp_path: Path) -> None:
    """What the scenario calls is not part of the number for its code: the steps tell."""
    module = "from cpugpu import scenario\nfrom helper import adds\n" + MINE.partition('@scenario(accept=["done"])')[0]
    source = module.partition("@scenario")[0] + (
        "@scenario(accept=[2])\n"
        "def lost_update(rig):\n"
        "    cell = rig.cell(0)\n"
        "    rig.run(lambda: adds(cell), lambda: adds(cell))\n"
        "    return cell.get()\n"
    )
    (tmp_path / "stress_mine.py").write_text(source)
    (tmp_path / "helper.py").write_text("def adds(cell):\n    value = cell.get()\n    cell.set(value + 1)\n")
    run = python("-m", "cpugpu", "explore", "stress_mine.py::lost_update", cwd=tmp_path, hash_seed=0)
    line = run.stdout.strip().splitlines()[-1].split()
    (tmp_path / "helper.py").write_text("def adds(cell):\n    cell.update(lambda value: value + 1)\n")
    again = python("-m", "cpugpu", *line[1:], cwd=tmp_path, hash_seed=0)
    assert again.returncode == 2
    assert "does not fit: the program did something else" in again.stderr


def test_a_schedule_of_another_subject_or_without_what_was_traced_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    failure = explore(hand_off.on(BareEvent), seconds=60).failure
    assert failure is not None
    assert explore(hand_off.on(BareEvent), replay=failure.replay).failure is not None
    with pytest.raises(ScheduleError, match="belongs to other code"):
        explore(hand_off.on(SeedEvent), replay=failure.replay)
    with pytest.raises(ScheduleError, match="belongs to other code"):
        explore(hand_off.on(BareEvent), replay=failure.replay, trace=(BareEvent,))
