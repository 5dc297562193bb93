"""What parts on different devices have measured, and outcomes that look alike, are not added up; and what is told
where nothing was found out."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

from cpugpu.campaign import Entry, Run, merge
from cpugpu.hammer import Failure, Latencies, Result, Row
from cpugpu.hammer.result import combine
from cpugpu.report import item_text, outcome_table
from cpugpu.report.comparison import compare
from cpugpu.report.html import render_html
from cpugpu.report.junit import render_junit
from cpugpu.report.machine import document
from cpugpu.report.summary import headline
from cpugpu.rig import Grade
from tests.e2e.report_sample import BAD, NEVER, TAME, entry, failing, header, passing, result


def on_gpu(of: Entry, device: str = "cuda:1") -> Entry:
    """The same shard, run on an accelerator."""
    assert of.result is not None
    found = replace(of.result, device=device, failures=[replace(each, device="") for each in of.result.failures])
    replay = of.replay.replace("=sim", "=accelerator")
    return Entry(replace(of.shard, device="accelerator", replay=replay), found, None, replay)


def both() -> Run:
    return merge(
        [Run([header(BAD)], [passing(BAD)]), Run([header(BAD, device="cuda:1")], [on_gpu(failing(BAD, seed=9))])]
    )


def test_each_device_has_an_item_of_its_own() -> None:
    sim, gpu = both().items
    assert (sim.target.title, sim.passed) == (f"{BAD.title} on sim", True)
    assert (gpu.target.title, gpu.passed) == (f"{BAD.title} on accelerator", False)
    assert sim.result is not None
    assert gpu.result is not None
    assert (sim.result.executions, gpu.result.executions) == (2000, 200)
    assert (sim.result.device, gpu.result.device) == ("sim", "cuda:1")
    assert gpu.replays == [f"cpugpu stress '{BAD.path}::{BAD.title}' --stress-device=accelerator --stress-seed=9@14"]


def test_both_are_in_every_report() -> None:
    run = both()
    assert [each["title"] for each in document(run)["items"]] == [f"{BAD.title} on sim", f"{BAD.title} on accelerator"]
    names = [case.attrib["name"] for case in ElementTree.fromstring(render_junit(run)).iter("testcase")]
    assert names == [f"{BAD.title} on sim", f"{BAD.title} on accelerator"]
    assert "First seen in execution 14 on cuda:1, seed 9." in render_html(run)
    assert [change.title for change in compare(Run(), run).changes] == names
    text = item_text(run.items[1])
    assert "first seen in execution 14 on cuda:1, seed 9" in text
    assert "--stress-device=accelerator --stress-seed=9@14" in text


def test_a_failure_keeps_the_device_that_it_was_seen_on() -> None:
    """Two of one campaign's accelerators: added up, since a scenario runs on either."""
    (item,) = Run(entries=[on_gpu(failing(BAD), "cuda:0"), on_gpu(failing(BAD, "torn", seed=8), "cuda:1")]).items
    assert item.result is not None
    assert item.result.device == "cuda:0, cuda:1"
    assert [failure.device for failure in item.result.failures] == ["cuda:0", "cuda:1"]
    text = item_text(item)
    assert "on cuda:0, seed 7" in text
    assert "on cuda:1, seed 8" in text


def test_each_failure_has_the_replay_line_of_its_own_shard_in_the_text() -> None:
    one, other = failing(BAD), replace(failing(BAD, "torn", seed=8), replay="cpugpu stress other")
    text = item_text(Run(entries=[one, other]).items[0])
    assert f"  replay: {one.replay} --stress-seed=7@14\n" in text
    assert text.endswith("  replay: cpugpu stress other --stress-seed=8@14")


def test_a_result_of_an_older_file_knows_the_device_of_its_failures() -> None:
    found = failing(BAD).result
    assert found is not None
    data = found.to_dict()
    for failure in data["failures"]:
        del failure["device"]
    assert Result.from_dict(data) == found


def numbers(*rows: Row, failures: list[Failure]) -> Result:
    executions = sum(row.times for row in rows)
    return Result("s", "sim", 0, executions, 1.0, racy=False, rows=list(rows), failures=failures)


def test_a_forbidden_outcome_that_looks_like_an_accepted_one_stays_apart() -> None:
    """1 is accepted, "1" is not."""
    failure = Failure("1", "not among the listed outcomes", 3, "", listed=False)
    right, wrong = Row("1", 5, Grade.ACCEPTED, ""), Row("1", 2, Grade.FORBIDDEN, "not among the listed outcomes")
    found = combine([numbers(right, failures=[]), numbers(right, wrong, failures=[failure])])
    assert [(row.times, row.grade) for row in found.rows] == [(10, Grade.ACCEPTED), (2, Grade.FORBIDDEN)]
    table = outcome_table(found).splitlines()
    assert [line.split()[1:4] for line in table[2:]] == [["10", "83.3%", "accepted"], ["2", "16.7%", "forbidden"]]


def tame(executions: int) -> Run:
    found = result(TAME, ("fresh", executions, "accepted", ""), latencies=Latencies())
    return Run(entries=[entry(TAME, found)])


def test_a_racy_scenario_that_had_no_chance_is_told_so_and_is_a_failure_of_the_run() -> None:
    (item,) = tame(3).items
    assert item.result is not None
    assert not item.passed
    assert item_text(item) == (
        f"{TAME.title} had NOT ENOUGH TIME: it is racy and showed no forbidden outcome in 3 executions;"
        " give it more with --stress-seconds"
    )
    assert outcome_table(item.result).startswith(f"{TAME.title}: NOT ENOUGH TIME to show that it is racy (3 executions")
    assert headline(item) == "not enough time: it is racy and showed no forbidden outcome"
    assert ElementTree.fromstring(render_junit(tame(3))).attrib["failures"] == "1"


def test_a_racy_scenario_that_had_its_chance_has_failed() -> None:
    (item,) = tame(900).items
    assert item_text(item) == f"{TAME.title} FAILED: it is racy and showed no forbidden outcome in 900 executions"
    assert headline(item) == "it is racy and showed no forbidden outcome"


def test_a_scenario_without_a_result_is_given_no_reason_that_nobody_knows() -> None:
    (item,) = Run([header(NEVER)]).items
    reason = "there is no result of it: the time was up, the run was ended, or its results were lost"
    assert headline(item) == reason
    assert item_text(item) == f"{NEVER.title} FAILED: {reason}"
