"""The catalogue of scenarios: its pages say what is so, what is unsafe is caught, and what cannot run says why."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cpugpu import CpuGpuEvent, HandoffTimeout, hammer, scenario
from cpugpu.debug import InstrumentedEvent, Kind, journal
from cpugpu.debug.examples import PAIRS, Pair
from cpugpu.device import Device, find_accelerator, resolve
from cpugpu.device.simulated import SimulatedDevice, Simulator
from cpugpu.hammer import Result
from cpugpu.report.catalogue import scenario_rows
from cpugpu.rig import HANG, PLACES, Grade, Rig, Scenario
from stress import stress_rules
from stress.racy import (
    stress_asyncio,
    stress_full_queue,
    stress_future_map,
    stress_graph,
    stress_helper_thread,
    stress_layer_done,
    stress_offload,
    stress_priorities,
    stress_processes,
    stress_record_stream,
    stress_ring,
    stress_shared_input,
    stress_shutdown,
    stress_two_devices,
)
from stress.racy.stress_two_devices import PooledEvent
from stress.stress_asyncio import coroutine
from stress.stress_full_queue import full_queue
from stress.stress_future_map import future_map, future_map_of_one_event
from stress.stress_helper_thread import helper_thread
from stress.stress_layer_done import layer_done, whole_slot
from stress.stress_no_gil import no_gil
from stress.stress_offload import offload
from stress.stress_priorities import priorities
from stress.stress_processes import forked, spawned
from stress.stress_ring import ring
from stress.stress_shared_input import shared_input
from stress.stress_shutdown import closed_in_any_state, failed_in_any_state
from stress.stress_two_devices import one_event_two_devices, two_devices
from stress.subjects import (
    BareEvent,
    NoCpuWait,
    NoGpuWait,
    NoRaise,
    OneSharedEvent,
    RecordOnCurrentStream,
)

ROOT = Path(__file__).parent.parent
FILES = [*sorted((ROOT / "stress").glob("stress_*.py")), *sorted((ROOT / "stress" / "racy").glob("stress_*.py"))]
#: `forked[NoGpuWait]: passed (12 executions in 1.0 s)`, and a line of the table under it.
TITLE = re.compile(r"^ +(\w+)(?:\[\w+\])?: (passed|FAILED|racy, as it should be) \([\d,]+ executions in [\d.]+ s\)$")
ROW = re.compile(r"^ {8}(\S.*?) +([\d,]+) +(\d+\.\d%) +(accepted|interesting|forbidden)(?:  +(.*))?$")


def module_of(path: Path) -> ModuleType:
    return importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))


def scenarios_of(module: ModuleType) -> list[Scenario]:
    return [each for each in vars(module).values() if isinstance(each, Scenario) and each.module == module.__name__]


def rows_of(page: str) -> Iterator[tuple[str, str, str, str]]:
    """Scenario, outcome, grade and meaning, of every line of every table."""
    name = ""
    for line in page.splitlines():
        if title := TITLE.match(line):
            name = title[1]
        elif row := ROW.match(line):
            yield name, row[1], row[4], row[5] or ""


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
class TestPage:
    def test_it_names_the_command_of_its_own_file(self, path: Path) -> None:
        commands = re.findall(r"^    \$ cpugpu stress (\S+)", module_of(path).__doc__ or "", re.MULTILINE)
        assert commands
        assert set(commands) == {str(path.relative_to(ROOT))}

    def test_its_table_has_the_grades_and_meanings_of_its_scenarios(self, path: Path) -> None:
        module = module_of(path)
        known = {each.name: each for each in scenarios_of(module)}
        page = module.__doc__ or ""
        rows = list(rows_of(page))
        for name, outcome, grade, meaning in rows:
            assert known[name].grade(outcome) == (Grade(grade), meaning)
        reasons = re.findall(r"^    SKIPPED (.*)$", page, re.MULTILINE)
        assert rows or reasons or path.name == "stress_seed.py", "whose scenarios are those of other files"
        assert set(reasons) <= {PLACES[place][1] for each in known.values() for place in each.only}

    def test_every_scenario_says_what_its_outcomes_mean(self, path: Path) -> None:
        for each in scenarios_of(module_of(path)):
            outcomes = [*each.accept.items(), *each.interesting.items(), *each.forbid.items()]
            assert each.function.__doc__
            assert each.forbid or not each.racy
            assert [outcome for outcome, meaning in outcomes if not meaning] == []


def test_a_table_that_tells_something_else_is_noticed() -> None:
    page = """
    ring[CpuGpuEvent]: passed (80 executions in 3.0 s)
        outcome  times   share  grade     meaning
        whole       80  100.0%  accepted  every payload was read
    """
    assert list(rows_of(page)) == [("ring", "whole", "accepted", "every payload was read")]
    assert ring.grade("whole") != (Grade.ACCEPTED, "every payload was read")


#: The bug, or the hazard of the catalogue of hazards, that a file is about.
STORIES = {
    "stress_asyncio": "cpython#107505",
    "stress_full_queue": "H42",
    "stress_future_map": "sgl#30435",
    "stress_graph": "H30",
    "stress_helper_thread": "H9",
    "stress_layer_done": "sgl#38472",
    "stress_no_gil": "H33",
    "stress_offload": "trt#15546",
    "stress_processes": "pt#130610",
    "stress_record_stream": "H21",
    "stress_ring": "vllm#32881",
    "stress_shared_input": "vllm#53960",
    "stress_shutdown": "vllm#56854",
    "stress_two_devices": "NVIDIA/cuCascade#189",
}


@pytest.mark.parametrize("name", STORIES)
def test_the_story_names_the_bug(name: str) -> None:
    assert STORIES[name] in (importlib.import_module(f"stress.{name}").__doc__ or "")


# -- what is unsafe is caught ------------------------------------------------------------------------------------------


class ForgetsWaiters(CpuGpuEvent):
    """Closes for those who come, and not for those who are there."""

    def close(self) -> None:
        with self._ending_lock:
            waiters_are_there = not self._room.locked()
        if not waiters_are_there:
            super().close()
        else:
            from cpugpu.event import _CLOSED

            self._ending = _CLOSED


class FailsLikeClose(CpuGpuEvent):
    """Drops the record that nobody has consumed, and says that it is the end."""

    def fail(self, exception: BaseException) -> None:
        self.close()


class ReturnsOnTimeout(CpuGpuEvent):
    """As `threading.Event.wait` does: a caller may overlook that nothing has happened."""

    def wait(self, stream: Any = None, timeout: float | None = None) -> None:
        try:
            super().wait(stream, timeout)
        except HandoffTimeout:
            return


def put_to(each: Scenario, *, may_hang: bool = False) -> Result:
    """Until it fails; the seconds are what a hopeless machine may take, and to be slow is no hang."""
    simulated = SimulatedDevice(Simulator(devices=2))
    return hammer(each, seconds=30, device=simulated, seed=1, stop_at_first=True, patience=0.7 if may_hang else 20.0)


UNSAFE = [
    (coroutine, NoGpuWait, "stale"),
    (full_queue, NoGpuWait, "overtaken"),
    (future_map, NoGpuWait, "stale"),
    (future_map_of_one_event, NoRaise, "s"),  # stale or silent
    (helper_thread, RecordOnCurrentStream, "stale"),
    (layer_done, BareEvent, "stale"),
    (whole_slot, NoGpuWait, "partial"),
    (no_gil, NoGpuWait, "lost"),
    (offload, NoGpuWait, "corrupt"),
    (priorities, NoGpuWait, "overtaken"),
    (forked, NoGpuWait, ""),  # parent or child
    (spawned, NoGpuWait, ""),
    (ring, NoGpuWait, "ruined"),
    (ring, NoCpuWait, ""),
    (shared_input, OneSharedEvent, HANG),
    (closed_in_any_state, ForgetsWaiters, HANG),
    (failed_in_any_state, FailsLikeClose, "lost"),
    (two_devices, NoGpuWait, "stale"),
    (one_event_two_devices, PooledEvent, "stale"),
]


@pytest.mark.parametrize(("each", "subject", "outcome"), UNSAFE, ids=lambda value: getattr(value, "__name__", None))
def test_an_unsafe_class_fails_the_scenario(each: Scenario, subject: type, outcome: str) -> None:
    result = put_to(each.on(subject), may_hang=outcome in (HANG, ""))
    assert not result.passed
    assert result.failures[0].outcome.startswith(outcome)


TWINS = [
    each
    for module in (
        stress_asyncio,
        stress_full_queue,
        stress_future_map,
        stress_graph,
        stress_helper_thread,
        stress_layer_done,
        stress_offload,
        stress_priorities,
        stress_processes,
        stress_record_stream,
        stress_ring,
        stress_shared_input,
        stress_shutdown,
        stress_two_devices,
    )
    for each in scenarios_of(module)
]


@pytest.mark.parametrize("each", TWINS, ids=lambda each: each.title)
def test_the_racy_twin_shows_its_bug(each: Scenario) -> None:
    if "OneLockEvent" in each.title:
        pytest.skip("a fork in that moment is rare: `make stress` shows it")
    device = SimulatedDevice(Simulator(devices=2))
    if reason := each.unfit(device):
        accelerator = find_accelerator()
        if accelerator is None:
            pytest.skip(reason)
        result = hammer(each, seconds=30, device=accelerator, stop_at_first=True)
    else:
        result = put_to(each, may_hang=HANG in each.forbid)
    assert each.racy
    assert result.passed


# -- the rules ---------------------------------------------------------------------------------------------------------


def first_of(each: Scenario) -> Pair:
    """The pair that a scenario of rules plays first."""
    part = each.name.removeprefix("rules_of_")
    return next(p for p in PAIRS.values() if p.violates.__module__.endswith(part) and p.rule != stress_rules.SLOW)


RULES = [each for each in scenarios_of(stress_rules) if each.name.startswith("rules_of_")]


def test_every_rule_is_played() -> None:
    modules = (stress_rules.hand_off, stress_rules.life, stress_rules.streams, stress_rules.timing)
    played = [pair.rule for module in modules for pair in stress_rules.of(module)]
    assert sorted([*played, stress_rules.SLOW]) == sorted(PAIRS)


@pytest.mark.parametrize("each", RULES, ids=lambda each: each.name)
def test_a_silent_rule_and_a_false_alarm_are_told(each: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = first_of(each)
    monkeypatch.setitem(PAIRS, pair.rule, Pair(pair.rule, violates=pair.clean, clean=pair.clean))
    monkeypatch.setattr(stress_rules, "of", lambda _: [PAIRS[pair.rule]])
    assert put_to(each).failures[0].outcome == f"silent: {pair.rule}"
    monkeypatch.setitem(PAIRS, pair.rule, Pair(pair.rule, violates=pair.violates, clean=pair.violates))
    failure = put_to(each).failures[0]
    assert (failure.outcome, failure.listed) == (f"false alarm: {pair.rule}", True)


def test_the_rules_leave_the_journal_as_they_found_it() -> None:
    event = InstrumentedEvent("host", mode="log")
    event.record()
    before = journal.entries()
    assert hammer(RULES[0], seconds=0.01, device="sim").passed
    assert journal.entries() == before
    event.wait()
    assert [entry.kind for entry in journal.entries()] == [Kind.MADE, Kind.RECORD, Kind.WAIT]


def test_a_journal_that_is_set_aside_is_empty_and_comes_back() -> None:
    event = InstrumentedEvent("host", mode="log")
    event.record()
    operation = journal.last(event.state, Kind.RECORD)
    assert operation is not None
    journal.violation(operation, "double-record", "for instance")
    journal.start_tracing()
    journal.keep(operation)
    with journal.set_aside():
        assert (journal.entries(), journal.violations, journal.broken()) == ([], 0, frozenset())
        assert not journal.tracing
        event.wait()
        journal.violation(operation, "self-wait", "in there")
    assert journal.entries() == [journal.last(event.state, Kind.MADE), operation]
    assert (journal.violations, journal.broken()) == (1, {"double-record"})
    assert journal.tracing
    assert list(journal.local.ring.unwritten or ()) == [operation]
    journal.stop_tracing()


# -- where a scenario can run ------------------------------------------------------------------------------------------


def device(name: str) -> Any:
    """As much of one as `unfit` asks for."""

    class Named:
        def __init__(self, name: str, each: int) -> None:
            self.name = name
            self._each = each

        def each(self) -> list[Any]:
            return [self] * self._each

    return Named(name, 2 if ":" not in name else 1)


def only(place: str) -> Scenario:
    @scenario(only=[place])
    def mine(rig: Rig) -> None:
        pass

    return mine


@pytest.mark.parametrize(
    ("place", "fits", "does_not"),
    [
        ("accelerator", ["cuda", "cuda:1", "xpu"], ["sim", "sim:1", "host"]),
        ("cuda", ["cuda", "cuda:1"], ["xpu", "sim", "host"]),
        ("simulator", ["sim", "sim:1"], ["cuda", "host"]),
        ("two devices", ["cuda", "sim"], ["cuda:1", "sim:0"]),
        ("fork", ["sim", "host"], ["cuda", "xpu:0"]),
    ],
)
def test_a_scenario_that_does_not_fit_says_why(place: str, fits: list[str], does_not: list[str]) -> None:
    assert [name for name in fits if only(place).unfit(device(name))] == []
    assert {only(place).unfit(device(name)) for name in does_not} == {PLACES[place][1]}


def test_no_gil_is_asked_of_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys._is_gil_enabled", lambda: True, raising=False)
    assert no_gil.unfit(device("sim")) == PLACES["no GIL"][1]
    monkeypatch.setattr("sys._is_gil_enabled", lambda: False, raising=False)
    assert no_gil.unfit(device("sim")) == ""


def test_a_place_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="only='moon': allowed are 'accelerator', 'cuda'"):
        only("moon")


def test_what_is_unfit_is_not_asked_which_rules_it_breaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "unfit_here"
    folder.mkdir()
    (folder / "stress_one.py").write_text(
        "from cpugpu import scenario\n"
        "@scenario(only=['two devices'])\ndef fits(rig):\n    pass\n"
        "@scenario(only=['cuda', 'simulator'])\ndef nowhere(rig):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("cpugpu.report.catalogue.find_accelerator", lambda: None)
    assert [row.program for row in scenario_rows(folder, seconds=0.01)] == ["scenario fits"]


# -- what the rig offers for them --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["host", "sim", "sim:1"])
def test_a_device_stands_for_itself_or_for_all_of_its_kind(name: str) -> None:
    names = {"host": ["host"], "sim": ["sim:0", "sim:1"], "sim:1": ["sim:1"]}
    assert [each.name for each in resolve(name).each()] == names[name]


def run_on(device: Device, body: Any) -> Result:
    """Execute it once."""

    @scenario
    def mine(rig: Rig) -> Any:
        return body(rig)

    return hammer(mine, seconds=1e-9, device=device)


def test_streams_and_buffers_are_of_the_device_that_is_named() -> None:
    machine = Simulator(devices=2)

    def body(rig: Rig) -> bool:
        streams = [rig.stream(), rig.stream(device=1), rig.stream(device=1), rig.stream(priority=-1, device=1)]
        cell = rig.buffer(0, device=1)
        rig.fill(cell, 1, streams[1])
        return (
            [stream.device_index for stream in streams] == [0, 1, 1, 1] and len({*streams}) == 4 and rig.read(cell) == 1
        )

    assert run_on(SimulatedDevice(machine), body).rows[0].outcome == "True"


def test_a_device_that_there_is_not_is_told() -> None:
    result = run_on(SimulatedDevice(Simulator(devices=2)), lambda rig: rig.stream(device=2))
    assert "device=2: sim has 2, from 0" in result.failures[0].details
