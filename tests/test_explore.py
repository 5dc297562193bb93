"""What `explore` says: proofs, failures with minimal schedules that replay, and why nothing can be concluded."""

from __future__ import annotations

import itertools
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import cpugpu
from cpugpu import CpuGpuEvent, scenario
from cpugpu.explore import Ending, ScheduleError, VerdictKind, explore, reproduce_schedule
from cpugpu.explore.kept import FOLDER
from cpugpu.explore.run import execute
from cpugpu.explore.standins.patching import standing_in
from cpugpu.explore.strategies.dpor import Dpor
from cpugpu.rig import HANG, Rig
from stress.racy.stress_bare_event import bare_event
from stress.stress_hand_off import hand_off
from stress.stress_shared_input import shared_input
from stress.subjects import BareEvent, SeedEvent

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    before = vars(threading).copy(), vars(time).copy(), vars(queue).copy()
    yield
    assert (vars(threading).copy(), vars(time).copy(), vars(queue).copy()) == before


@scenario(accept=[2])
def lost_update(rig: Rig) -> int:
    cell = rig.cell(0)

    def adds() -> None:
        value = cell.get()
        cell.set(value + 1)

    rig.run(adds, adds)
    return cell.get()


@scenario(accept=["done"])
def abba(rig: Rig) -> str:
    a, b = threading.Lock(), threading.Lock()

    def one() -> None:
        with a, b:
            pass

    def other() -> None:
        with b, a:
            pass

    rig.run(one, other)
    return "done"


# -- verdicts ----------------------------------------------------------------------------------------------------------


def test_a_hand_off_is_proved() -> None:
    verdict = explore(hand_off, seconds=60, seed=0)
    assert verdict.kind is VerdictKind.PROVED
    assert verdict.bound is None
    assert verdict.traces is not None
    assert verdict.granularity == "operations"
    assert verdict.failure is None
    assert str(verdict).startswith("hand_off[CpuGpuEvent] proved (granularity operations;")


def test_a_bare_event_fails_with_at_most_one_preemption() -> None:
    verdict = explore(bare_event, seconds=60)
    assert verdict.kind is VerdictKind.FAILED
    assert verdict.failure is not None
    assert verdict.failure.outcome == "stale"
    assert verdict.failure.kind is Ending.OUTCOME
    assert verdict.failure.preemptions <= 1


def test_a_failure_is_a_table_with_its_replay() -> None:
    verdict = explore(lost_update)
    assert verdict.failure is not None
    lines = str(verdict).splitlines()
    assert lines[0] == "lost_update FAILED: outcome '1' is forbidden (not among the listed outcomes)"
    assert "1 preemption, found after" in lines[1]
    assert lines[3].split() == ["adds", "1", "adds", "2", "main"]
    assert lines[4].split() == ["1", "get", "cell", "0.0"]
    assert lines[5].startswith("   2»")  # the preemption is marked
    assert lines[-1] == f"  replay: {verdict.failure.replay}"


def test_a_deadlock_names_who_waits_for_whom() -> None:
    verdict = explore(abba)
    assert verdict.failure is not None
    assert verdict.failure.kind is Ending.DEADLOCK
    assert verdict.failure.outcome == HANG
    assert "one waits: acquire lock" in str(verdict)
    assert "in a circle: one → other → one" in str(verdict) or "in a circle: other → one → other" in str(verdict)


def test_a_livelock_shows_what_repeats() -> None:
    @scenario(accept=["done"])
    def polls(rig: Rig) -> str:
        flag = rig.cell(False)

        def waits() -> None:
            while not flag.get():
                rig.pause()

        rig.run(waits)
        return "done"

    verdict = explore(polls)
    assert verdict.failure is not None
    assert verdict.failure.kind is Ending.LIVELOCK
    assert "livelock: these steps repeat, and change nothing" in str(verdict)
    assert "waits: get cell" in str(verdict)


