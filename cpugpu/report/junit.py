"""A run as JUnit XML, for CI: a testcase a scenario.

A forbidden outcome is a failure. A shard that died, or a scenario that never ran, is an error: the scenario may be
right. Both may be in one testcase; the counts have it once, as a failure.
"""

from __future__ import annotations

from xml.etree import ElementTree

from cpugpu.campaign import Item, Run
from cpugpu.report.summary import Verdict, described, headline, skipped, totals, verdict
from cpugpu.report.text import fault_text, item_text, not_shown_text, outcome_table
from cpugpu.report.words import clean


def render_junit(run: Run) -> bytes:
    """The document, in UTF-8."""
    sums = totals(run)
    counts = {
        "tests": str(sums.items + sums.skipped),
        "failures": str(sums.verdicts[Verdict.FAILED]),
        "errors": str(sums.verdicts[Verdict.FAULT] + sums.verdicts[Verdict.NOT_RUN]),
        "skipped": str(sums.skipped),
        "time": f"{sums.seconds:.3f}",
    }
    suites = ElementTree.Element("testsuites", counts)
    suite = _child(suites, "testsuite", name="cpugpu stress", **counts)
    if run.headers:
        suite.set("timestamp", clean(run.headers[0].started))
        properties = _child(suite, "properties")
        for header in run.headers:
            for name in ("command", "device", "machine", "python", "torch", "seed", "part"):
                _child(properties, "property", name=name, value=str(getattr(header, name)))
    for item in run.items:
        _testcase(suite, item)
    for nodeid, reason in skipped(run).items():
        file, _, title = nodeid.partition("::")
        case = _child(suite, "testcase", classname=file, name=title or file, time="0.000")
        _child(case, "skipped", message=reason)
    data: bytes = ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)
    return data


def _testcase(suite: ElementTree.Element, item: Item) -> None:
    target, result = item.target, item.result
    case = _child(
        suite,
        "testcase",
        classname=target.nodeid.partition("::")[0],
        name=target.title or target.nodeid,
        time=f"{result.seconds if result is not None else 0.0:.3f}",
    )
    found = described(item)
    if verdict(item) is Verdict.FAILED and result is not None:
        text = "\n".join(each.text for each in found) or not_shown_text(result)
        _child(case, "failure", text, message=headline(item), type="forbidden outcome" if found else "not shown")
    for entry in item.faults:
        assert entry.fault is not None
        _child(case, "error", fault_text(entry), message=entry.fault.text, type=entry.fault.kind)
    if verdict(item) is Verdict.NOT_RUN:
        _child(case, "error", item_text(item), message=headline(item), type="not run")
    if result is not None and result.executions:
        _child(case, "system-out", outcome_table(result))


def _child(parent: ElementTree.Element, tag: str, text: str = "", /, **attributes: str) -> ElementTree.Element:
    child = ElementTree.SubElement(parent, tag, {name: clean(value) for name, value in attributes.items()})
    child.text = clean(text) or None
    return child
