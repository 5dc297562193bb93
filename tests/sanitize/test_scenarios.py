"""The stress scenarios under the sanitizer: nothing is found with `CpuGpuEvent`, something without it."""

from __future__ import annotations

import re
import threading
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from cpugpu import CpuGpuEvent, hammer  # noqa: E402
from cpugpu.debug import InstrumentedEvent  # noqa: E402
from cpugpu.hammer import Result, choose_device  # noqa: E402
from cpugpu.rig import Scenario  # noqa: E402
from cpugpu.sanitize import watching  # noqa: E402
from cpugpu.sanitize.scenarios import FINDING, sanitized  # noqa: E402
from cpugpu.simulate import simulate  # noqa: E402
from stress.mutants.catalogue import scenarios_for  # noqa: E402
from stress.racy.stress_bare_event import bare_event  # noqa: E402
from stress.stress_generated import generated  # noqa: E402
from stress.stress_hand_off import hand_off  # noqa: E402
from stress.stress_innocent import threads_come_and_go  # noqa: E402
from stress.stress_promises import interrupted_wait  # noqa: E402
from stress.stress_refusals import eager_producer  # noqa: E402
from stress.stress_reuse import reuse  # noqa: E402
from stress.stress_rules import rules_of_timing  # noqa: E402
from stress.subjects import BareEvent  # noqa: E402
from tests.threads import in_thread  # noqa: E402

#: One for each thing that had to be mended: cells, the spare event, a race, Ctrl-C, the clock of the debug mode.
FEW = [hand_off, reuse, eager_producer, threads_come_and_go, interrupted_wait, rules_of_timing]
AN_EXECUTION = 1e-9


def played(scenario: Scenario, *, seconds: float = AN_EXECUTION, seed: int = 1) -> Result:
    with simulate(2, seed=seed), sanitized(scenario) as watched:
        return hammer(watched, seconds=seconds, device=choose_device("accelerator")(seed), seed=seed)


def told(result: Result) -> str:
    return "\n".join(f"{failure.outcome}: {failure.details}" for failure in result.failures)


@pytest.mark.parametrize("scenario", FEW, ids=lambda each: each.name)
def test_nothing_is_found_with_the_event(scenario: Scenario) -> None:
    for seed in range(5):
        result = played(scenario, seed=seed)
        assert FINDING not in [row.outcome for row in result.rows], told(result)


@pytest.mark.parametrize("scenario", [hand_off.on(BareEvent), bare_event, threads_come_and_go.on(BareEvent)])
def test_a_single_execution_with_a_bare_device_event_has_a_finding(scenario: Scenario) -> None:
    for seed in range(5):
        result = played(scenario, seed=seed)
        assert [row.outcome for row in result.rows] == [FINDING]
        assert re.search(r"in (BareEvent\.)?wait,|in (bare_event\.<locals>\.)?consumer,", told(result))


def test_a_demonstration_that_is_found_out_is_what_it_should_be() -> None:
    assert played(bare_event).passed


def test_rules_that_a_scenario_breaks_on_purpose_do_not_count() -> None:
    """Programs that are drawn at random race; that each has seen what it may see is what is asked."""
    assert "race" in generated.breaks
    assert played(generated, seconds=0.5).passed


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("subject", [CpuGpuEvent, InstrumentedEvent])
def test_nothing_is_found_in_any_scenario(subject: Any) -> None:
    with simulate(2):
        listed = scenarios_for("event", subject, choose_device("accelerator")(0))
    assert len(listed) > 50
    found = [failure for each in listed for failure in played(each, seconds=1.0).failures]
    assert [failure.details for failure in found if failure.outcome == FINDING] == []


# -- what the scenarios have shown -------------------------------------------------------------------------------------


def test_a_lock_that_is_seen_to_be_free_is_an_edge() -> None:
    with simulate(), watching() as session:
        lock, events = threading.Lock(), [torch.cuda.Event()]
        lock.acquire()

        def records() -> None:
            events[0].record()
            lock.release()

        with in_thread(records):
            while lock.locked():
                pass
            events[0].wait(torch.cuda.Stream())
    assert list(session.model.findings) == []


def test_the_attribute_of_the_event_is_as_it_was() -> None:
    event = CpuGpuEvent("host")
    with simulate(), watching():
        event.record()
        event.wait()
        assert "_spare" in vars(CpuGpuEvent)
        spare = event._spare
    assert "_spare" not in vars(CpuGpuEvent)
    assert event._spare is spare is not None
