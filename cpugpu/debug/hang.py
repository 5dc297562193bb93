"""The report on waits that do not end: what a person would otherwise find out with stack dumps."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence

from cpugpu.deaths import alive
from cpugpu.debug.journal import journal
from cpugpu.debug.operation import Operation
from cpugpu.debug.state import EventState
from cpugpu.debug.waits import chain, describe_cycle
from cpugpu.stacks import stacks

#: So many waits are told of in full.
_SECTIONS = 16


def report(title: str, waits: Sequence[Operation], now_ns: int) -> str:
    """The text: for each wait where it stands and who is to end it; then all stacks."""
    lines = [f"{title} (process {os.getpid()}, {len(waits)} open wait{'' if len(waits) == 1 else 's'})"]
    for wait in waits[:_SECTIONS]:
        lines += ["", *_one(wait, waits, now_ns)]
    if len(waits) > _SECTIONS:
        lines += ["", f"... and {len(waits) - _SECTIONS} more"]
    return "\n".join([*lines, "", "all threads:", "", stacks()])


def _one(wait: Operation, waits: Sequence[Operation], now_ns: int) -> list[str]:
    state = wait.state
    event = state.lookup()
    producer = state.who_records
    last = state.last_record
    what = "device" if wait.ready_ns else "record"
    rows = [
        f"{wait.event!r}: {wait.thread_name} has waited {_seconds(now_ns - wait.begin_ns)} for a {what}",
        f"  in       {wait.kind.value}() at {wait.place or 'an unknown place'}{_on(wait)}",
        f"  event    {'gone' if event is None else event!r}, {_consumed(state)}",
        f"  thread   {_thread(wait.thread)}",
    ]
    if producer is None:
        rows.append("  producer unknown: nothing was ever recorded, and none was declared")
    else:
        rows.append(f"  producer {producer.name}, which {'lives' if alive(producer) else state.end(producer)}")
    if last is not None:
        rows.append(
            f"  recorded generation {last.generation} {_seconds(now_ns - last.begin_ns)} ago by {last.thread_name} at"
            f" {last.place}{_on(last)}"
        )
    rows.append(f"  waits    {chain(wait, waits)}")
    if wait.cycle:
        rows.append(f"  DEADLOCK {describe_cycle(wait.cycle)}")
    return rows


def _consumed(state: EventState) -> str:
    generation = journal.consumed(state)
    return f"generation {generation} was consumed last" if generation else "nothing was consumed yet"


def _on(operation: Operation) -> str:
    return "" if operation.stream is None else f" on {operation.stream!r}"


def _thread(thread: threading.Thread) -> str:
    return f"{thread.name}, ident {thread.ident}{', daemon' if thread.daemon else ''}"


def _seconds(nanoseconds: int) -> str:
    return f"{nanoseconds / 1e9:.1f} s"
