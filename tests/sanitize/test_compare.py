"""Beside torch's CSAN: its misses are found, its false alarms are not raised, and what it finds is found."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

pytest.importorskip("torch")

from cpugpu.sanitize import Event, watching
from cpugpu.simulate import simulate
from stress.compare_sanitizers import PROGRAMS, Trace, compare, table
from stress.compare_sanitizers.performed import NotExpressible, Performed
from stress.compare_sanitizers.programs import Program

#: What the issue names: CSAN is to be wrong about these, or the comparison shows nothing.
MISSES = [
    "a worker thread launches without a wait",
    "a wait for an event that nobody has recorded, no conflict in this run",
    "overlapping views",
    "thread A synchronizes, thread B launches",
    "the default streams of two devices",
    "freed while another stream reads, no record_stream",
    "pinned memory is overwritten during the copy",
    "the host reads before the copy is done",
]
FALSE_ALARMS = ["`.item()`, then a write on another stream", "spinning on query()"]


def test_ours_is_right_about_all_programs_and_csan_is_wrong_about_those_that_are_named() -> None:
    rows = {row.program.title: row for row in compare()}
    assert [title for title, row in rows.items() if not row.right] == []
    assert [title for title in MISSES if rows[title].buggy.csan] == []  # type: ignore[union-attr]
    assert [title for title in FALSE_ALARMS if not rows[title].clean.csan] == []
    found = [title for title, row in rows.items() if row.buggy is not None and row.buggy.csan]
    assert found
    assert all(rows[title].buggy.ours for title in found)  # type: ignore[union-attr]


def test_the_page_is_made_from_the_programs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "sanitizer.md").read_text()
    assert all(f"| {program.title} |" in page for program in PROGRAMS)
    assert page.splitlines()[6:] == table(compare()).splitlines()[6:]


def test_where_csan_can_see_all_both_say_the_same() -> None:
    """One thread, whole tensors, streams of one device: then the first errors are at the same operation."""
    raced = 0
    for seed in range(150):
        rng, t = random.Random(seed), Trace()
        streams, events = [t.stream(1), t.stream(2), t.stream(3)], [Event(), Event()]
        tensors = [t.tensor("x"), t.tensor("y")]
        for event in events:
            t.record(event, streams[0])
        for _ in range(rng.choice([6, 12, 25])):
            what, stream, event, x = rng.randrange(12), rng.choice(streams), rng.choice(events), rng.choice(tensors)
            if what < 2:
                t.launch(stream, reads=[x])
            elif what < 4:
                t.launch(stream, writes=[x])
            elif what == 4:
                t.record(event, stream)
            elif what < 7:
                t.wait(event, stream)
            elif what == 7:
                t.synchronize_stream(stream)
            elif what == 8:
                t.synchronize_event(event)
            elif what == 9:
                t.synchronize_device()
            else:
                t.wait_stream(stream, rng.choice(streams))
            verdicts = t.verdicts()
            assert bool(verdicts.ours) == bool(verdicts.csan), seed
            if verdicts.ours:
                raced += 1
                break
    assert 20 < raced < 130


#: Torch launches an operation on a stream of its tensors' device: it cannot be written with torch.
NOT_EXPRESSIBLE = "the default streams of two devices"


@pytest.mark.parametrize(
    "program", [pytest.param(program, id=program.title) for program in PROGRAMS if program.title != NOT_EXPRESSIBLE]
)
def test_done_by_torch_on_a_device_a_program_shows_the_same(program: Program) -> None:
    for body, rules in ((program.buggy, [program.rule]), (program.clean, [])):
        if body is not None:
            with simulate(), watching() as session:
                performed = Performed()
                body(performed)
                performed.end()
            assert sorted({finding.rule for finding in session.model.findings}) == rules


def test_what_torch_has_no_call_for() -> None:
    (program,) = (program for program in PROGRAMS if program.title == NOT_EXPRESSIBLE)
    with simulate(2), pytest.raises(NotExpressible, match="on a stream of its tensors' device"):
        program.clean(Performed())
