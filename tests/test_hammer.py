"""The hammer: what it counts, how it grades, and that a hang or an exception is a failure and not the end."""

from __future__ import annotations

import itertools
import json
import sys
import threading
import types
import weakref
from typing import Any

import pytest

from cpugpu import CpuGpuEvent, hammer, scenario
from cpugpu.device.simulated import HeavyTail
from cpugpu.hammer import Result, choose_device
from cpugpu.report import failure_text, outcome_table
from cpugpu.rig import Grade, Rig
from stress.racy.stress_bare_event import bare_event
from stress.stress_hand_off import hand_off
from stress.subjects import NoGpuWait


@pytest.fixture(autouse=True)
def _each_execution_takes_a_hundredth_of_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as the hammer's budget is concerned: how many executions there are does not depend on the machine."""
    ticks = itertools.count()
    clock = types.SimpleNamespace(monotonic=lambda: next(ticks) * 0.01)
    monkeypatch.setattr(sys.modules["cpugpu.hammer.runner"], "time", clock)


def short(scenario: Any, **options: Any) -> Result:
    """A few executions."""
    return hammer(scenario, **{"seconds": 0.05, "device": "sim", "seed": 1} | options)


def test_a_correct_hand_off_passes() -> None:
    result = short(hand_off)
    assert result.passed
    assert [(row.outcome, row.grade) for row in result.rows] == [("fresh", Grade.ACCEPTED)]
    assert result.rows[0].times == result.executions > 0
    assert result.title == "hand_off[CpuGpuEvent]"


def test_stale_reads_really_happen() -> None:
    """The bare device event, on the simulated device: the scenario is racy, so that passing means having seen it."""
    result = short(bare_event, seconds=30, stop_at_first=True)
    assert result.passed
    assert result.failures[0].outcome == "stale"


def test_a_mutant_is_caught() -> None:
    result = short(hand_off.on(NoGpuWait), seconds=30, stop_at_first=True)
    assert not result.passed
    assert result.title == "hand_off[NoGpuWait]"


def test_the_same_seed_draws_the_same_delays() -> None:
    import random

    draws = [[HeavyTail(random.Random(seed)).draw() for _ in range(50)] for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]


def test_delays_have_a_heavy_tail() -> None:
    import random

    tail = HeavyTail(random.Random(0))
    draws = [tail.draw() for _ in range(20_000)]
    assert len(set(draws)) == 13  # none, and a dozen lengths
    assert max(draws) == 0.1
    assert 1e-6 in draws
    assert sum(draw >= 0.01 for draw in draws) < 0.01 * len(draws)


def test_every_thread_of_every_execution_draws_from_the_seed() -> None:
    """Two runs with one seed and one iteration make the same choices; another iteration makes others."""

    def choices(**options: Any) -> set[tuple[float, ...]]:
        drawn: set[tuple[float, ...]] = set()

        @scenario
        def draws(rig: Any) -> str:
            def body() -> None:
                drawn.add(tuple(rig._jitter.kernel_delay() for _ in range(20)))

            rig.run(body)
            return "done"

        short(draws, **options)
        return drawn

    assert len(choices(iteration=3)) == 1
    assert choices(iteration=3) == choices(iteration=3) != choices(iteration=4)
    assert choices(iteration=3) != choices(iteration=3, seed=2)


def test_outcomes_are_graded() -> None:
    @scenario(accept=["good"], interesting={"odd": "look here"}, forbid=["bad"])
    def graded(rig: Rig) -> str:
        return "good"

    assert graded.grade("good") == (Grade.ACCEPTED, "")
    assert graded.grade("odd") == (Grade.INTERESTING, "look here")
    assert graded.grade("bad")[0] is Grade.FORBIDDEN
    assert graded.grade("new") == (Grade.FORBIDDEN, "not among the listed outcomes")
    assert graded.grade("hang")[0] is Grade.FORBIDDEN
    assert graded.grade("raises ValueError")[0] is Grade.FORBIDDEN


def test_without_accepted_outcomes_anything_goes_but_hangs_and_exceptions() -> None:
    @scenario
    def anything(rig: Rig) -> int:
        return 7

    assert anything.grade(7)[0] is Grade.ACCEPTED
    assert anything.grade("hang")[0] is Grade.FORBIDDEN


