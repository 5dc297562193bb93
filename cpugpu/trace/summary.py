"""A screenful about a trace: what was handed over, how long that took, and what was wrong."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from cpugpu.trace.format import WAITS, Entry
from cpugpu.trace.reader import Trace

# The most that is shown of each. All in all that makes 40 lines.
EVENTS, OPEN, RULES = 6, 4, 5
WIDTH = 120
_SHARES = (0.5, 0.9, 0.99, 1.0)


def summarize(trace: Trace) -> str:
    """Say what `trace` holds, in at most 40 lines.

    The times of an event are percentiles by nearest rank. *record→wait* is from the return of `record()` to the return
    of the wait that consumed it, 0 where the wait was back first; *blocked* how long a wait had nothing to wait for;
    *driver* from then to its return, which for a `synchronize()` is the time that it waited for the device. Calls that
    raised count as errors, and are in none of the times.
    """
    found = _Findings(trace)
    blocks = [_title(trace, found), _event_table(found.events)]
    if found.open:
        blocks.append(_open_waits(found.open, found.last_ns))
    if found.violations:
        blocks.append(_violations(found))
    return "\n\n".join("\n".join(_plain(line) for line in block) for block in blocks if block)


@dataclass(slots=True)
class _Event:
    """What is counted of one event."""

    name: str
    records: int = 0
    waits: int = 0
    errors: int = 0
    recorded: dict[int, int] = field(default_factory=dict)  # generation: when its record returned
    consumed: array[int] = field(default_factory=lambda: array("q"))  # generation and end of each wait, in turn
    blocked: array[int] = field(default_factory=lambda: array("q"))
    driver: array[int] = field(default_factory=lambda: array("q"))

    def latencies(self) -> list[int]:
        """Of each wait whose record is in the trace."""
        ends = zip(self.consumed[::2], self.consumed[1::2], strict=True)
        recorded = self.recorded
        return [max(0, end - recorded[generation]) for generation, end in ends if generation and generation in recorded]


class _Findings:
    """Everything that the summary says, from one pass over the trace."""

    def __init__(self, trace: Trace) -> None:
        self.entries = 0
        self.threads: set[tuple[int, str]] = set()
        self.events: dict[int, _Event] = {}
        self.open: list[Entry] = []
        self.violations: Counter[str] = Counter()
        self.messages: dict[str, str] = {}  # the first of each rule
        last_ns = 0
        first_ns = 1 << 63
        for entry in trace:
            self.entries += 1
            begin_ns, end_ns = entry.begin_ns, entry.end_ns
            if begin_ns < first_ns:
                first_ns = begin_ns
            if begin_ns > last_ns or end_ns > last_ns:
                last_ns = max(begin_ns, end_ns)
            self.threads.add((entry.thread, entry.thread_name))
            if entry.violations:
                self._add_violations(entry)
            if entry.event_id:
                self._add_operation(entry)
        self.last_ns = last_ns
        self.span_ns = max(0, last_ns - first_ns)

    def _add_operation(self, entry: Entry) -> None:
        event = self.events.get(entry.event_id)
        if event is None:
            event = self.events[entry.event_id] = _Event(entry.event)
        kind = entry.kind
        if kind == "record":
            event.records += 1
        elif kind in WAITS:
            event.waits += 1
        else:
            event.errors += entry.error != ""
            return
        if entry.error:
            event.errors += 1
            return
        end_ns = entry.end_ns
        if kind == "record":
            if end_ns:
                event.recorded.setdefault(entry.generation, end_ns)
        elif not end_ns:
            self.open.append(entry)
        else:
            event.consumed.append(entry.generation)
            event.consumed.append(end_ns)
            ready_ns = entry.ready_ns
            if ready_ns:
                event.blocked.append(ready_ns - entry.begin_ns)
                event.driver.append(end_ns - ready_ns)

    def _add_violations(self, entry: Entry) -> None:
        for rule, message in entry.violations:
            self.violations[rule] += 1
            self.messages.setdefault(rule, message)


def _title(trace: Trace, found: _Findings) -> list[str]:
    meta = dict(trace.meta)
    what = str(meta.pop("argv", "") or trace.path)
    pid = f" (pid {meta.pop('pid')})" if "pid" in meta else ""
    operations, events = _count(found.entries, "operation"), _count(len(found.events), "event")
    threads = _count(len(found.threads), "thread")
    lines = [f"{what}{pid}: {operations} of {events} and {threads} in {duration(found.span_ns)}"]
    if meta:
        lines.append(", ".join(f"{key} {value}" for key, value in meta.items()))
    if trace.lost_parts:
        lines.append(f"The trace came to its limit: it is without its oldest {_count(trace.lost_parts, 'file')}")
    if trace.cut_at is not None:
        lines.append(f"The last write is cut short at byte {trace.cut_at}: the program was killed")
    return lines


def _event_table(events: dict[int, _Event]) -> list[str]:
    ranked = sorted(events.items(), key=lambda item: (-item[1].waits, -item[1].records, item[0]))
    shown, rest = ranked[:EVENTS], [event for _, event in ranked[EVENTS:]]
    names = Counter(event.name for event in events.values())
    rows: list[Sequence[str]] = [("event", "records", "waits", "errors", "", "p50", "p90", "p99", "max")]
    for number, event in shown:
        label = _short(event.name if names[event.name] == 1 else f"{event.name} #{number}", 32)
        counts = label, f"{event.records:,}", f"{event.waits:,}", f"{event.errors:,}"
        times = [
            (what, *map(duration, percentiles(values)))
            for what, values in (
                ("record→wait", event.latencies()),
                ("blocked", event.blocked),
                ("driver", event.driver),
            )
            if values
        ]
        rows.append((*counts, *(times[0] if times else ())))
        rows += [("", "", "", "", *line) for line in times[1:]]
    lines = table(rows, right=(1, 2, 3, 5, 6, 7, 8)) if shown else []
    if rest:
        sums = [_count(sum(getattr(event, f"{what}s") for event in rest), what) for what in ("record", "wait", "error")]
        lines.append(f"and {_count(len(rest), 'more event')}: {', '.join(sums)}")
    return lines


def _open_waits(entries: list[Entry], now_ns: int) -> list[str]:
    entries = sorted(entries, key=lambda entry: entry.begin_ns)
    rows = [
        (f"  {_short(entry.thread_name, 32)}", entry.kind, _short(entry.event, 32), duration(now_ns - entry.begin_ns))
        + ((entry.place,) if entry.place else ())
        for entry in entries[:OPEN]
    ]
    more = [f"  and {len(entries) - OPEN:,} more"] if len(entries) > OPEN else []
    return [f"waits that were still open at the end: {len(entries):,}", *table(rows, right=(3,)), *more]


def _violations(found: _Findings) -> list[str]:
    ranked = found.violations.most_common()
    rows = [(f"  {_short(rule, 32)}", f"{count:,}", found.messages[rule]) for rule, count in ranked[:RULES]]
    more = [f"  and {_count(len(ranked) - RULES, 'more rule')}"] if len(ranked) > RULES else []
    return [f"violations: {found.violations.total():,}", *table(rows, right=(1,)), *more]


def percentiles(values: Iterable[int]) -> list[int]:
    """The 50th, 90th and 99th percentile by nearest rank, and the greatest; exact, of at least one value."""
    ordered = sorted(values)
    return [ordered[math.ceil(share * len(ordered)) - 1] for share in _SHARES]


def duration(ns: int) -> str:
    """Three digits and a unit."""
    for unit, size in (("s", 10**9), ("ms", 10**6), ("µs", 10**3)):
        value = round(ns / size, 3)
        if value >= 1:
            return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f} {unit}"
    return f"{ns} ns"


def table(rows: Iterable[Sequence[str]], right: Iterable[int]) -> list[str]:
    """Aligned lines; the columns in `right` to the right. A row may be shorter than others."""
    rows = list(rows)
    width = [max((len(row[column]) for row in rows if len(row) > column), default=0) for column in range(16)]
    return [
        "  ".join(
            cell.rjust(width[column]) if column in right else cell.ljust(width[column])
            for column, cell in enumerate(row)
        ).rstrip()
        for row in rows
    ]


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _plain(line: str) -> str:
    """One line of a terminal, whatever the names in it hold."""
    return _short("".join(letter if letter.isprintable() else " " for letter in line), WIDTH)
