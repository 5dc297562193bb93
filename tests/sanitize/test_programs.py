"""Each rule fires on its program and not on its clean twin."""

from __future__ import annotations

import pytest

from cpugpu.sanitize import RULES, Event, Model, Storage
from stress.compare_sanitizers.programs import PROGRAMS, Program
from stress.compare_sanitizers.trace import Trace

BUGS = [program for program in PROGRAMS if program.buggy is not None]


def found(body: object) -> list[str]:
    trace = Trace(csan=False)
    body(trace)  # type: ignore[operator]
    return [finding.rule for finding in trace.model.findings]


@pytest.mark.parametrize("program", BUGS, ids=lambda program: program.title)
def test_the_buggy_program_breaks_its_rule_and_no_other(program: Program) -> None:
    assert found(program.buggy) == [program.rule]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.title)
def test_the_clean_program_breaks_none(program: Program) -> None:
    assert found(program.clean) == []


def rules(model: Model) -> list[str]:
    return [finding.rule for finding in model.findings]


@pytest.mark.parametrize("device", ["cuda:0", "cuda:1"])
def test_an_event_is_recorded_on_the_device_of_its_first_record(device: str) -> None:
    model, event = Model(), Event()
    main = model.thread("main")
    model.record(main, event, model.stream("cuda:0", 1))
    model.record(main, event, model.stream(device, 2))
    assert rules(model) == (["device-mismatch"] if device == "cuda:1" else [])


def test_streams_of_other_devices_may_wait() -> None:
    model, event = Model(), Event()
    main = model.thread("main")
    model.record(main, event, model.stream("cuda:0", 1))
    model.wait(main, event, model.stream("cuda:1", 1))
    assert rules(model) == []


@pytest.mark.parametrize("inside", [True, False])
def test_a_captured_event_is_for_its_capture(inside: bool) -> None:
    model, event = Model(), Event()
    main, stream, other = model.thread("main"), model.stream("cuda:0", 1), model.stream("cuda:0", 2)
    model.capture_begin(main, stream)
    model.record(main, event, stream)
    if inside:
        model.wait(main, event, other)  # a fork: the other stream joins the capture
    model.capture_end(model.me(), stream)
    if not inside:
        model.wait(main, event, other)
    assert rules(model) == ([] if inside else ["captured-event-outside"])


@pytest.mark.parametrize("inside", [True, False])
def test_a_capture_does_not_wait_for_what_is_outside(inside: bool) -> None:
    model, event = Model(), Event()
    main, stream, other = model.thread("main"), model.stream("cuda:0", 1), model.stream("cuda:0", 2)
    model.record(main, event, other)
    if not inside:
        model.wait(main, event, stream)
    model.capture_begin(main, stream)
    if inside:
        model.wait(main, event, stream)
    model.capture_end(model.me(), stream)
    assert rules(model) == (["uncaptured-event-inside"] if inside else [])


@pytest.mark.parametrize(("mode", "broken"), [("global", True), ("thread_local", False), ("relaxed", False)])
def test_no_thread_polls_during_a_global_capture(mode: str, broken: bool) -> None:
    model, event = Model(), Event()
    main, stream, other = model.thread("main"), model.stream("cuda:0", 1), model.stream("cuda:0", 2)
    watchdog = model.thread("watchdog", main)
    model.record(watchdog, event, other)
    model.capture_begin(main, stream, mode)
    model.query_event(watchdog, event, True)
    model.capture_end(model.me(), stream)
    model.query_event(watchdog, event, True)
    assert rules(model) == (["wait-during-capture"] if broken else [])


def test_to_synchronize_a_stream_during_a_capture_is_found_too() -> None:
    model = Model()
    main, stream = model.thread("main"), model.stream("cuda:0", 1)
    model.capture_begin(main, stream)
    model.synchronize_device(main, "cuda:0")
    model.capture_end(model.me(), stream)
    assert rules(model) == ["wait-during-capture"]


def test_captured_launches_touch_nothing() -> None:
    model, x = Model(), Storage("x")
    main, stream, other = model.thread("main"), model.stream("cuda:0", 1), model.stream("cuda:0", 2)
    model.capture_begin(main, stream)
    model.launch(main, stream, [(x, (0, 4), True)])
    model.capture_end(model.me(), stream)
    model.launch(main, other, [(x, (0, 4), True)])
    assert rules(model) == []


@pytest.mark.parametrize("joined", [True, False])
def test_a_fork_comes_back_before_its_capture_ends(joined: bool) -> None:
    model, x, fork, join = Model(), Storage("x"), Event(), Event()
    main, stream, side = model.thread("main"), model.stream("cuda:0", 1), model.stream("cuda:0", 2)
    model.capture_begin(main, stream)
    model.record(main, fork, stream)
    model.wait(main, fork, side)
    model.launch(main, side, [(x, (0, 4), True)])
    model.record(main, join, side)
    if joined:
        model.wait(main, join, stream)
    model.capture_end(main, stream)
    assert rules(model) == ([] if joined else ["unjoined-capture"])


@pytest.mark.parametrize("opened", [True, False])
def test_an_exported_event_outlives_its_opening(opened: bool) -> None:
    model, event = Model(), Event()
    main = model.thread("main")
    model.record(main, event, model.stream("cuda:0", 1))
    model.event_exported(main, event)
    if opened:
        model.event_opened(event)
    model.event_destroyed(main, event)
    assert rules(model) == ([] if opened else ["event-destroyed-early"])


@pytest.mark.parametrize("late", [True, False])
def test_an_event_is_not_used_after_its_end(late: bool) -> None:
    model, event = Model(), Event()
    main, stream = model.thread("main"), model.stream("cuda:0", 1)
    model.record(main, event, stream)
    if late:
        model.event_destroyed(main, event)
    model.wait(main, event, stream)
    assert rules(model) == (["used-after-destroy"] if late else [])


@pytest.mark.parametrize("before", [True, False])
def test_a_forked_child_leaves_the_device_alone(before: bool) -> None:
    model, x = Model(), Storage("x")
    main = model.thread("main")
    if before:
        model.launch(main, model.stream("cuda:0", 1), [(x, (0, 4), True)])
    model.forked()
    model.launch(main, model.stream("cuda:0", 1), [(x, (0, 4), True)])
    assert rules(model) == (["used-after-fork"] if before else [])


def test_each_rule_has_a_program_and_a_sentence() -> None:
    others = {
        *("device-mismatch", "captured-event-outside", "uncaptured-event-inside", "wait-during-capture"),
        *("event-destroyed-early", "used-after-destroy", "used-after-fork", "unjoined-capture"),
        *("device-not-set", "death-not-told"),
    }
    assert {program.rule for program in BUGS} | others == set(RULES)
    assert all(rule.sentence.endswith(".") for rule in RULES.values())
