"""What a campaign leaves for CI and for machines, and how the files are written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from cpugpu.campaign import Fault, Run
from cpugpu.report import write_report
from cpugpu.report.junit import render_junit
from cpugpu.report.machine import document, render_json
from cpugpu.report.summary import totals
from cpugpu.report.words import clean
from tests.e2e.report_sample import (
    BAD,
    DYING,
    EVERY,
    GOOD,
    HOSTILE,
    LATENCIES,
    NASTY,
    NEVER,
    SCRIPT,
    STEPS,
    TAME,
    before,
    entry,
    failing,
    sample,
)


def cases(run: Run) -> dict[str, ElementTree.Element]:
    return {case.attrib["name"]: case for case in ElementTree.fromstring(render_junit(run)).iter("testcase")}


def test_junit_has_a_testcase_an_item() -> None:
    found = cases(sample())
    assert set(found) == {clean(of.title) for of in EVERY} | {SCRIPT}
    assert found[BAD.title].attrib == {"classname": "stress/stress_sample.py", "name": BAD.title, "time": "2.500"}
    assert [child.tag for child in found[GOOD.title]] == ["system-out"]
    assert [child.tag for child in found[BAD.title]] == ["failure", "system-out"]
    text = found[BAD.title].findtext("failure") or ""
    assert text.endswith(f"replay: {sample().items[1].replays[0]}")
    assert "| expected: 1" in text
    assert found[TAME.title].find("failure") is not None
    assert found[SCRIPT].find("skipped").attrib["message"] == clean(f"needs an accelerator & {NASTY}")  # type: ignore[union-attr]
    for kind, of in DYING.items():
        (error,) = found[of.title].findall("error")
        assert error.attrib["type"] == kind
        assert "--stress-seed=7" in (error.text or "")
    assert found[NEVER.title].find("error") is not None


def test_junit_of_nothing() -> None:
    assert ElementTree.fromstring(render_junit(Run())).attrib["tests"] == "0"


def test_junit_counts_each_testcase_once() -> None:
    run = sample()
    run.entries.append(entry(BAD, None, Fault("killed", "by SIGKILL"), number=9))
    root = ElementTree.fromstring(render_junit(run))
    for suite in (root, root[0]):
        numbers = {name: int(suite.attrib[name]) for name in ("tests", "failures", "errors", "skipped")}
        assert numbers == {"tests": 13, "failures": 3, "errors": 7, "skipped": 1}


def test_without_the_visible_characters_junit_is_no_xml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cpugpu.report.junit.clean", lambda text: text.replace("\ud800", ""))
    with pytest.raises(ElementTree.ParseError):
        ElementTree.fromstring(render_junit(sample()))


def test_the_document_for_machines_holds_the_run() -> None:
    run = sample()
    data = json.loads(render_json(run))
    assert data == document(run)
    assert (data["version"], data["passed"]) == (1, False)
    assert data["totals"] == {"items": 12, "failed": 3, "fault": 6, "not_run": 1, "passed": 2, "skipped": 1,
                              "executions": 3500, "hand_offs": 4 * LATENCIES.total, "seconds": 12.5}  # fmt: skip
    assert data["totals"]["seconds"] == totals(run).seconds
    assert data["headers"][0]["device"] == run.headers[0].device
    by_nodeid = {each["nodeid"]: each for each in data["items"]}
    bad = by_nodeid[BAD.nodeid]
    assert [(row["outcome"], row["times"], row["share"]) for row in bad["outcomes"]] == [
        ("fresh", 146, 0.73), ("stale", 54, 0.27)
    ]  # fmt: skip
    assert bad["failures"][0]["replay"].endswith("--stress-seed=7@14")
    assert bad["failures"][0]["steps"][6] == {**STEPS[6]._asdict(), "ended": None}
    assert bad["latency_seconds"]["p99.9"] == LATENCIES.percentile(99.9)
    assert by_nodeid[TAME.nodeid]["latency_seconds"] is None
    assert by_nodeid[HOSTILE.nodeid]["outcomes"][1]["outcome"] == NASTY
    assert by_nodeid[DYING["hung"].nodeid]["faults"][0]["kind"] == "hung"


def test_every_failure_of_a_merged_run_has_the_replay_line_of_its_own_shard() -> None:
    first, second = failing(BAD, "stale", seed=8), failing(BAD, "torn", seed=9)
    failures = document(Run(entries=[first, second]))["items"][0]["failures"]
    assert [each["replay"].rpartition("=")[2] for each in failures] == ["8@14", "9@14"]


def test_files_are_replaced_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "not" / "there"
    index = write_report(sample(), folder, previous=before())
    assert index == folder / "index.html"
    old = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(old) == {"index.html", "junit.xml", "results.json"}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_report(Run(), folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == old


def test_who_writes_no_report_loads_no_jinja() -> None:
    code = "import cpugpu.report, sys; sys.exit('jinja2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