def test_polling_for_another_thread_comes_to_an_end() -> None:
    """A thread that rests lets the others go on, so that a loop which waits for one of them is no livelock."""

    @scenario(accept=["done"])
    def polls(rig: Rig) -> str:
        flag = rig.cell(False)

        def waits() -> None:
            while not flag.get():
                time.sleep(0.01)

        rig.run(waits, lambda: flag.set(True))
        return "done"

    assert explore(polls, seconds=60).kind is VerdictKind.PROVED


def test_both_ends_of_a_wait_with_a_timeout_are_tried() -> None:
    @scenario(interesting=["in time", "too late"])
    def impatient(rig: Rig) -> str:
        ready, outcome = threading.Event(), rig.cell("too late")

        def waits() -> None:
            if ready.wait(timeout=3600):
                outcome.set("in time")

        rig.run(waits, ready.set)
        return outcome.get()

    seen: set[object] = set()
    strategy = Dpor()
    with standing_in():
        while strategy.begin():
            run = execute(impatient, strategy.choose, to_the_end=True)
            strategy.end(run)
            seen.add(run.outcome)
    assert seen >= {"in time", "too late"}


def test_sampling_says_how_much_it_may_have_missed() -> None:
    verdict = explore(hand_off, seconds=0.3, strategy="urw", seed=1)
    assert verdict.kind is VerdictKind.SAMPLED
    assert "the next one is new with a probability of" in verdict.reason


def test_a_search_that_was_cut_short_proves_nothing() -> None:
    @scenario(accept=["done"])
    def large(rig: Rig) -> str:
        cells = [rig.cell(0) for _ in range(5)]
        rig.run(*[lambda cell=cell: [cell.set(number) for number in range(9)] for cell in cells])
        return "done"

    verdict = explore(large, seconds=0.2, strategy="dfs")
    assert verdict.kind is VerdictKind.INCONCLUSIVE
    assert "time" in verdict.reason


def test_within_a_bound_is_said() -> None:
    verdict = explore(lost_update, strategy="dfs", bound=0)
    assert (verdict.kind, verdict.bound, verdict.schedules) == (VerdictKind.PROVED, 0, 2)
    assert "with at most 0 preemptions" in str(verdict)


def test_all_failing_schedules_are_counted_if_asked_for() -> None:
    assert explore(lost_update, strategy="dfs", stop_at_first=False).failing == 4
    assert explore(lost_update, strategy="dfs", stop_at_first=False).failing == 4  # also when one is kept from before


# -- inconclusive ------------------------------------------------------------------------------------------------------


def inconclusive(function: Any, *words: str) -> None:
    verdict = explore(scenario(accept=["done"])(function), seconds=20)
    assert verdict.kind is VerdictKind.INCONCLUSIVE, verdict
    for word in words:
        assert word in verdict.reason


def test_a_scenario_that_is_not_deterministic() -> None:
    numbers = itertools.count()

    def moody(rig: Rig) -> str:
        cell = rig.cell(0)
        rig.run(*[lambda: cell.set(1)] * (2 + next(numbers) % 2))
        return "done"

    inconclusive(moody, "not deterministic")


def test_a_loop_without_an_operation() -> None:
    def spins(rig: Rig) -> str:
        def for_ever() -> None:
            while True:
                pass

        rig.run(for_ever)
        return "done"

    inconclusive(spins, "more than 2 s", "test_explore.py")


def test_a_process() -> None:
    def starts(rig: Rig) -> str:
        rig.run(lambda: subprocess.run([sys.executable, "-c", ""], check=True))
        return "done"

    inconclusive(starts, "subprocess.Popen()", "test_explore.py")


def test_a_fork() -> None:
    inconclusive(lambda rig: rig.run(os.fork) or "done", "os.fork()")


def test_what_raises_in_the_set_up() -> None:
    def raises(rig: Rig) -> str:
        raise KeyError("no such model")

    inconclusive(raises, "before it had a thread", "no such model", "test_explore.py")


def test_an_execution_that_never_ends() -> None:
    def counts(rig: Rig) -> str:
        cell = rig.cell(0)

        def for_ever() -> None:
            while True:
                cell.update(lambda value: value + 1)

        rig.run(for_ever)
        return "done"

    inconclusive(counts, "more than 5,000 steps")


