"""The summary of a trace: exact figures of traces made by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from cpugpu.trace import Entry, TraceWriter, read, summarize
from cpugpu.trace.summary import duration, percentiles
from tests.e2e.sample import entry, sample


def summary(path: Path, entries: list[Entry], **meta: str | int) -> str:
    trace_writer = TraceWriter(path / "t", limit=1 << 30, meta=meta)
    trace_writer.write(entries)
    trace_writer.close()
    return summarize(read(path / "t"))


def hand_off(generation: int, latency_ns: int, blocked_ns: int, driver_ns: int, **fields: object) -> list[Entry]:
    recorded = 1_000_000 * generation
    ended = recorded + latency_ns
    return [
        entry("record", generation=generation, begin_ns=recorded - 100, end_ns=recorded, **fields),
        entry("wait", generation=generation, thread=2, thread_name="consumer", begin_ns=ended - driver_ns - blocked_ns,
              ready_ns=ended - driver_ns, end_ns=ended, **fields),
    ]  # fmt: skip


def test_a_summary_is_exact(tmp_path: Path) -> None:
    entries = [one for n in range(1, 101) for one in hand_off(n, n * 1_000, n * 10, 500)]
    entries[3] = entries[3]._replace(error="HandoffTimeout")  # the wait of generation 2
    entries.append(entry("wait", thread=2, thread_name="consumer", begin_ns=100_600_000, end_ns=0, place="app.py:7"))
    entries.append(
        entry("close", begin_ns=102_000_000, end_ns=102_100_100, violations=(("closed-early", "too early"),))
    )
    assert summary(tmp_path, entries, pid=42, argv="app.py", python="3.11.7").splitlines() == [
        "app.py (pid 42): 202 operations of 1 event and 2 threads in 101 ms",
        "python 3.11.7",
        "",
        "event  records  waits  errors                   p50      p90      p99      max",
        "ready      100    101       1  record→wait  51.0 µs  91.0 µs   100 µs   100 µs",
        "                               blocked       510 ns   910 ns  1.00 µs  1.00 µs",
        "                               driver        500 ns   500 ns   500 ns   500 ns",
        "",
        "waits that were still open at the end: 1",
        "  consumer  wait  ready  1.50 ms  app.py:7",
        "",
        "violations: 1",
        "  closed-early  1  too early",
    ]


def test_a_wait_meets_the_record_of_its_own_event_only(tmp_path: Path) -> None:
    """Two events share a name, and generation 1 of both is handed over."""
    entries = hand_off(1, 1_000, 10, 10) + hand_off(1, 5_000, 10, 10, event_id=2)
    lines = summary(tmp_path, entries).splitlines()
    assert [line.split()[:2] for line in lines if "record→wait" in line] == [["ready", "#1"], ["ready", "#2"]]
    assert [line.split()[-2:] for line in lines if "record→wait" in line] == [["1.00", "µs"], ["5.00", "µs"]]


def test_a_wait_without_its_record_has_no_latency(tmp_path: Path) -> None:
    assert "record→wait" not in summary(tmp_path, hand_off(1, 1_000, 10, 10)[1:])


def test_the_order_in_the_file_does_not_matter(tmp_path: Path) -> None:
    entries = [one for n in range(1, 30) for one in hand_off(n, n * 1_000, n * 10, 500)]
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    backward = summary(tmp_path / "2", entries[::-1], argv="app.py")
    assert summary(tmp_path / "1", entries, argv="app.py") == backward


def test_a_summary_is_never_longer_than_a_screen(tmp_path: Path) -> None:
    entries = [
        one._replace(event=f"event {event}\n" * 20, event_id=event + 1, violations=((f"rule {event}", "long " * 90),))
        for event in range(40)
        for one in [*hand_off(1, 1_000, 10, 10), entry("wait", thread=event, thread_name="x" * 500, end_ns=0)]
    ]
    text = summary(tmp_path, entries, **{f"fact{n}": "value" for n in range(50)})
    assert len(text.splitlines()) <= 40
    assert max(map(len, text.splitlines())) <= 120
    assert "and 34 more events: 34 records, 68 waits, 0 errors" in text
    assert "  and 36 more\n" in text
    assert "  and 35 more rules" in text


def test_the_events_with_the_most_waits_come_first(tmp_path: Path) -> None:
    entries = [
        one
        for event in range(1, 4)
        for n in range(1, event + 1)
        for one in hand_off(n, 1_000, 10, 10, event=f"e{event}", event_id=event)
    ]
    lines = summary(tmp_path, entries).splitlines()
    assert [line.split()[0] for line in lines if "record→wait" in line] == ["e3", "e2", "e1"]


def test_a_killed_program_and_a_trace_at_its_limit_are_said(tmp_path: Path) -> None:
    trace_writer = TraceWriter(tmp_path / "t", limit=6_000, meta={})
    for number in range(300):
        trace_writer.write([entry(begin_ns=1 + number)])
    trace_writer.close()
    data = (tmp_path / "t").read_bytes()
    (tmp_path / "t").write_bytes(data[:-1])
    text = summarize(read(tmp_path / "t"))
    assert "The trace came to its limit: it is without its oldest " in text
    assert "The last write is cut short at byte " in text


def test_an_empty_trace_has_a_summary(tmp_path: Path) -> None:
    assert summary(tmp_path, [], argv="app.py") == "app.py: 0 operations of 0 events and 0 threads in 0 ns"


def test_the_sample_has_a_summary(tmp_path: Path) -> None:
    text = summary(tmp_path, sample())
    assert "event_0" in text
    assert "wrong-thread  1  and the other" in text


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([7], [7, 7, 7, 7]),
        ([3, 1, 2], [2, 3, 3, 3]),
        (range(1, 101), [50, 90, 99, 100]),
        (range(1, 1001), [500, 900, 990, 1000]),
        ([1] * 9 + [100], [1, 1, 100, 100]),
    ],
    ids=str,
)
def test_percentiles_are_by_nearest_rank(values: list[int], wanted: list[int]) -> None:
    assert percentiles(values) == wanted


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0 ns"),
        (999, "999 ns"),
        (1_000, "1.00 µs"),
        (12_345, "12.3 µs"),
        (999_400, "999 µs"),
        (999_999, "1.00 ms"),
        (1_500_000_000, "1.50 s"),
        (7_200_000_000_000, "7200 s"),
    ],
)
def test_durations_have_three_digits_and_a_unit(ns: int, text: str) -> None:
    assert duration(ns) == text
