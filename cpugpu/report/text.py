"""Results as plain text, for a terminal and for a log."""

from __future__ import annotations

from cpugpu.campaign import Entry, Item
from cpugpu.hammer import Result

_INDENT = "    "


def outcome_table(result: Result) -> str:
    """A line about the run, then a line an outcome: how often it was seen, its share, its grade, and what it means."""
    header = ("outcome", "times", "share", "grade", "meaning")
    lines = [
        (row.outcome, f"{row.times:,}", f"{row.times / result.executions:.1%}", row.grade.value, row.meaning)
        for row in result.rows
    ]
    widths = [max(len(line[column]) for line in (header, *lines)) for column in range(4)]
    layout = f"{_INDENT}{{:{widths[0]}}}  {{:>{widths[1]}}}  {{:>{widths[2]}}}  {{:{widths[3]}}}  {{}}"
    table = [layout.format(*line).rstrip() for line in (header, *lines)]
    return "\n".join([f"{result.title}: {_verdict(result)}", *table])


def failure_text(result: Result, replay: str) -> str:
    """What went wrong, where, and the line to paste. `replay` is the command up to the seed, without it."""
    if not result.failures:
        return f"{result.title} FAILED: it is racy and showed no forbidden outcome in {result.executions:,} executions"
    texts = []
    for failure in result.failures:
        meaning = f" ({failure.meaning})" if failure.meaning else ""
        texts.append(f"{result.title} FAILED: outcome {failure.outcome!r} is forbidden{meaning}")
        texts.append(f"  first seen in execution {failure.iteration} on {result.device}, seed {failure.seed}")
        if failure.details:
            texts += [f"  | {line}" for line in failure.details.rstrip().splitlines()]
        texts.append(f"  replay: {replay} --stress-seed={failure.seed}@{failure.iteration}")
    return "\n".join(texts)


def item_text(item: Item) -> str:
    """What went wrong with a scenario, in all of its shards: failures and faults, each with the line to paste."""
    parts = []
    if item.result is not None and not item.result.passed:
        replay = item.replays[0].rpartition(" --stress-seed=")[0] if item.replays else ""
        parts.append(failure_text(item.result, replay))
    parts += [fault_text(entry) for entry in item.faults]
    if not parts:
        parts.append(f"{item.target.title} FAILED: it was never executed; there was no time for it")
    return "\n".join(parts)


def fault_text(entry: Entry) -> str:
    """Why a shard gave no whole result, what it had printed, and the line to paste."""
    assert entry.fault is not None
    shard = entry.shard
    lines = [f"{shard.target.title} FAILED: shard {shard.number}, {entry.fault.kind}: {entry.fault.text}"]
    lines += [f"  | {line}" for line in entry.fault.details.rstrip().splitlines()]
    lines.append(f"  replay: {entry.replay} --stress-seed={shard.seed}")
    return "\n".join(lines)


def _verdict(result: Result) -> str:
    run = f"{result.executions:,} executions in {result.seconds:.1f} s"
    if result.racy:
        return f"{'racy, as it should be' if result.passed else 'NOT SHOWN to be racy'} ({run})"
    return f"{'passed' if result.passed else 'FAILED'} ({run})"