def test_a_thread_that_spins_without_rest() -> None:
    """No livelock: the other one could go on, and only this schedule does not let it."""

    def spins(rig: Rig) -> str:
        flag = rig.cell(False)

        def waits() -> None:
            while not flag.get():
                pass

        rig.run(waits, lambda: flag.set(True))
        return "done"

    inconclusive(spins, "waits spins, while", "rig.pause()")


# -- replay ------------------------------------------------------------------------------------------------------------


def test_a_schedule_replays() -> None:
    first = explore(bare_event).failure
    assert first is not None
    again = explore(bare_event, replay=first.replay)
    assert again.schedules == 1
    assert again.failure is not None
    assert again.failure.outcome == "stale"
    assert again.failure.run.schedule == first.run.schedule


def test_a_decorated_scenario_tries_that_schedule_only() -> None:
    failure = explore(lost_update).failure
    assert failure is not None
    verdict = explore(reproduce_schedule(failure.replay)(lost_update))
    assert (verdict.kind, verdict.schedules) == (VerdictKind.FAILED, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "nonsense", "is no schedule"),
        (lambda text: text.replace("cg1-", "cg9-"), "of version 9"),
        (lambda text: text[:-2], "not whole|checksum"),
        (lambda text: text[:8] + ("A" if text[8] != "A" else "B") + text[9:], "not whole|checksum"),
    ],
)
def test_a_text_that_is_no_schedule(change: Any, message: str) -> None:
    failure = explore(lost_update).failure
    assert failure is not None
    with pytest.raises(ScheduleError, match=message):
        explore(lost_update, replay=change(failure.replay))


def test_a_schedule_of_other_code_is_refused() -> None:
    failure = explore(lost_update).failure
    assert failure is not None
    with pytest.raises(ScheduleError, match="other code"):
        explore(bare_event, replay=failure.replay)
    with pytest.raises(ScheduleError, match="other code"):
        explore(hand_off.on(SeedEvent), replay=failure.replay)


def test_a_failing_schedule_is_kept_and_tried_first() -> None:
    first = explore(abba)
    assert first.failure is not None
    [kept] = list(FOLDER.iterdir())
    assert kept.read_text().split() == [first.failure.replay]
    again = explore(abba)
    assert (again.strategy, again.schedules) == ("kept", 1)


def test_a_kept_schedule_that_does_not_fail_is_forgotten() -> None:
    failure = explore(lost_update).failure
    assert failure is not None
    [kept] = list(FOLDER.iterdir())
    kept.write_text("cg1-AAAA\n")
    verdict = explore(lost_update)
    assert verdict.strategy == "auto"
    assert verdict.failure is not None
    assert kept.read_text().split() == [verdict.failure.replay]


