"""The debug package under the explorer: its threads are logical ones, and its clock is the explorer's."""

from __future__ import annotations

import sys
import threading
import time

import pytest

from cpugpu import ProtocolViolation, scenario
from cpugpu.debug import InstrumentedEvent, event, journal, recorder, verdict, waits, watcher
from cpugpu.debug.examples import PAIRS
from cpugpu.explore import VerdictKind, explore
from cpugpu.rig import Rig
from stress.mutants import inner
from stress.mutants.explorer import Stage, exploring, search

#: Those which have a handful of schedules without preemption.
QUICK = (
    *("double-record", "second-producer", "poisoned-wait", "never-consumed", "slow-driver-call"),
    pytest.param("waiting-at-exit", marks=pytest.mark.slow),
)


@pytest.mark.parametrize("rule", QUICK)
def test_the_programs_of_a_rule_are_told_apart_in_every_schedule(rule: str) -> None:
    stage = Stage([inner.rule(PAIRS[rule])], 0, 30)
    with exploring():
        found = search(stage.programs[0], stage, time.monotonic() + 60)
    assert not found.outcome
    assert not found.reason


def test_each_logical_thread_has_a_ring_of_its_own() -> None:
    @scenario(accept=[("one", "other")])
    def two(rig: Rig) -> tuple[str, ...]:
        names = rig.cell(())

        def note() -> None:
            ring = journal.local.ring
            assert ring is journal.local.ring
            names.update(lambda before: (*before, ring.thread.name))

        def one() -> None:
            note()

        def other() -> None:
            note()

        rig.run(one, other)
        return tuple(sorted(names.get()))

    found = explore(two)
    assert found.kind is VerdictKind.PROVED, found


@scenario(accept=["second-consumer"])
def two_consumers(rig: Rig) -> str:
    ready = InstrumentedEvent("host", mode="raise")
    rule, waited = rig.cell("none"), rig.cell(False)
    ready.record()

    def first() -> None:
        ready.wait()
        waited.set(True)
        rig.until(lambda: rule.get() != "none", rule)

    def second() -> None:
        rig.until(waited.get, waited)
        try:
            ready.wait(timeout=1)
        except ProtocolViolation as violation:
            rule.set(violation.rule)

    rig.run(first, second)
    return rule.get()


def test_the_logical_thread_that_breaks_a_rule_is_told() -> None:
    found = explore(two_consumers, strategy="dfs", bound=0)
    assert found.kind is VerdictKind.PROVED, found


def test_frames_are_those_of_the_logical_threads() -> None:
    @scenario(accept=["waits"])
    def looks(rig: Rig) -> str:
        gate, name = threading.Event(), rig.cell("")

        def waits_for_it() -> None:
            gate.wait()

        def looks_at_it() -> None:
            frames = sys._current_frames()
            assert threading.get_ident() in frames
            names = set()
            for frame in frames.values():
                each = frame
                while each is not None:
                    names.add(each.f_code.co_name)
                    each = each.f_back  # type: ignore[assignment]
            name.set("waits" if "waits_for_it" in names else "")
            gate.set()

        rig.run(waits_for_it, looks_at_it)
        return name.get()

    found = explore(looks)
    assert found.kind is VerdictKind.PROVED, found


def test_all_of_it_is_as_before_afterwards() -> None:
    def kept() -> list[object]:
        return [journal.local, journal._rings, journal.captured, watcher._events, watcher.paused, event._now,
                event._local, recorder._now, verdict._within, sys._current_frames, journal.violations]  # fmt: skip

    before = kept()
    explore(two_consumers, strategy="dfs", bound=0)
    assert all(one is other for one, other in zip(before, kept(), strict=True))


def test_a_mutant_stands_in_a_wait_like_the_code_that_it_replaces() -> None:
    """Its code is of a file of its own."""
    function = InstrumentedEvent.wait
    original = function.__code__
    seen = []

    class Looking:
        def __enter__(self) -> None:
            seen.append(waits._stands_in_a_wait(sys._getframe(1)))

        def __exit__(self, *_: object) -> None:
            pass

    def wait(self: object, stream: object = None, timeout: float | None = None) -> None:
        with stream:  # type: ignore[attr-defined]
            pass

    assert not function.__closure__
    function.__code__ = wait.__code__.replace(co_filename="<mutant of event.py>")
    try:
        InstrumentedEvent.wait(None, Looking())  # type: ignore[arg-type]
    finally:
        function.__code__ = original
    assert seen == [True]
