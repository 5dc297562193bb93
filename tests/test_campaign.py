"""The campaign: what becomes of shards that die, how the time is dealt out, and the file that is left."""

from __future__ import annotations

import dataclasses
import errno
import os
import resource
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cpugpu.campaign import (
    Budget,
    Entry,
    Fault,
    Header,
    LocalProcesses,
    Once,
    Part,
    Progress,
    ResultsError,
    Run,
    Shard,
    Target,
    append,
    merge,
    parse_part,
    read,
    run,
    work,
)
from cpugpu.hammer import Failure, Latencies, Result, Row, Step
from cpugpu.rig import HANG, Grade, scenario
from tests.faults import FAULTS, HEALTHY, SCENARIOS

NAMES = [f"healthy_{number}" for number in range(HEALTHY)] + [*FAULTS, "full_disk"]


@pytest.fixture
def targets(tmp_path: Path) -> list[Target]:
    path = tmp_path / "stress_faults.py"
    path.write_text(SCENARIOS)
    return [Target(f"stress_faults.py::{name}", str(path), "stress_faults", name, title=name) for name in NAMES]


@pytest.fixture
def processes() -> Iterator[LocalProcesses]:
    executor = LocalProcesses(2, silence=5.0)
    yield executor
    executor.close()


class FullDisk:
    """Hands shards on, the one named `full_disk` with results that go to a full disk."""

    def __init__(self, executor: Any) -> None:
        self.width = executor.width
        self.events = executor.events
        self.close = executor.close
        self._executor = executor

    def submit(self, shard: Shard) -> None:
        full = shard.target.name == "full_disk"
        self._executor.submit(dataclasses.replace(shard, results="/dev/full") if full else shard)


def template(results: Path | str = "", seed: int = 7) -> Shard:
    return Shard(0, Target("", "", "", ""), "sim", seed, 0.0, results=str(results), paths=tuple(sys.path))


def replays(targets: list[Target]) -> dict[str, str]:
    return {target.nodeid: f"cpugpu stress '{target.nodeid}'" for target in targets}


def check_faults(found: Run, results: Path) -> None:
    """Fifteen whole results, five named faults, a replay line each, nothing lost."""
    by_name = {item.target.name: item for item in found.items}
    assert set(by_name) == set(NAMES)
    whole = [item for item in found.items if item.passed]
    assert sorted(item.target.name for item in whole) == sorted(NAMES[:HEALTHY])
    assert not found.passed
    faults = {name: item.faults[0].fault for name, item in by_name.items() if item.faults}
    assert {name: fault.kind for name, fault in faults.items() if fault} == {**FAULTS, "full_disk": "disk full"}
    for item in found.items:
        if not item.passed:
            assert item.replays[-1] == f"cpugpu stress '{item.target.nodeid}' --stress-seed=7"
    measured = by_name["full_disk"].result
    assert measured is not None, "what could not be written is still told"
    assert measured.rows[0].outcome == "fresh"
    kept = {item.target.name for item in read(results).items}
    assert kept & set(NAMES) == set(NAMES) - {"full_disk"}


def test_twenty_shards_of_which_five_come_to_grief(
    targets: list[Target], processes: LocalProcesses, tmp_path: Path
) -> None:
    results = tmp_path / "results.jsonl"
    found = run(Once(targets, 0.05), FullDisk(processes), template=template(results), replays=replays(targets))
    check_faults(found, results)
    hung = next(entry for entry in found.entries if entry.shard.target.name == "hangs")
    assert hung.fault is not None
    assert "signal.pause" in hung.fault.details or "in hangs" in hung.fault.details, "the stacks tell where"