# -- arguments, faces --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seconds": 0}, "seconds=0"),
        ({"strategy": "luck"}, "strategy='luck' is not one of auto, dfs"),
        ({"bound": -1}, "bound=-1"),
        ({"bound": 1, "strategy": "pos"}, "bound=1 is for the strategies auto and dfs"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_bad_arguments(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        explore(lost_update, **options)


def test_it_takes_a_scenario() -> None:
    with pytest.raises(TypeError, match="takes what @scenario makes"):
        explore(lambda rig: None)  # type: ignore[arg-type]


def test_the_name_in_the_package_is_the_function_or_calls_it() -> None:
    assert cpugpu.explore(lost_update, strategy="dfs", bound=0).kind is VerdictKind.PROVED


def command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "7"}
    return subprocess.run(
        [sys.executable, "-m", "cpugpu", "explore", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=environment,
    )


MINE = """
from cpugpu import scenario

@scenario(accept=[2])
def lost_update(rig):
    cell = rig.cell(0)
    def adds():
        value = cell.get()
        cell.set(value + 1)
    rig.run(adds, adds)
    return cell.get()

@scenario(accept=["done"])
def nothing(rig):
    return "done"
"""


def test_the_command_s_pasted_line_replays_in_another_process(tmp_path: Path) -> None:
    (tmp_path / "stress_mine.py").write_text(MINE)
    run = command("stress_mine.py::lost_update", cwd=tmp_path)
    assert run.returncode == 1, run.stderr
    line = run.stdout.strip().splitlines()[-1].split()
    assert line[:3] == ["cpugpu", "explore", "stress_mine.py::lost_update"]
    again = command(*line[2:], cwd=tmp_path)
    assert again.returncode == 1, again.stderr
    assert "found after 1 schedules" in again.stdout


def test_the_command_takes_a_file(tmp_path: Path) -> None:
    (tmp_path / "stress_mine.py").write_text(MINE)
    run = command("stress_mine.py", "--strategy=dpor", cwd=tmp_path)
    assert run.returncode == 1
    assert "nothing proved" in run.stdout
    assert run.stdout.strip().splitlines()[-1] == "1 failed, 1 proved"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.py"], "nowhere.py is not there"),
        (["stress_mine.py::other"], "has no scenario 'other'"),
        (["stress_mine.py", "--replay=cg1-AAAA"], "--replay is for one scenario"),
        (["stress_mine.py::nothing", "--replay=cg1-AAAA"], "not whole"),
        (["stress_mine.py::nothing", "--trace=nowhere:Class"], "nowhere"),
        (["stress_mine.py::nothing", "--strategy=luck"], "is not one of auto"),
        (["stress_mine.py::nothing", "--subject=json:loads"], "no scenario"),
    ],
)
def test_bad_input_is_one_line_and_exit_status_2(tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "stress_mine.py").write_text(MINE)
    run = command(*arguments, cwd=tmp_path)
    assert run.returncode == 2
    assert message in run.stderr.splitlines()[-1]
    assert run.stderr.count("\n") == 1


def test_the_fixture(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        stress_mine=MINE,
        test_mine="""
import pytest
from stress_mine import lost_update, nothing

def test_right(explore):
    assert explore(nothing).kind.value == "proved"

@pytest.mark.explore(strategy="dfs", bound=0)
def test_options_of_the_marker(explore):
    assert explore(lost_update).schedules == 2

def test_wrong(explore):
    explore(lost_update)
""",
    )
    result = pytester.runpytest_subprocess("test_mine.py", "--strict-markers")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["lost_update FAILED: outcome '1' is forbidden*", "*replay: cg1-*"])


# -- what a GPU programmer writes wrong, and its twin ------------------------------------------------------------------


def waits_for_the_wrong_stream(rig: Rig, *, right: bool) -> str:
    """The event is recorded on a stream that holds nothing."""
    event, cell, seen = rig.event(), rig.buffer(0), rig.buffer(0)
    work, other, copies = rig.stream(), rig.stream(), rig.stream()

    def enqueues() -> None:
        rig.fill(cell, 1, work)
        event.record(work if right else other)
        event.wait(copies)
        rig.copy(cell, seen, copies)

    rig.run(enqueues)
    return "right" if rig.read(seen) == 1 else "wrong"


def reuses_a_buffer(rig: Rig, *, right: bool) -> str:
    """The main stream overwrites what the side stream still reads."""
    cell, seen, done = rig.buffer(1), rig.buffer(0), rig.event()
    main, side = rig.stream(), rig.stream()

    def enqueues() -> None:
        rig.copy(cell, seen, side)
        done.record(side)
        if right:
            done.wait(main)
        rig.fill(cell, 2, main)

    rig.run(enqueues)
    return "right" if rig.read(seen) == 1 else "wrong"


def flag_before_the_device(rig: Rig, *, right: bool) -> str:
    """The host is told that the results are there when the kernels are only enqueued."""
    cell, flag, outcome, stream = rig.buffer(0), rig.cell(False), rig.cell("right"), rig.stream()
    event = rig.event()

    def producer() -> None:
        rig.fill(cell, 1, stream)
        event.record(stream)
        if right:
            event.synchronize()
        flag.set(True)

    def reader() -> None:
        rig.until(flag.get, flag)
        if rig.busy(stream):
            outcome.set("wrong")

    rig.run(producer, reader)
    return outcome.get()


