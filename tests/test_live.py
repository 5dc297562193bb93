"""The display of a campaign that is under way, as a terminal shows it."""

from __future__ import annotations

import io
import re
import time
from dataclasses import replace

import pytest

from cpugpu.campaign import Progress, Shard
from cpugpu.report.live import Lines, Live, Tally
from tests.e2e.report_sample import BAD, GOOD, entry, failing, passing

rich = pytest.importorskip("rich")


def shard(number: int) -> Shard:
    return replace(entry(GOOD, None).shard, number=number)


def shown(width: int, monkeypatch: pytest.MonkeyPatch, *, height: int = 25, running: int = 2) -> list[str]:
    """The lines of the last picture, without colours."""
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("LINES", str(height))
    file = io.StringIO()
    live = Live(Tally(3600.0, time.monotonic()), file)
    for number in range(2, 2 + running):
        live.started(shard(number))
        live.progressed(Progress(number, 1000, {"fresh": 990, "late": 10}))
    live.ended(passing(GOOD))
    live.ended(failing(BAD))
    file.seek(0)
    file.truncate()
    live.close()
    plain = re.sub("\x1b\\[[0-9;?]*[a-zA-Z]", "", file.getvalue().replace("\r", ""))
    return [line.rstrip() for line in plain.splitlines()]


@pytest.mark.parametrize("width", [40, 120])
def test_the_counts_are_on_the_screen(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown(width, monkeypatch)
    assert max(map(len, lines)) <= width
    text = " ".join(lines)
    assert re.search(r"(3600|3599|35\d\d) s left, 2 shards, 2 scenarios, 4,200 executions \([\d,]+/s\), 1 failed", text)
    assert "hand_off[Cpu" in text
    assert "━" * (width // 2) in text
    bar = next(line for line in lines if "━" in line)
    assert set(bar) <= set("━╸╺"), "the bar has a line of its own"


def test_outcomes_are_beside_the_scenarios_that_run(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown(120, monkeypatch)
    rows = [line for line in lines if line.startswith("hand_off")]
    assert [row.split()[1:] for row in rows] == [["fresh", "2,963", "late", "37"]] * 2


def test_a_screen_that_is_too_low_shows_the_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "1 failed" in " ".join(shown(120, monkeypatch, height=6, running=64))


def test_scenarios_of_one_name_in_two_files_are_two() -> None:
    tally = Tally(10.0, 0.0)
    for number, of in enumerate((BAD, replace(BAD, nodeid=BAD.nodeid.replace("sample", "other")))):
        told = tally.ended_with(failing(of))
        assert "FAILED" in told, number
    assert len(tally.failed) == len(tally.outcomes) == 2


def test_a_log_gets_the_same_line() -> None:
    said: list[str] = []
    tally = Tally(3600.0, time.monotonic() - 60.0)
    lines = Lines(tally, said.append)
    lines.ended(passing(GOOD))
    lines.tick()
    assert [line.partition(" s left, ")[2].partition(" (")[0] for line in said] == [
        "1 shards, 1 scenarios, 2,000 executions"
    ]
