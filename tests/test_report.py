"""What a campaign leaves: each number and name of a run is in its report, and none of them becomes markup."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from cpugpu.campaign import Fault, Item, Run, merge
from cpugpu.hammer import Failure, Latencies, Step
from cpugpu.report import charts, write_report
from cpugpu.report import html as html_report
from cpugpu.report.comparison import ABSENT, Change, compare, z_statistic
from cpugpu.report.html import render_html
from cpugpu.report.matrix import read_matrix
from cpugpu.report.summary import Verdict, skipped, verdict
from cpugpu.report.words import clean, duration, share
from tests.e2e.report_sample import (
    BAD,
    DYING,
    EVERY,
    GOOD,
    HOSTILE,
    LATENCIES,
    MATRIX,
    NASTY,
    NEVER,
    RACY,
    SCRIPT,
    STEPS,
    TAME,
    before,
    entry,
    failing,
    header,
    lanes,
    matrix_rows,
    outcome_rows,
    passing,
    result,
    sample,
    write_matrix,
)
from tests.html_tree import Node, Tree

#: All that a report is made of. What comes from a run must add nothing to it.
TAGS = {
    "html", "head", "meta", "title", "style", "body", "header", "main", "footer", "section", "h1", "h2", "h3", "h4",
    "p", "div", "span", "a", "dl", "dt", "dd", "ul", "li", "table", "caption", "thead", "tbody", "tr", "th", "td",
    "details", "summary", "figure", "figcaption", "fieldset", "legend", "label", "input", "pre", "code", "strong",
    "svg", "defs", "pattern", "path", "g", "rect", "line", "text",
}  # fmt: skip


def rendered(run: Run, **more: Any) -> Node:
    return Tree(render_html(run, **more)).root


def check_harmless(text: str) -> None:
    """Nothing of a run has become markup, nothing is loaded from elsewhere, and every character is allowed."""
    root = Tree(text).root
    elements = root.all()
    assert {node.tag for node in elements} <= TAGS
    for node in elements:
        assert not [name for name in node.attributes if name.startswith("on") or name in ("src", "srcset", "action")]
        assert node.attributes.get("href", "#").startswith("#")
    assert not re.search(r"@import|url\((?!#)", root.all("style")[0].text)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe]", text)
    policies = [node.attributes["content"] for node in root.all("meta") if "http-equiv" in node.attributes]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]


def cells(table: Node) -> list[list[str]]:
    rows = table.all("tbody")[0].all("tr")
    return [[cell.text for cell in row.children if isinstance(cell, Node)] for row in rows]


def item_of(run: Run) -> Item:
    return run.items[0]


# words


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0 s"), (1e-7, "100 ns"), (1.234e-5, "12.3 µs"), (0.9999e-3, "1.00 ms"), (60.0, "60.0 s"), (math.nan, "–")],
)
def test_durations_have_three_digits(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("times", "of", "text"),
    [(0, 9, "0.0%"), (9, 9, "100.0%"), (54, 200, "27.0%"), (1, 100_000, "0.001%"), (99_999, 100_000, "99.999%"),
     (0, 0, "0.0%")],
)  # fmt: skip
def test_some_is_never_shown_as_none(times: int, of: int, text: str) -> None:
    assert share(times, of) == text


def test_characters_that_html_and_xml_forbid_become_visible() -> None:
    assert clean("a\x00\x1b\r\x85\ud800\ufffe\n\tµ→😀") == "a\\x00\\x1b\\x0d\\x85\\ud800\\ufffe\n\tµ→😀"


# verdicts


def test_verdicts() -> None:
    verdicts = {item.target: verdict(item) for item in sample().items}
    assert verdicts == {
        GOOD: Verdict.PASSED,
        RACY: Verdict.PASSED,
        BAD: Verdict.FAILED,
        TAME: Verdict.FAILED,
        HOSTILE: Verdict.FAILED,
        NEVER: Verdict.NOT_RUN,
        **dict.fromkeys(DYING.values(), Verdict.FAULT),
    }


def test_a_failure_that_is_the_machines_is_a_fault() -> None:
    failure = Failure("raises MemoryError", "a thread raised", 3, "", listed=False, seed=7)
    row = ("raises MemoryError", 1, "forbidden", "a thread raised")
    poor = result(GOOD, row, failures=[failure], latencies=Latencies())
    no_memory = entry(GOOD, poor, Fault("out of memory", "execution 3"))
    assert verdict(item_of(Run(entries=[no_memory]))) is Verdict.FAULT
    assert verdict(item_of(Run(entries=[no_memory, entry(GOOD, poor)]))) is Verdict.FAULT
    other = replace(poor, failures=[replace(failure, outcome="raises ValueError")])
    assert verdict(item_of(Run(entries=[no_memory, entry(GOOD, other)]))) is Verdict.FAILED


@pytest.mark.parametrize(("of", "wanted"), [(BAD, Verdict.FAILED), (RACY, Verdict.FAULT)])
def test_a_forbidden_outcome_beside_a_fault_is_a_failure_unless_it_was_wanted(of: Any, wanted: Verdict) -> None:
    run = Run(entries=[failing(of), entry(of, None, Fault("killed", "by SIGKILL"), number=1, seed=8)])
    assert verdict(item_of(run)) is wanted


def test_what_one_part_skipped_and_another_ran_was_not_skipped() -> None:
    run = merge([Run([header(skipped=((GOOD.nodeid, "no GPU"), (BAD.nodeid, "no GPU")))]), Run([header(GOOD)])])
    assert skipped(run) == {BAD.nodeid: "no GPU"}


# HTML


def test_outcome_tables_are_those_of_the_run() -> None:
    tables = {node.attributes["data-item"]: cells(node) for node in rendered(sample()).all("table", "outcome-table")}
    wanted = outcome_rows(sample())
    assert tables == {
        nodeid: [[" ".join(cell.split()) for cell in row] for row in rows] for nodeid, rows in wanted.items()
    }
    assert len(tables) == 5


def test_nothing_of_a_run_becomes_markup(tmp_path: Path) -> None:
    write_matrix(tmp_path)
    check_harmless(render_html(sample(), previous=before(), matrix=read_matrix(tmp_path)))
    check_harmless(render_html(Run([header(*EVERY, device=NASTY, command=NASTY, started=NASTY)], sample().entries)))
    check_harmless(render_html(before(), previous=sample(), matrix_error=NASTY))


def test_without_autoescape_that_check_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    careless = html_report.environment().overlay(autoescape=False)
    monkeypatch.setattr(html_report, "environment", lambda: careless)
    with pytest.raises(AssertionError):
        check_harmless(render_html(sample()))


def test_without_the_visible_characters_that_check_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    careless = html_report.environment().overlay(finalize=lambda value: value)
    monkeypatch.setattr(html_report, "environment", lambda: careless)
    with pytest.raises(AssertionError):
        check_harmless(render_html(sample()))


def test_hostile_names_are_shown_as_text() -> None:
    root = rendered(sample())
    (item,) = root.all("details", "item", item=clean(HOSTILE.nodeid))
    assert item.all("h3")[0].text == " ".join(clean(HOSTILE.title).split())
    assert item.all("section", "failure")[0].attributes["data-outcome"] == clean(NASTY)
    assert f"A story with {SCRIPT}" in item.text


def test_each_failure_and_fault_has_its_replay_line() -> None:
    root = rendered(sample())
    for item in sample().items:
        (shown,) = root.all("details", "item", item=clean(item.target.nodeid))
        lines = [code.text for node in shown.all("p", "replay") for code in node.all("code")]
        wanted = [] if item.passed else [" ".join(clean(line).split()) for line in item.replays]
        assert lines == wanted


def test_what_did_not_pass_comes_first_and_open() -> None:
    items = rendered(sample()).all("details", "item")
    verdicts = [node.attributes["data-verdict"] for node in items]
    assert verdicts == ["failed"] * 3 + ["fault"] * 6 + ["not run"] + ["passed"] * 2
    assert [("open" in node.attributes) for node in items] == [True] * 10 + [False] * 2


def test_the_summary_counts() -> None:
    root = rendered(sample())
    counts = {node.attributes["data-count"]: node.all("dd")[0].text for node in root.all("dl", "cards")[0].all("div")}
    assert counts == {"failed": "3", "fault": "6", "not run": "1", "passed": "2", "skipped": "1",
                      "executions": "3,500", "hand-offs": f"{4 * LATENCIES.total:,}"}  # fmt: skip
    assert cells(root.all("table", "skipped-table")[0])[0][0] == f"stress/stress_gpu.py::{SCRIPT}"


def test_a_story_keeps_its_code_apart() -> None:
    (item,) = rendered(sample()).all("details", "item", item=GOOD.nodeid)
    assert [node.text for node in item.all("div", "story")[0].all("code")] == ["cell"]
    assert [node.text for node in item.all("div", "story")[0].all("pre")] == [
        "producer: fill, record consumer: wait, copy"
    ]


def test_a_run_without_anything_can_be_shown() -> None:
    root = rendered(Run(), previous=Run())
    assert "No scenario was planned." in root.all("header")[0].text
    assert root.all("table") == []


def test_the_parts_of_a_merged_run_are_all_told() -> None:
    parts = [
        Run([header(GOOD, BAD, part=f"{number}/3", device=f"device {number}")], [failing(BAD, seed=number)])
        for number in (1, 2, 3)
    ]
    parts[1].entries.append(passing(GOOD))
    root = rendered(merge(parts))
    assert [f"device {number}" in node.text for number, node in enumerate(root.all("div", "run"), 1)] == [True] * 3
    (table,) = root.all("table", "outcome-table", item=BAD.nodeid)
    assert cells(table)[1][:3] == ["stale", "162", "27.0%"]
    assert len(root.all("details", "item")) == 2


# drawings


def test_a_bar_a_bucket_and_the_percentiles_are_those_of_the_latencies() -> None:
    (figure,) = rendered(sample()).all("figure", "latency", item=GOOD.nodeid)
    titles = [node.all("title")[0].text for node in figure.all("rect", "bucket")]
    wanted_ends = [f"{duration(upper)}: {times:,}" for upper, times in LATENCIES.buckets()]
    assert [title.partition(" to ")[2] for title in titles] == wanted_ends
    shown = {node.all("dt")[0].text: node.all("dd")[0].text for node in figure.all("dl")[0].all("div")}
    wanted = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99.9": 99.9, "max": 100.0}
    assert shown == {name: f"≤ {duration(LATENCIES.percentile(percent))}" for name, percent in wanted.items()}


@pytest.mark.parametrize("counts", [{0: 1}, {3: 5}, {120: 1}, {number: number + 1 for number in range(90)}])
def test_histograms_stay_in_their_frame(counts: dict[int, int]) -> None:
    drawing = charts.histogram(Latencies(counts))
    for bar in drawing.bars:
        assert charts.LEFT - 0.1 <= bar.x <= bar.x + bar.width <= charts.RIGHT + 0.1
        assert drawing.top <= bar.y <= bar.y + bar.height <= drawing.bottom + 0.1
    assert len(drawing.ticks) >= 2


def test_a_timeline_has_a_lane_a_thread_and_stream_and_a_bar_a_step() -> None:
    (item,) = rendered(sample()).all("details", "item", item=BAD.nodeid)
    drawn = {
        lane.attributes["data-lane"]: [
            " ".join(text.text for text in step.all("text")) for step in lane.all("g", "step")
        ]
        for lane in item.all("g", "lane")
    }
    assert drawn == lanes()
    assert list(drawn) == list(lanes())
    assert [node.all("title")[0].text for node in item.all("g", "unfinished")] == [
        f"wait {SCRIPT}: began 70.0 µs, never ended"
    ]


def test_bars_lie_where_and_as_long_as_the_steps() -> None:
    drawing = charts.timeline([step for step in STEPS if step.ended is not None])
    spans = {span.title.partition(":")[0]: span for lane in drawing.lanes for span in lane.spans}
    scale = (charts.RIGHT - spans["fill cell←1"].x) / (95e-6 - 40e-6)
    for step in STEPS[:6]:
        assert spans[step.what].width == pytest.approx(((step.ended or 0.0) - step.began) * scale)
        assert spans[step.what].x == pytest.approx(charts.RIGHT - (95e-6 - step.began) * scale)


def test_a_step_that_never_ended_reaches_the_edge() -> None:
    (hung,) = [span for lane in charts.timeline(STEPS).lanes for span in lane.spans if span.unfinished]
    assert hung.x + hung.width == pytest.approx(charts.RIGHT)


@pytest.mark.parametrize("count", [1, 3, 40, 400])
def test_no_bar_is_left_out_and_no_label_lies_on_another(count: int) -> None:
    steps = [Step("worker", "thread", f"record event {number}", number * 1e-5, number * 1e-5 + 4e-6)
             for number in range(count)]  # fmt: skip
    (lane,) = charts.timeline([*steps, Step("worker", "thread", "wait", count * 1e-5, None)]).lanes
    assert len(lane.spans) == count + 1
    assert lane.height < 200
    rows: dict[float, list[tuple[float, float]]] = {}
    for span in (span for span in lane.spans if span.label):
        length = len(span.label) * (6 if span.anchor == "start" else -6)
        ends = (span.x, span.x + span.width, span.label_x, span.label_x + length)
        rows.setdefault(span.y, []).append((min(ends), max(ends)))
    for taken in map(sorted, rows.values()):
        assert all(one[1] <= other[0] for one, other in pairwise(taken))


def test_a_bar_without_room_for_its_label_makes_none_for_others() -> None:
    crowd = [Step("worker", "thread", f"a label of some length {number}", 1e-6, 2e-6) for number in range(9)]
    late = Step("worker", "thread", "late", 10e-6, 11e-6)
    (lane,) = charts.timeline([*crowd, late, Step("worker", "thread", "end", 100e-6, 101e-6)]).lanes
    assert [span.label for span in lane.spans[8:]] == ["", "", "end"]


def test_a_timeline_in_which_no_time_passes_can_be_drawn() -> None:
    drawing = charts.timeline(
        [Step("worker", "thread", "record", 0.0, 0.0), Step("other", "thread", "wait", 0.0, None)]
    )
    assert all(math.isfinite(span.x) and span.width > 0 for lane in drawing.lanes for span in lane.spans)


# mutants


def test_the_matrix_is_that_of_the_file(tmp_path: Path) -> None:
    write_matrix(tmp_path)
    root = Tree(write_report(sample(), tmp_path).read_text()).root
    (table,) = root.all("table", "mutant-table")
    assert cells(table) == matrix_rows()
    assert [node.text for node in table.all("thead")[0].all("th")] == [
        "mutant", "hammer killed 1 of 2", "rules killed 1 of 2", "baseline killed 0 of 2"
    ]  # fmt: skip
    assert root.all("ul", "survivors")[0].text == f"Never{SCRIPT} : Under the GIL nobody can see it."


@pytest.mark.parametrize(
    ("text", "told"),
    [("{", "JSONDecodeError"), ("[]", "TypeError"), ('{"version": 2}', "version 2"), ('{"version": 1}', "'device'"),
     (json.dumps({**MATRIX, "rows": [1]}), "TypeError"), ("\udcff", "UnicodeDecodeError")],
)  # fmt: skip
def test_a_broken_matrix_is_a_line_of_the_report(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "mutants.json").write_bytes(text.encode(errors="surrogateescape"))
    root = Tree(write_report(sample(), tmp_path).read_text()).root
    assert told in root.all("p", "matrix-error")[0].text
    assert len(root.all("details", "item")) == len(EVERY)


# comparison


def changes(old: Run, new: Run) -> dict[str, Change]:
    return {change.nodeid: change for change in compare(old, new).changes}


def test_a_run_compared_with_itself_has_not_changed() -> None:
    comparison = compare(sample(), sample())
    assert comparison.changes == []
    assert comparison.unchanged == len(EVERY) + 1  # the one that was skipped


def test_what_has_changed_is_told() -> None:
    found = changes(before(), sample())
    assert (found[BAD.nodeid].before, found[BAD.nodeid].now) == ("passed", "failed")
    assert found[BAD.nodeid].appeared == ["stale"]
    assert found[GOOD.nodeid].before == found[GOOD.nodeid].now == "passed"
    assert [(each.outcome, round(each.z)) for each in found[GOOD.nodeid].shares] == [("fresh", -6), ("late", 6)]
    assert found[NEVER.nodeid].before == ABSENT
    assert RACY.nodeid not in found
    back = changes(sample(), before())
    assert back[BAD.nodeid].gone == ["stale"]
    assert back[NEVER.nodeid].now == ABSENT


def test_what_was_not_executed_has_not_got_rid_of_an_outcome() -> None:
    lost = Run([header(BAD)], [entry(BAD, None, Fault("killed", "by SIGKILL"))])
    change = changes(Run([header(BAD)], [failing(BAD)]), lost)[BAD.nodeid]
    assert (change.now, change.gone, change.shares) == ("fault", [], [])


@pytest.mark.parametrize(("late", "told"), [(60, False), (105, True)])
def test_noise_is_not_told(late: int, told: bool) -> None:
    """50 of 2,000 before: a standard deviation of the difference is about 10."""
    old = Run(entries=[passing(GOOD, times=1950, late=50)])
    new = Run(entries=[passing(GOOD, times=2000 - late, late=late)])
    assert abs(z_statistic((50, 2000), (late, 2000))) == pytest.approx({60: 0.97, 105: 4.51}[late], abs=0.02)
    assert bool(compare(old, new).changes) is told


def test_the_comparison_is_shown() -> None:
    root = rendered(sample(), previous=before())
    (table,) = root.all("table", "comparison-table")
    rows = {row.attributes["data-item"]: row.text for row in table.all("tbody")[0].all("tr")}
    assert "✓ passed → ✕ failed 2,000 → 200 forbidden outcome stale is new" in rows[BAD.nodeid]
    assert "1 scenario has not changed" in root.text