def test_outcomes_are_no_string() -> None:
    with pytest.raises(TypeError, match="not the string 'fresh'"):
        scenario(accept="fresh")


def test_a_thread_that_raises_fails_the_scenario_and_the_rest_goes_on() -> None:
    @scenario
    def raising(rig: Rig) -> str:
        def producer() -> None:
            raise ValueError("broken")

        rig.run(producer, lambda: None)
        return "done"

    result = short(raising)
    assert not result.passed
    assert result.executions > 1
    assert result.rows[0].outcome == "raises ValueError"
    assert "broken" in result.failures[0].details
    assert "in producer" in result.failures[0].details


def test_a_scenario_that_raises_itself_fails() -> None:
    @scenario
    def raising(rig: Rig) -> str:
        raise LookupError("nothing here")

    result = short(raising)
    assert result.rows[0].outcome == "raises LookupError"
    assert result.executions > 1


def test_a_hang_is_a_failure_with_all_stacks() -> None:
    forever = threading.Event()

    @scenario
    def hanging(rig: Rig) -> str:
        def waits_for_ever() -> None:
            forever.wait()

        def ends() -> None:
            pass

        rig.run(waits_for_ever, ends)
        return "done"

    result = short(hanging, patience=0.3)
    forever.set()
    assert not result.passed
    assert result.executions == 1
    assert result.failures[0].outcome == "hang"
    assert "standing still: waits_for_ever" in result.failures[0].details
    assert "forever.wait()" in result.failures[0].details
    assert "MainThread" in result.failures[0].details


def test_a_stuck_device_is_a_failure_that_names_what_waits() -> None:
    opened = threading.Event()

    @scenario
    def stuck(rig: Rig) -> str:
        stream, other = rig.stream(), rig.stream()
        rig.launch(stream, opened.wait)
        event = rig.event()
        event.record(stream)
        event.wait(other)
        return "done"

    result = short(stuck, patience=0.3)
    opened.set()
    assert result.failures[0].outcome == "hang"
    assert "record on stream 0.1 waits for" in result.failures[0].details


def test_a_kernel_that_fails_is_a_failure() -> None:
    @scenario
    def failing(rig: Rig) -> int:
        cell = rig.buffer(0)

        def divide(contents: Any) -> None:
            contents[0] //= 0

        rig.launch(rig.stream(), divide, writes=[cell])
        return rig.read(cell)

    result = short(failing)
    assert result.failures[0].outcome == "raises DeviceError"
    assert "ZeroDivisionError" in result.failures[0].details


def test_a_racy_scenario_fails_when_it_shows_nothing() -> None:
    result = short(hand_off.on(CpuGpuEvent, racy=True))
    assert not result.passed
    assert "showed no forbidden outcome" in failure_text(result, "replay")


def test_a_racy_scenario_is_not_shown_by_an_exception_that_nobody_foresaw() -> None:
    @scenario(accept=["fresh"], forbid=["stale"], racy=True)
    def mistyped(rig: Any) -> str:
        return rig.bufer(0)

    assert not short(mistyped).passed


