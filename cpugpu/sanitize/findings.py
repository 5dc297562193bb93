"""What was found, each thing once: a finding is known by its rule and its two places."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from cpugpu.sanitize.places import UNKNOWN, Place

#: So many different ones are kept; the number of all of them is counted on.
MOST = 1000


@dataclass(frozen=True)
class Side:
    """One of the two operations: what it was, where, in which thread, and on which stream (none: the host's)."""

    what: str
    place: Place = UNKNOWN
    thread: str = ""
    stream: str = ""

    def __str__(self) -> str:
        on = f" on {self.stream}" if self.stream else ""
        by = f" by thread {self.thread}" if self.thread else ""
        return f"{self.what}{on}{by} at {self.place}"


@dataclass
class Finding:
    """A broken rule.

    `first` is the operation in fault or the later of two, `second` the other one, if there is one. `missing` says which
    edge there is not, `fix` the smallest change that would add it, `subject` what it is about (an event, a tensor),
    `notes` what became known later.
    """

    rule: str
    subject: str
    first: Side
    second: Side | None
    missing: str
    fix: str
    count: int = 1
    notes: list[str] = field(default_factory=list)
    by: int = field(default_factory=threading.get_ident, compare=False)  # the thread whose call has shown it

    @property
    def key(self) -> tuple[str, Place, Place]:
        """What it is known by."""
        return self.rule, self.first.place, self.second.place if self.second else UNKNOWN

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "rule": self.rule,
            "subject": self.subject,
            "count": self.count,
            "missing": self.missing,
            "fix": self.fix,
            "notes": list(self.notes),
            "places": [
                {
                    "what": side.what,
                    "file": side.place.file,
                    "line": side.place.line,
                    "function": side.place.function,
                    "thread": side.thread,
                    "stream": side.stream,
                }
                for side in (self.first, self.second)
                if side is not None
            ],
        }


class Findings:
    """All of them, in the order in which they were first seen.

    `news` holds those that nobody has looked at, for whoever wants to raise or to print at once; it keeps the newest.
    `suppressed` counts what `is_suppressed` has kept out.
    """

    def __init__(self, is_suppressed: Callable[[Finding], bool] | None = None) -> None:
        self._found: dict[object, Finding] = {}
        self._is_suppressed = is_suppressed
        self.news: deque[Finding] = deque(maxlen=100)
        self.suppressed = 0
        self.dropped = 0

    def add(self, finding: Finding) -> Finding:
        """Count it, or add it if it is new. Gives back the one that is kept."""
        known = self._found.get(finding.key)
        if known is not None:
            known.count += 1
            return known
        if self._is_suppressed is not None and self._is_suppressed(finding):
            self.suppressed += 1
        elif len(self._found) >= MOST:
            self.dropped += 1
        else:
            self._found[finding.key] = finding
            self.news.append(finding)
        return finding

    def clear(self) -> None:
        """A forked child has found nothing yet."""
        self._found.clear()
        self.news.clear()
        self.suppressed = self.dropped = 0

    def __iter__(self) -> Iterator[Finding]:
        return iter(list(self._found.values()))

    def __len__(self) -> int:
        return len(self._found)