def test_a_shard_that_dies_later_tells_what_it_had_seen(tmp_path: Path, processes: LocalProcesses) -> None:
    path = tmp_path / "stress_late.py"
    marker = tmp_path / "told"
    path.write_text(
        "import os, pathlib, signal, time\n"
        "from cpugpu import scenario\n"
        "@scenario\n"
        "def late(rig):\n"
        f"    if pathlib.Path({str(marker)!r}).exists():\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return 'seen'\n"
    )
    target = Target("stress_late.py::late", str(path), "stress_late", "late", title="late")

    class Marks:
        """Lets it die once it has told of an execution."""

        def started(self, shard: Shard) -> None: ...

        def progressed(self, progress: Progress) -> None:
            if progress.executions:
                marker.touch()

        def ended(self, entry: Entry) -> None: ...

        def tick(self) -> None: ...

    found = run(Once([target], 60.0), processes, template=template(), replays=replays([target]), observers=[Marks()])
    fault = found.entries[0].fault
    assert fault is not None
    assert fault.kind == "killed"
    assert "executions: seen" in fault.text


def test_a_shard_has_a_device_of_its_own_unless_it_needs_two(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int | None] = []

    def choose(choice: str, *, index: int | None) -> Any:
        given.append(index)
        return lambda seed: choice

    monkeypatch.setattr(work, "choose_device", choose)
    shard = dataclasses.replace(template(), device="accelerator", worker=1)
    assert work._device(shard, scenario(accept=["done"])(lambda rig: "done")) == "accelerator"
    assert work._device(shard, scenario(only=["two devices"])(lambda rig: "done")) == "accelerator"
    assert given == [1, None]


# -- the time ------------------------------------------------------------------------------------------------------


class Clock:
    """Plays a budget with shards that take as long as they were given, without waiting for it."""

    def __init__(self, budget: Budget, width: int) -> None:
        self.budget = budget
        self.width = width
        self.given: Counter[str] = Counter()
        self.now = 0.0

    def play(self, result: Any = None, overrun: dict[str, float] | None = None) -> None:
        running: list[tuple[float, Target, float]] = []
        number = 0
        while True:
            while len(running) < self.width:
                turn = self.budget.next(self.now)
                if turn is None:
                    break
                target, seconds = turn
                took = seconds + (overrun or {}).get(target.name, 0.0)
                running.append((self.now + took, target, took))
                self.given[target.name] += took
            if not running:
                return
            running.sort(key=lambda each: each[0])
            self.now, target, took = running.pop(0)
            number += 1
            shard = dataclasses.replace(template(), target=target, number=number)
            self.budget.done(Entry(shard, result(target) if result else None, None, ""), took)


def targets_named(*names: str) -> list[Target]:
    return [Target(name, "", "", name, title=name) for name in names]


def scenarios_for(targets: list[Target], **grades: Any) -> dict[str, Any]:
    def function(rig: Any) -> str:
        return ""

    return {target.nodeid: scenario(**(grades or {"accept": ["common"]}))(function) for target in targets}


def result_of(**times: int) -> Result:
    rows = [Row(outcome, number, Grade.ACCEPTED, "") for outcome, number in times.items()]
    return Result("t", "sim", 0, sum(times.values()), 1.0, False, rows)


@pytest.mark.parametrize(("count", "seconds", "width"), [(3, 60, 2), (40, 60, 2), (80, 10, 4), (1, 5, 2), (7, 100, 1)])
def test_the_time_is_used_up_and_not_more(count: int, seconds: float, width: int) -> None:
    targets = targets_named(*(f"t{number}" for number in range(count)))
    clock = Clock(Budget(targets, seconds, width, scenarios_for(targets)), width)
    clock.play(lambda target: result_of(common=100))
    assert set(clock.given) == {target.name for target in targets}
    assert clock.now <= seconds * 1.01 + 0.1
    assert sum(clock.given.values()) >= 0.9 * seconds * min(width, count)


def test_what_hangs_comes_first_and_the_others_make_up_for_it() -> None:
    targets = targets_named(*(f"t{number}" for number in range(20)), "hangs")
    scenarios = scenarios_for(targets)
    scenarios["hangs"] = scenario(forbid=[HANG], racy=True)(lambda rig: "")
    clock = Clock(Budget(targets, 30, 2, scenarios), 2)
    clock.play(lambda target: result_of(common=100), overrun={"hangs": 5.0})
    assert clock.now <= 31


