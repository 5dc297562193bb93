"""The rules for people: a page for each, and the table of rules against programs.

`python -m cpugpu.report.rules FOLDER` writes the pages (`make docs`).
"""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cpugpu.debug import RULES, Rule
from cpugpu.debug.examples import PAIRS


@dataclass(frozen=True)
class Row:
    """A program and the rules that it broke, those that it was to break, and those that it may break besides."""

    program: str
    found: frozenset[str]
    must: frozenset[str] = frozenset()
    may: frozenset[str] = frozenset()

    @property
    def right(self) -> bool:
        """Did it break what it should, and nothing else?"""
        return self.must <= self.found <= self.must | self.may


def page(rule: Rule) -> str:
    """The page of a rule, in Markdown."""
    pair = PAIRS[rule.name]
    sentence, _, more = rule.text.partition("\n\n")
    what = (
        "reported; never raised" if not rule.raises else "in `raise` mode the thread that breaks it gets the exception"
    )
    rows = ", ".join(f"H{number}" for number in rule.hazards)
    parts = [
        f"# {rule.name}",
        _flow(sentence),
        _flow(more),
        f"Checked {rule.moment.value}, for {', '.join(kind.value for kind in rule.kinds)}; {what}.",
        "## A program that breaks it",
        _source(pair.violates),
        "## What to do",
        _flow(rule.fix),
        "## The same, done right",
        _source(pair.clean),
        "## Seen in the wild",
        _flow(f"{rule.bugs}. Rows of the catalogue of hazards: {rows}."),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def index() -> str:
    """The page that lists all of them."""
    lines = ["# The rules", "", "`cpugpu rules` runs each against its examples and prints the table.", ""]
    lines += [f"- [{rule.name}]({rule.name}.md): {rule.sentence}" for rule in RULES.values()]
    return "\n".join(lines) + "\n"


def cross_table(rows: Sequence[Row]) -> str:
    """Programs against rules. `X` is broken as it should be, `x` may be broken, `!` is wrong, `.` is not broken."""
    numbers = {name: number for number, name in enumerate(RULES, 1)}
    width = max(len(row.program) for row in rows)
    head = [f"{number:>3} {name}" for name, number in numbers.items()]
    digits = [" " * width + " " + "".join(f"{number // 10 or ' '!s:>2}" for number in numbers.values())]
    digits += [" " * width + " " + "".join(f"{number % 10:>2}" for number in numbers.values())]
    body = []
    for row in rows:
        cells = "".join(f" {_cell(row, name)}" for name in numbers)
        body.append(f"{row.program:<{width}} {cells}{'' if row.right else '  <- wrong'}")
    return "\n".join([*head, "", *digits, *body])


def write_pages(folder: Path) -> None:
    """Write all pages and the index into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in pages().items():
        (folder / path).write_text(text)


def pages() -> Mapping[str, str]:
    """The files of the documentation, by name."""
    return {f"{rule.name}.md": page(rule) for rule in RULES.values()} | {"README.md": index()}


def _cell(row: Row, name: str) -> str:
    if name in row.found:
        return "X" if name in row.must else "x" if name in row.may else "!"
    return "!" if name in row.must else "."


def _flow(text: str) -> str:
    return "\n\n".join(
        textwrap.fill(" ".join(part.split()), 120, break_on_hyphens=False) for part in text.split("\n\n")
    )


def _source(program: object) -> str:
    lines = inspect.getsource(program).splitlines()  # type: ignore[arg-type]
    body = "\n".join(line for line in lines if not line.startswith("@")).replace("  # noqa: ARG001", "")
    return f"```python\n{body}\n```"


if __name__ == "__main__":
    write_pages(Path(sys.argv[1]))
