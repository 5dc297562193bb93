"""What is not to be reported: a file with a line for each.

    # comments, and empty lines
    host-read-early                              everywhere
    race:*/third_party/*                         where one of the two places is in such a file
    race:train.py:120                            ... at that line
    unrecorded-wait:*/train.py:Trainer.step      ... in that function

A path is a glob over the whole name, or over its last parts.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import cpugpu.sanitize.race_rules
import cpugpu.sanitize.rules  # noqa: F401 - these two register their rules
from cpugpu.errors import BadInput
from cpugpu.sanitize.findings import Finding
from cpugpu.sanitize.places import Place
from cpugpu.sanitize.registry import RULES


@dataclass
class Suppression:
    """A line of the file. `used` counts what it has kept out."""

    rule: str
    path: str = ""
    where: str = ""
    number: int = 0
    used: int = field(default=0, compare=False)

    def holds(self, finding: Finding) -> bool:
        """Is it about this one?"""
        if finding.rule != self.rule:
            return False
        sides = (finding.first, finding.second)
        return not self.path or any(side is not None and self._is_there(side.place) for side in sides)

    def _is_there(self, place: Place) -> bool:
        if not (fnmatch.fnmatchcase(place.file, self.path) or fnmatch.fnmatchcase(place.file, f"*/{self.path}")):
            return False
        if not self.where:
            return True
        if self.where.isdigit():
            return int(self.where) == place.line
        function = place.function.replace(".<locals>", "")
        return function == self.where or function.endswith(f".{self.where}")


class Suppressions:
    """All lines. Called with a finding: is it to be kept out?"""

    def __init__(self, lines: Iterable[Suppression] = ()) -> None:
        self.lines = list(lines)

    def __call__(self, finding: Finding) -> bool:
        """Is it to be kept out?"""
        for line in self.lines:
            if line.holds(finding):
                line.used += 1
                return True
        return False


def read(path: Path) -> Suppressions:
    """The file's. `BadInput` names the line that is wrong, what it has, and what is allowed."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"the suppression file {path} cannot be read: {error}") from error
    return Suppressions(parse(text, source=str(path)))


def parse(text: str, *, source: str) -> list[Suppression]:
    """The lines of a file."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        content = line.partition("#")[0].strip()
        if content:
            found.append(_line(content, number, source))
    return found


def _line(content: str, number: int, source: str) -> Suppression:
    rule, *rest = content.split(":")
    if rule not in RULES:
        raise BadInput(
            f"{source}, line {number}: {content!r} begins with no rule; rules are {', '.join(sorted(RULES))}"
        )
    if len(rest) > 2 or any(not part.strip() or " " in part.strip() for part in rest):
        raise BadInput(
            f"{source}, line {number}: {content!r} is neither RULE, RULE:PATH, RULE:PATH:LINE nor RULE:PATH:FUNCTION"
        )
    path, where = (*rest, "", "")[:2]
    if where.isdigit() and int(where) == 0:
        raise BadInput(f"{source}, line {number}: {content!r} has line 0; lines are counted from 1")
    return Suppression(rule, path.strip(), where.strip(), number)
