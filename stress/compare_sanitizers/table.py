"""Both sanitizers on all programs, as a page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stress.compare_sanitizers.programs import PROGRAMS, Body, Program
from stress.compare_sanitizers.trace import Trace, Verdicts

#: What was measured on a GPU last.
MEASURED = Path(__file__).parents[2] / "benchmarks" / "results" / "sanitizers-gpu.json"


@dataclass(frozen=True)
class Row:
    """What both have said about a program, None where there is no buggy form."""

    program: Program
    buggy: Verdicts | None
    clean: Verdicts

    @property
    def right(self) -> bool:
        """Did ours find the bug, under its name, and nothing else?"""
        return (self.buggy is None or self.buggy.ours == [self.program.rule]) and not self.clean.ours


def compare() -> list[Row]:
    """Run all of them."""
    rows = []
    for program in PROGRAMS:
        buggy = None if program.buggy is None else _run(program.buggy)
        rows.append(Row(program, buggy, _run(program.clean)))
    return rows


def _run(body: Body) -> Verdicts:
    trace = Trace()
    body(trace)
    return trace.verdicts()


def table(rows: Sequence[Row]) -> str:
    """The page, in Markdown."""
    import torch

    lines = [
        "# The sanitizer beside CSAN",
        "",
        "`make compare-sanitizers` writes this page. Each hazard is a buggy program and its clean twin, in",
        "`stress/compare_sanitizers/programs.py`; below them are harmless programs. Both sanitizers are told the same",
        f"operations on the CPU; CSAN is `torch.cuda._sanitizer.EventHandler` of torch {torch.__version__}, told what",
        "its hooks and its dispatch mode would tell it on a GPU (`trace.py` says how). What both say on a real one is",
        "below.",
        "",
        "| program | cpugpu: buggy | clean | CSAN: buggy | clean |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        buggy = row.buggy
        cells = [
            row.program.title,
            "" if buggy is None else ", ".join(f"`{rule}`" for rule in buggy.ours) or "missed",
            "silent" if not row.clean.ours else f"false alarm: {', '.join(row.clean.ours)}",
            "" if buggy is None else "found" if buggy.csan else "missed",
            "false alarm" if row.clean.csan else "silent",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    bugs = [row.buggy for row in rows if row.buggy is not None]
    found = sum(bool(buggy.ours) for buggy in bugs), sum(bool(buggy.csan) for buggy in bugs)
    alarms = sum(bool(row.clean.ours) for row in rows), sum(bool(row.clean.csan) for row in rows)
    lines += [
        "",
        f"Of {len(bugs)} bugs cpugpu finds {found[0]} and CSAN {found[1]}.",
        f"Of {len(rows)} clean programs cpugpu raises a false alarm for {alarms[0]} and CSAN for {alarms[1]}.",
    ]
    return "\n".join([*lines, "", *_on_a_gpu(json.loads(MEASURED.read_text()))]) + "\n"


def _on_a_gpu(measured: dict[str, Any]) -> list[str]:
    """What was measured on one: the programs where it differs from the table above, and all totals."""
    totals, subjects = measured["totals"], measured["subjects"]
    lines = [
        "## On a GPU",
        "",
        "The same programs done by torch's own calls, and the snippets of `tests/corpus`, each form once, in a process",
        f"of its own, on {measured['accelerator']} with torch {measured['torch']}, {measured['date']}",
        f"(`{measured['command']}`, `benchmarks/results/{MEASURED.name}`).",
        "",
        "| | buggy: programs | found | no end | clean: programs | false alarms | no end |",
        "|---|---|---|---|---|---|---|",
    ]
    for under in ("cpugpu", "CSAN"):
        cells = [
            str(totals[f"{under}, {form}"][what])
            for form in ("buggy", "clean")
            for what in ("programs", "found", "failed")
        ]
        lines.append(f"| {under} | {' | '.join(cells)} |")
    lines += ["", "cpugpu finds nothing in the buggy form of"]
    for name, entry in subjects.items():
        buggy = entry.get("buggy", {}).get("cpugpu")
        if buggy is not None and not buggy.get("found"):
            lines.append(f"* {name}: {entry['why_not'] or buggy['not_run']}")
    lines += ["", "CSAN raises a false alarm for"]
    lines += [f"* {name}" for name, entry in subjects.items() if entry["clean"]["CSAN"].get("found")]
    lines += [
        "",
        "One cause of a run without an end, seen in our own before its mend: two threads make their first streams at",
        "once. Torch makes the pool of a device in a `call_once` in which its trace hooks, which both sanitizers use,",
        "take the GIL. Under cpugpu one thread at a time makes streams.",
    ]
    return lines
