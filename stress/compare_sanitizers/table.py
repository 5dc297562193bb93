"""Both sanitizers on all programs, as a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stress.compare_sanitizers.programs import PROGRAMS, Body, Program
from stress.compare_sanitizers.trace import Trace, Verdicts


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
        "its hooks and its dispatch mode would tell it on a GPU (`trace.py` says how). Nothing here ran on a GPU.",
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
    return "\n".join(lines) + "\n"