def test_hand_offs_without_kernels_are_no_standstill(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records and waits count as moves: a long execution is not a hung one. Each round is a hundredth of a second."""
    rounds: list[None] = []
    clock = types.SimpleNamespace(monotonic=lambda: len(rounds) * 0.01)
    monkeypatch.setattr(sys.modules["cpugpu.hammer.threads"], "time", clock)

    @scenario(accept=["done"])
    def long(rig: Rig) -> str:
        there, back = CpuGpuEvent(), CpuGpuEvent()

        def ping() -> None:
            for _ in range(300):
                there.record()
                back.wait()
                rounds.append(None)

        def pong() -> None:
            for _ in range(300):
                there.wait()
                back.record()

        rig.run(ping, pong)
        return "done"

    assert short(long, patience=0.3).passed


def test_a_thread_that_was_given_up_ends_when_it_asks_for_something() -> None:
    threads: list[threading.Thread] = []

    @scenario
    def hanging(rig: Rig) -> str:
        def waits_for_ever() -> None:
            threads.append(threading.current_thread())
            rig.until(lambda: False)

        rig.run(waits_for_ever)
        return "done"

    assert short(hanging, patience=0.3).rows[0].outcome == "hang"
    threads[0].join()


def test_a_simulated_device_keeps_its_options() -> None:
    from cpugpu.device.simulated import SimulatedDevice, Simulator, no_latency

    original = Simulator(devices=3, latency=no_latency, pool=2)
    again = original.anew(seed=5)
    assert again is not original
    assert again.device_count == 3
    device = SimulatedDevice(again, 0)
    first, _, third = device.stream(), device.stream(), device.stream()
    assert first is third


def test_an_outcome_that_cannot_be_counted() -> None:
    @scenario
    def listing(rig: Rig) -> Any:
        return [1]

    result = short(listing)
    assert "an outcome has to be hashable" in result.failures[0].details


def test_functions_of_one_execution_have_threads_of_their_own() -> None:
    @scenario(accept=[2])
    def two_runs(rig: Rig) -> int:
        seen: list[int] = []
        rig.run(lambda: seen.append(threading.get_ident()))
        rig.run(lambda: seen.append(threading.get_ident()))
        return len(set(seen))

    assert short(two_runs).passed


def test_cells_are_atomic() -> None:
    @scenario(accept=[300])
    def counting(rig: Rig) -> int:
        cell = rig.cell(0)

        def count() -> None:
            for _ in range(100):
                cell.update(lambda value: value + 1)

        rig.run(count, count, count)
        return cell.get()

    assert short(counting).passed


def test_the_interpreter_is_left_as_it_was() -> None:
    interval = sys.getswitchinterval()
    short(hand_off)
    assert sys.getswitchinterval() == interval
    from cpugpu.device import _in_use

    assert _in_use == []


def test_a_result_survives_json() -> None:
    result = short(bare_event, seconds=30, stop_at_first=True)
    assert Result.from_dict(json.loads(json.dumps(result.to_dict()))) == result


def test_the_table_has_outcome_times_share_grade_and_meaning() -> None:
    table = outcome_table(short(hand_off)).splitlines()
    assert table[0].startswith("hand_off[CpuGpuEvent]: passed (")
    assert table[1].split() == ["outcome", "times", "share", "grade", "meaning"]
    assert table[2].split()[0] == "fresh"
    assert "100.0%  accepted  every element was what the producer had written" in table[2]


def test_a_failure_names_the_outcome_its_meaning_and_the_line_to_paste() -> None:
    result = short(hand_off.on(NoGpuWait), seconds=30, stop_at_first=True)
    text = failure_text(result, "cpugpu stress x")
    assert "hand_off[NoGpuWait] FAILED: outcome 'stale' is forbidden (the copy did not wait for the record)" in text
    assert f"replay: cpugpu stress x --stress-seed=1@{result.failures[0].iteration}" in text


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_a_wrong_budget(seconds: float) -> None:
    with pytest.raises(ValueError, match="is not a number of seconds above 0"):
        hammer(hand_off, seconds=seconds)


@pytest.mark.parametrize("options", [{"patience": 0}, {"seed": -1}, {"iteration": -1}, {"seconds": "1"}])
def test_wrong_options(options: Any) -> None:
    with pytest.raises(ValueError, match="is not a"):
        short(hand_off, **options)


def test_a_plain_function_is_no_scenario() -> None:
    with pytest.raises(TypeError, match="takes what @scenario makes"):
        hammer(lambda rig: "done")  # type: ignore[arg-type]


def test_a_wrong_device_choice() -> None:
    with pytest.raises(ValueError, match="'gpu' is not one of auto, accelerator, sim"):
        choose_device("gpu")


def test_the_runner_falls_back_to_the_simulated_device_and_says_so() -> None:
    from cpugpu.device import find_accelerator

    if find_accelerator() is not None:
        pytest.skip("there is an accelerator here")
    assert "simulated" in choose_device("auto")(0).describe()


def test_a_buffer_lives_until_the_execution_is_over() -> None:
    """Kernels may be on their way to one that the scenario has let go of, and its memory must not be another's yet."""
    dropped: list[weakref.ref[Any]] = []

    @scenario(accept=["kept"])
    def drops(rig: Rig) -> str:
        earlier = [reference() for reference in dropped]
        dropped[:] = [weakref.ref(rig.buffer(0))]
        return "kept" if earlier in ([], [None]) and dropped[0]() is not None else "gone"

    result = hammer(drops, seconds=2, device="sim", seed=0)
    assert result.executions > 1
    assert result.passed, result.rows
