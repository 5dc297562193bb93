"""What the explorer must show of the events: SeedEvent's six defects, and that CpuGpuEvent has none, line by line."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cpugpu import CpuGpuEvent, HandoffClosed, HandoffTimeout, scenario
from cpugpu.explore import VerdictKind, explore
from cpugpu.gate import Gate
from cpugpu.rig import Rig, Scenario
from stress.stress_driver_fails import record_fails, wait_fails
from stress.stress_end import close_against_wait, producer_raises
from stress.stress_hand_off import hand_off
from stress.stress_ping_pong import ping_pong
from stress.subjects import SeedEvent
from tests.test_explore_lines import DEFECTS

OURS = (CpuGpuEvent, Gate)


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    return


# -- SeedEvent ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("program", "outcome", "bound"), DEFECTS, ids=[each[0].name for each in DEFECTS])
def test_each_defect_of_the_seed_is_found_with_a_schedule_that_a_person_can_read(
    program: Scenario, outcome: str, bound: int
) -> None:
    verdict = explore(program, trace=(SeedEvent,), seconds=60)
    assert verdict.kind is VerdictKind.FAILED
    assert verdict.granularity == "lines"
    assert verdict.failure is not None
    assert verdict.failure.outcome == outcome
    assert verdict.failure.preemptions <= bound
    assert len(verdict.failure.run.steps) <= 40
    text = str(verdict)
    assert all(len(line) < 160 for line in text.splitlines())
    assert "self._recorded" in text  # the lines of code are there


@pytest.mark.parametrize(("program", "outcome", "bound"), DEFECTS, ids=[each[0].name for each in DEFECTS])
def test_our_event_has_none_of_them(program: Scenario, outcome: str, bound: int) -> None:
    verdict = explore(program.on(CpuGpuEvent), strategy="dpor", trace=OURS, seconds=110)
    assert verdict.kind is VerdictKind.PROVED, verdict


# -- CpuGpuEvent -------------------------------------------------------------------------------------------------------


def timed(rig: Rig, make_event: Any, timeout: float, *, again: bool) -> str:
    """A fill, a record; a wait with a timeout, and where that is too short, if so asked, another one without."""
    ready, cell, wrong = make_event(), rig.buffer(0), rig.buffer(0)
    outcome = rig.cell("in time")

    def producer() -> None:
        stream = rig.stream()
        rig.fill(cell, 1, stream)
        ready.record(stream)

    def consumer() -> None:
        stream = rig.stream()
        try:
            ready.wait(stream, timeout=timeout)
        except HandoffTimeout:
            outcome.set("too late")
            if not again:
                return
            ready.wait(stream)
        rig.check(cell, 1, wrong, stream)

    rig.run(producer, consumer)
    return "stale" if rig.read(wrong) else outcome.get()


@scenario(accept=["in time", "too late"])
def wait_with_timeout(rig: Rig, make_event: Any = CpuGpuEvent) -> str:
    return timed(rig, make_event, 5, again=False)


@scenario(accept=["in time", "too late"])
def wait_with_timeout_then_without(rig: Rig, make_event: Any = CpuGpuEvent) -> str:
    """A wait that was too late has consumed nothing."""
    return timed(rig, make_event, 5, again=True)


@scenario(accept=["in time", "too late"])
def synchronize_with_timeout(rig: Rig, make_event: Any = CpuGpuEvent) -> str:
    """It asks the device until it is done or the time is up; whichever it is, the record is consumed once."""
    ready, cell, outcome = make_event(), rig.buffer(0), rig.cell("in time")

    def producer() -> None:
        stream = rig.stream()
        rig.fill(cell, 1, stream)
        ready.record(stream)

    def consumer() -> None:
        try:
            ready.synchronize(timeout=0.002)
        except HandoffTimeout:
            outcome.set("too late")
            ready.synchronize()

    rig.run(producer, consumer)
    return outcome.get()


@scenario(accept=["in time", "too late", "closed"])
def close_against_wait_with_timeout(rig: Rig, make_event: Any = CpuGpuEvent) -> str:
    """Nothing is recorded. The wait ends by the close, or by its timeout."""
    ready, outcome = make_event(), rig.cell("in time")

    def consumer() -> None:
        try:
            ready.wait(rig.stream(), timeout=5)
        except HandoffTimeout:
            outcome.set("too late")
        except HandoffClosed:
            outcome.set("closed")

    rig.run(consumer, ready.close)
    return outcome.get()


@scenario(accept=["closed"])
def close_against_blocked_wait(rig: Rig, make_event: Any = CpuGpuEvent) -> str:
    """Nothing is recorded; the wait must end."""
    ready, outcome = make_event(), rig.cell("passed")

    def consumer() -> None:
        try:
            ready.wait(rig.stream())
        except HandoffClosed:
            outcome.set("closed")

    rig.run(consumer, ready.close)
    return outcome.get()


def proved(program: Scenario) -> None:
    verdict = explore(program, strategy="dpor", trace=OURS, seconds=110)
    assert verdict.kind is VerdictKind.PROVED, verdict
    assert verdict.granularity == "lines"
    assert verdict.bound is None


QUICK = [
    *(hand_off, record_fails, wait_fails, producer_raises, wait_with_timeout, wait_with_timeout_then_without),
    *(close_against_wait_with_timeout, close_against_blocked_wait),
]


@pytest.mark.parametrize("program", QUICK, ids=lambda each: each.name)
def test_our_event_is_proved_line_by_line(program: Scenario) -> None:
    proved(program)


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "program", [ping_pong, close_against_wait, synchronize_with_timeout], ids=lambda each: each.name
)
def test_our_event_is_proved_line_by_line_in_longer_programs(program: Scenario) -> None:
    proved(program)


@pytest.mark.parametrize("program", [wait_with_timeout, wait_with_timeout_then_without], ids=lambda each: each.name)
def test_a_wait_that_warns_of_a_stall_before_its_timeout_is_proved_too(
    program: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It blocks twice: until it warns, and for the rest of the time."""
    monkeypatch.setenv("CPUGPU_STALL_SECONDS", "1")
    proved(program)


def outcomes(program: Scenario, *candidates: Hashable) -> set[Hashable]:
    """Which of them there are: where one is forbidden, the program fails."""
    found = set()
    for outcome in candidates:
        verdict = explore(replace(program, forbid={outcome: ""}), strategy="dpor", trace=OURS, seconds=60)
        if verdict.failure is not None:
            found.add(verdict.failure.outcome)
    return found


def test_both_outcomes_of_a_timeout_are_explored() -> None:
    assert outcomes(wait_with_timeout, "in time", "too late") == {"in time", "too late"}
    assert outcomes(wait_with_timeout_then_without, "in time", "too late") == {"in time", "too late"}
    assert outcomes(close_against_wait_with_timeout, "in time", "too late", "closed") == {"too late", "closed"}


def test_a_wait_that_loses_the_token_when_its_time_is_up_is_found() -> None:
    """The proofs are about the slow path as well: with a mistake there, the same scenario fails."""

    class Forgetful(CpuGpuEvent):
        def _block(self, timeout: float | None) -> None:
            try:
                super()._block(timeout)
            except HandoffTimeout:
                with suppress(Exception):
                    self._gate.acquire(False)  # and if it was there, nobody will get it any more
                raise

    verdict = explore(
        wait_with_timeout_then_without.on(Forgetful), strategy="dpor", trace=(Forgetful, *OURS), seconds=60
    )
    assert verdict.kind is VerdictKind.FAILED
    assert verdict.failure is not None
    assert verdict.failure.outcome == "hang"
