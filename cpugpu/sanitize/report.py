"""The findings for people and for programs."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping

from cpugpu.sanitize.findings import MOST, Finding, Findings, Side
from cpugpu.sanitize.places import Place
from cpugpu.sanitize.registry import RULES

_WIDTH = 118
_LABEL = 10


def text(findings: Findings, blind_spots: Mapping[str, int] | None = None) -> str:
    """Each finding as a compiler would print it; the last lines have the count, and what to do."""
    parts = [_finding(finding) for finding in findings]
    parts.append("\n".join(_end(findings, blind_spots or {})))
    return "\n\n".join(parts)


def one(finding: Finding) -> str:
    """One finding."""
    return _finding(finding)


def as_json(findings: Findings, blind_spots: Mapping[str, int] | None = None) -> str:
    """The same as JSON."""
    return json.dumps(
        {
            "version": 1,
            "findings": [finding.as_dict() for finding in findings],
            "suppressed": findings.suppressed,
            "dropped": findings.dropped,
            "blind_spots": dict(sorted((blind_spots or {}).items())),
        },
        indent=2,
    )


def _finding(finding: Finding) -> str:
    place = finding.first.place
    times = f" ({finding.count:,} times)" if finding.count > 1 else ""
    lines = [f"{_short(place)}: {finding.rule}: {finding.first.what}{times}"]
    lines += _field("here", _where(finding.first))
    if finding.second is not None:
        lines += _field("there", f"{finding.second.what}, at {_short(finding.second.place)}")
        lines += _field("", _where(finding.second))
    lines += _field("missing", finding.missing)
    for note in finding.notes:
        lines += _field("note", note)
    lines += _field("fix", finding.fix)
    lines += _field("rule", RULES[finding.rule].sentence)
    return "\n".join(lines)


def _end(findings: Findings, blind_spots: Mapping[str, int]) -> list[str]:
    lines = []
    if blind_spots:
        lines.append("Not seen, so nothing is said about it:")
        width = max(len(f"{times:,}") for times in blind_spots.values())
        lines += [f"  {times:>{width},} × {what}" for what, times in sorted(blind_spots.items())]
    if findings.suppressed:
        lines.append(f"{findings.suppressed:,} suppressed")
    if findings.dropped:
        lines.append(f"{findings.dropped:,} more, beyond the {MOST:,} that are kept")
    count = len(findings)
    if not count:
        return [*lines, "no findings"]
    first = next(iter(findings))
    total = sum(finding.count for finding in findings)
    seen = f", seen {total:,} times" if total > count else ""
    lines.append(f"{count:,} finding{'' if count == 1 else 's'}{seen}. Each needs the edge that its `fix` names.")
    lines.append(f"To accept one, put its rule and place into a suppression file: {suppression(first)}")
    return lines


def suppression(finding: Finding) -> str:
    """The line that would keep it out."""
    place = finding.first.place
    return f"{finding.rule}:{place.file}:{place.line}" if place.file and ":" not in place.file else finding.rule


def _short(place: Place) -> str:
    return f"{place.file}:{place.line}" if place.file else "<unknown>"


def _where(side: Side) -> str:
    parts = [f"in {side.place.function}"] if side.place.function else []
    if side.thread:
        parts.append(f"thread {side.thread}")
    if side.stream:
        parts.append(side.stream)
    return ", ".join(parts) or "place unknown"


def _field(label: str, value: str) -> list[str]:
    wrapped = textwrap.wrap(value, _WIDTH - _LABEL - 2, break_long_words=False, break_on_hyphens=False)
    head = f"{label}:" if label else ""
    return [f"  {head:{_LABEL}}{wrapped[0]}", *(f"  {'':{_LABEL}}{line}" for line in wrapped[1:])]