def double_buffer(rig: Rig, *, right: bool) -> str:
    """Three batches through two buffers: without a hand-off back the third overwrites the first."""
    buffers, seen = [rig.buffer(0), rig.buffer(0)], [rig.buffer(0) for _ in range(3)]
    full, free = [CpuGpuEvent() for _ in range(3)], CpuGpuEvent()
    fills, copies = rig.stream(), rig.stream()

    def producer() -> None:
        for batch in range(3):
            if batch == 2 and right:
                free.wait(fills)
            rig.fill(buffers[batch % 2], batch + 1, fills)
            full[batch].record(fills)

    def consumer() -> None:
        for batch in range(3):
            full[batch].wait(copies)
            rig.copy(buffers[batch % 2], seen[batch], copies)
            if batch == 0 and right:
                free.record(copies)

    rig.run(producer, consumer)
    return "right" if [rig.read(each) for each in seen] == [1, 2, 3] else "wrong"


def abba_of_streams(rig: Rig, *, right: bool) -> str:
    """Each of two threads waits, on the CPU, for what the other's stream records afterwards."""
    one, other = CpuGpuEvent(), CpuGpuEvent()

    def first() -> None:
        stream = rig.stream()
        if right:
            one.record(stream)
            other.wait(stream)
        else:
            other.wait(stream)
            one.record(stream)

    def second() -> None:
        stream = rig.stream()
        one.wait(stream)
        other.record(stream)

    rig.run(first, second)
    return "right"


MISTAKES = [
    waits_for_the_wrong_stream,
    reuses_a_buffer,
    flag_before_the_device,
    double_buffer,
    abba_of_streams,
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda each: each.__name__)
def test_what_a_gpu_programmer_writes_wrong_is_found_and_its_twin_proved(mistake: Any) -> None:
    @scenario(accept=["right"])
    def wrong(rig: Rig) -> str:
        return str(mistake(rig, right=False))

    @scenario(accept=["right"])
    def right(rig: Rig) -> str:
        return str(mistake(rig, right=True))

    found = explore(wrong, seconds=60)
    assert found.kind is VerdictKind.FAILED
    assert explore(right, seconds=60, strategy="dpor").kind is VerdictKind.PROVED


def test_the_deadlock_of_a_record_that_is_overwritten_is_found_and_its_twin_proved() -> None:
    """vllm#53960."""
    found = explore(shared_input.on(BareEvent), seconds=60)
    assert found.failure is not None
    assert found.failure.outcome == HANG
    assert explore(shared_input, seconds=60, strategy="dpor").kind is VerdictKind.PROVED


# -- what mutants have shown ----------------------------------------------------------------------------------------


def test_a_predicate_that_holds_for_another_reason_later_is_still_a_race() -> None:
    """`until(a or b)` goes on with b only if it comes before b is withdrawn; taken last, it has looked at a alone."""

    with standing_in():
        found, strategy = set(), Dpor()
        while strategy.begin():
            run = execute(either, strategy.choose)
            strategy.end(run)
            found.add(run.outcome)
    assert {"first", "second"} <= found


@scenario
def either(rig: Rig) -> str:
    first, second, seen = rig.cell(False), rig.cell(False), rig.cell("")

    def waits() -> None:
        rig.until(lambda: first.get() or second.get())
        seen.set("first" if first.get() else "second")

    def gives() -> None:
        second.set(True)
        second.set(False)
        first.set(True)

    rig.run(gives, waits)
    return seen.get()


def test_the_device_records_a_spare_event_again() -> None:
    @scenario(accept=[True])
    def twice(rig: Rig) -> bool:
        ready, found = CpuGpuEvent(), []

        def both() -> None:
            for _ in range(2):
                stream = rig.stream()
                ready.record(stream)
                found.append(ready._handed)
                ready.wait(stream)

        rig.run(both)
        return found[0] is found[1]

    assert explore(twice).kind is VerdictKind.PROVED
