"""The rules on a trace find what they find in the running program, and nothing that is right."""

from __future__ import annotations

import contextlib
import gc
from pathlib import Path
from typing import Any

import pytest

from cpugpu.cli import main
from cpugpu.debug import RULES, journal
from cpugpu.debug.examples import PAIRS, Stage
from cpugpu.debug.offline import check
from cpugpu.debug.tracing import Tracing, entry_of
from cpugpu.trace import Entry, TraceWriter

#: What a trace does not tell: declarations and expectations, processor time, forks, a handle on who waits at an exit.
ONLINE_ONLY = {
    "consumer-died",
    "cross-thread-cycle",
    "poisoned-wait",
    "producer-died",
    "query-during-capture",
    "stale-generation",
    "sync-too-long",
    "teardown-while-waiting",
    "unblocking-blocking-event",
    "used-after-fork",
    "waiting-at-exit",
    "wrong-declared-stream",
}


def logged(program: Any) -> list[Entry]:
    """What a trace would have of `program`, run in log mode: no rule has looked."""
    entries: list[Entry] = []
    with Stage("log") as stage:
        with contextlib.suppress(RuntimeError, TypeError, ValueError):
            program(stage)
        gc.collect()
        stage.beat()
        Tracing().note_deaths()
        entries += [entry_of(operation) for operation in journal.entries()]
    assert all(not entry.violations or entry.kind in ("stopped", "found") for entry in entries)
    return entries


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule not in ONLINE_ONLY])
def test_a_log_of_the_violating_program_shows_the_rule(rule: str) -> None:
    assert rule in {finding.rule for finding in check(logged(PAIRS[rule].violates))}


@pytest.mark.parametrize("rule", RULES)
def test_a_log_of_the_clean_twin_shows_nothing(rule: str) -> None:
    assert check(logged(PAIRS[rule].clean)) == []


def entry(kind: str, thread: int, begin: int, **fields: Any) -> Entry:
    values: dict[str, Any] = dict(  # noqa: C408
        event="ready", event_id=1, thread_name=f"t{thread}", stream="s", current="s", device="host", device_index=0,
        current_index=0, capture=0, flags=0, ready_ns=0, end_ns=begin + 5, generation=0, device_ns=0, device_error_ns=0,
        place="a.py:1", error="", detail="", violations=(),
    )  # fmt: skip
    return Entry(kind=kind, thread=thread, begin_ns=begin, **(values | fields))


def test_a_part_that_may_have_been_free_blames_nobody() -> None:
    """Thread 1 ended somewhere between its last record and 90."""
    trace = [
        entry("record", 1, 10, generation=1),
        entry("wait", 2, 20, ready_ns=21, generation=1),
        entry("record", 3, 30, generation=2),
        entry("wait", 2, 40, ready_ns=41, generation=2),
    ]
    assert [finding.rule for finding in check(trace)] == ["second-producer"]
    assert check([*trace, entry("ended", 1, 90)]) == []
    later = entry("wait", 1, 50, event="other", event_id=2)
    assert [finding.rule for finding in check([*trace, later, entry("ended", 1, 90)])] == ["second-producer"]


def test_waits_that_are_open_when_the_trace_ends() -> None:
    trace = [
        entry("record", 1, 10, generation=1),
        entry("wait", 2, 20, ready_ns=21, generation=1),
        entry("wait", 2, 40, end_ns=0),
    ]
    assert check(trace) == []
    (found,) = check([*trace, entry("ended", 1, 90, detail="RuntimeError('out of memory')")])
    assert found.rule == "producer-died"
    assert "RuntimeError('out of memory')" in found.message


def test_threads_that_wait_for_each_other_when_the_trace_ends() -> None:
    trace = [
        entry("record", 1, 10, generation=1),
        entry("wait", 2, 20, ready_ns=21, generation=1),
        entry("record", 2, 30, generation=1, event="back", event_id=2),
        entry("wait", 1, 40, ready_ns=41, generation=1, event="back", event_id=2),
        entry("wait", 1, 50, end_ns=0, event="back", event_id=2),
        entry("wait", 2, 60, end_ns=0),
    ]
    assert [finding.rule for finding in check(trace)] == ["cross-thread-cycle"] * 2


def test_what_the_running_program_has_found_is_told_too() -> None:
    (found,) = check([entry("record", 1, 10, generation=1, violations=(("stale-generation", "text"),))])
    assert (found.rule, found.message, found.online) == ("stale-generation", "text", True)


@pytest.fixture
def trace(tmp_path: Path) -> Any:
    def write(*entries: Entry) -> str:
        path = str(tmp_path / "a.trace")
        writer = TraceWriter(path, limit=1_000_000, meta={"pid": 1})
        writer.write(entries)
        writer.close()
        return path

    return write


def test_the_command(trace: Any, capsys: pytest.CaptureFixture[str]) -> None:
    clean = [entry("record", 1, 10, generation=1), entry("wait", 2, 20, ready_ns=21, generation=1)]
    assert main(["trace", "check", trace(*clean)]) == 0
    assert capsys.readouterr().out == "0 violations\n"
    assert main(["trace", "check", trace(*clean, entry("wait", 1, 30, end_ns=0))]) == 1
    assert "self-wait: t1 waits for 'ready', which it records itself (t1 at a.py:1)" in capsys.readouterr().out


@pytest.mark.parametrize("action", [["summary"], ["check"], ["perfetto", "-o", "out"]])
@pytest.mark.parametrize(("content", "why"), [(None, "No such file"), (b"", "is empty"), (b"text" * 20, "not a trace")])
def test_bad_input_is_one_line(
    action: list[str], content: bytes | None, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.trace"
    if content is not None:
        path.write_bytes(content)
    assert main(["trace", action[0], str(path), *action[1:]]) == 2
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert why in err