def test_a_scenario_that_failed_last_time_gets_more() -> None:
    targets = targets_named("a", "b", "c", "d")
    clock = Clock(Budget(targets, 100, 2, scenarios_for(targets), recent={"b"}), 2)
    clock.play(lambda target: result_of(common=100))
    assert clock.given["b"] > 1.3 * clock.given["a"]


def test_a_scenario_with_a_rare_outcome_gets_more() -> None:
    targets = targets_named("a", "b", "c", "d")
    clock = Clock(Budget(targets, 100, 2, scenarios_for(targets)), 2)
    clock.play(lambda target: result_of(common=1000, rare=1) if target.name == "c" else result_of(common=1000))
    assert clock.given["c"] > 1.3 * clock.given["a"]


def test_late_first_turns_get_shorter_so_that_all_have_one() -> None:
    targets = targets_named("slow", *(f"t{number}" for number in range(9)))
    clock = Clock(Budget(targets, 10, 1, scenarios_for(targets), recent={"slow"}), 1)
    clock.play(lambda target: result_of(common=1), overrun={"slow": 7.0})
    assert len(clock.given) == 10
    assert clock.now <= 15


# -- parts ---------------------------------------------------------------------------------------------------------


def test_parts_are_disjoint_and_whole() -> None:
    items = list(range(10))
    taken = [Part(number, 4).take(items) for number in range(1, 5)]
    assert sorted(item for part in taken for item in part) == items


def test_more_parts_than_items_share_them_with_seeds_of_their_own() -> None:
    parts = [Part(number, 5) for number in range(1, 6)]
    assert [part.take(["a", "b"]) for part in parts] == [["a"], ["b"], ["a"], ["b"], ["a"]]
    assert len({part.seed(3) for part in parts}) == 5


@pytest.mark.parametrize(
    ("variables", "part"),
    [
        ({}, "1/1"),
        ({"RANK": "2", "WORLD_SIZE": "8"}, "3/8"),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "2"}, "1/2"),
        ({"BUILDKITE_PARALLEL_JOB": "3", "BUILDKITE_PARALLEL_JOB_COUNT": "4"}, "4/4"),
        ({"RANK": "1", "WORLD_SIZE": "2", "SLURM_PROCID": "0", "SLURM_NTASKS": "2"}, "2/2"),
    ],
)
def test_the_part_comes_from_whatever_has_started_it(
    variables: dict[str, str], part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert str(parse_part("")) == part
    assert str(parse_part("2/3")) == "2/3", "what is given goes before what was found"


@pytest.mark.parametrize("text", ["5/4", "0/4", "x", "1/", "1/0", "1/2/3", "-1/2"])
def test_a_part_that_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=f"--stress-shard={text}: allowed is I/N with I from 1 to N"):
        parse_part(text)


def test_a_rank_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "4")
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(ValueError, match="RANK='4' and WORLD_SIZE='4' are no number from 0 and a count above it"):
        parse_part("")


# -- the file ------------------------------------------------------------------------------------------------------

TARGET = Target("f.py::<s>", "/f.py", "f", "s", "m:C", "s[C]", "A story.", racy=False)
FAILURE = Failure("stale", "old", 4, "details\n", True, 9, [Step("t", "thread", "fill", 0.5, None)])
RESULT = Result(
    "s[C]", "sim", 9, 10, 0.5, False, [Row("stale", 10, Grade.FORBIDDEN, "old")], [FAILURE], Latencies({3: 7})
)
SHARD = Shard(3, TARGET, "sim", 9, 0.5, None, "", ("a", "b"), 1, "cpugpu stress x")
HEADER = Header(
    "2026-01-01T00:00:00+00:00", "make", "m", "p", "t", "sim", 9, 1.0, "1/1", (TARGET,), (("f.py::x", "no GPU"),)
)
ENTRIES = [
    Entry(SHARD, RESULT, None, "cpugpu stress x"),
    Entry(SHARD, None, Fault("hung", "why", "d"), "cpugpu stress x"),
]


def written(path: Path) -> Path:
    for record in (HEADER, *ENTRIES):
        append(path, record)
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    found = read(written(tmp_path / "r.jsonl"))
    assert found == Run([HEADER], ENTRIES)


def test_a_file_that_is_cut_keeps_what_came_before(tmp_path: Path) -> None:
    path = written(tmp_path / "r.jsonl")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ResultsError, match="line 3 is cut in the middle; 1 results before it were read") as caught:
        read(path)
    assert caught.value.run.entries == ENTRIES[:1]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"version": 99, "kind": "entry"}\n', "is of version 99; this cpugpu reads version 1"),
        ("[]\n", "is no line of results"),
        ("nonsense\n", "is no line of results"),
        ('{"version": 1, "kind": "entry"}\n', "is no line of results"),
    ],
)
def test_a_line_that_is_none_of_ours(tmp_path: Path, line: str, message: str) -> None:
    path = written(tmp_path / "r.jsonl")
    with path.open("a") as file:
        file.write(line)
    with pytest.raises(ResultsError, match=message) as caught:
        read(path)
    assert len(caught.value.run.entries) == 2


def test_results_are_added_up(tmp_path: Path) -> None:
    one = Run([HEADER], ENTRIES[:1])
    both = merge([one, one])
    item = both.items[0]
    assert item.result is not None
    assert item.result.executions == 20
    assert item.result.rows[0].times == 20
    assert item.result.latencies.counts == {3: 14}
    assert item.replays[0] == "cpugpu stress x --stress-seed=9@4"
    assert not item.passed


def test_a_scenario_that_never_ran_has_not_passed() -> None:
    item = Run([HEADER], []).items[0]
    assert item.result is None
    assert not item.passed


def test_what_comes_after_damage_is_read(tmp_path: Path) -> None:
    path = written(tmp_path / "r.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], lines[1][:50] + b"\n", b"nonsense\n", b"\n", *lines[1:]]))
    with pytest.raises(ResultsError, match="line 2 is no line of results") as caught:
        read(path)
    assert "; 0 results before it were read and 2 after it; 2 lines could not be read" in str(caught.value)
    assert caught.value.run == Run([HEADER], ENTRIES)


def test_a_line_that_finds_no_room_costs_no_other(tmp_path: Path) -> None:
    path = written(tmp_path / "r.jsonl")
    _, most = limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, most))
    try:
        with pytest.raises(OSError, match="No space left on device") as caught:
            append(path, ENTRIES[0])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.errno == errno.ENOSPC, "what makes it a full disk in the report"
    assert not path.read_bytes().endswith(b"\n"), "there was no room for that either"
    written(path)
    with pytest.raises(ResultsError, match="line 4 is no line of results") as damaged:
        read(path)
    assert damaged.value.run == Run([HEADER, HEADER], ENTRIES * 2)


def test_a_line_that_was_cut_is_ended_where_that_is_possible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "r.jsonl")
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:20]))
    with pytest.raises(OSError, match="No space left on device"):
        append(path, ENTRIES[0])
    monkeypatch.undo()
    assert path.read_bytes().endswith(b"\n")


def test_a_writer_that_comes_in_behind_a_line_that_was_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other's half line is appended after this one has been opened, and before it is written."""
    path = written(tmp_path / "r.jsonl")
    write, halves = os.write, iter([b'{"version": 1, "ki', b'{"ver'])

    def late(descriptor: int, data: bytes) -> int:
        if half := next(halves, b""):
            with path.open("ab") as other:
                other.write(half)
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", late)
    append(path, ENTRIES[0])
    monkeypatch.undo()
    with pytest.raises(ResultsError, match="line 4 is no line of results") as damaged:
        read(path)
    assert damaged.value.run.entries == [*ENTRIES, ENTRIES[0]]


def test_a_full_disk_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        append("/dev/full", HEADER)


def test_a_percentile_is_at_most_a_fifth_too_high() -> None:
    latencies = Latencies()
    for microseconds in range(1, 1001):
        latencies.add(microseconds * 1e-6)
    for percent in (50, 90, 99):
        assert percent * 1e-5 <= latencies.percentile(percent) <= percent * 1e-5 * 1.2
    assert latencies.total == 1000
