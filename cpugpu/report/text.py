"""Results as plain text, for a terminal and for a log."""

from __future__ import annotations

from cpugpu.campaign import Entry, Item
from cpugpu.hammer import Failure, Result

_INDENT = "    "
#: A racy scenario that was executed less often has had no chance to show anything.
HANDFUL = 10
#: Of a scenario that was planned. Which of them it was, nobody has kept.
NO_RESULT = "there is no result of it: the time was up, the run was ended, or its results were lost"


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
        return not_shown_text(result)
    return "\n".join(
        one_failure_text(result.title, failure, f"{replay} --stress-seed={failure.seed}@{failure.iteration}")
        for failure in result.failures
    )


def one_failure_text(title: str, failure: Failure, replay: str) -> str:
    """One forbidden outcome of a scenario. `replay` is the whole line."""
    meaning = f" ({failure.meaning})" if failure.meaning else ""
    lines = [f"{title} FAILED: outcome {failure.outcome!r} is forbidden{meaning}"]
    lines.append(f"  first seen in execution {failure.iteration} on {failure.device}, seed {failure.seed}")
    lines += [f"  | {line}" for line in failure.details.rstrip().splitlines()]
    lines.append(f"  replay: {replay}")
    return "\n".join(lines)


def not_shown_text(result: Result) -> str:
    """Of a racy scenario that showed no forbidden outcome."""
    if too_few(result):
        return (
            f"{result.title} had NOT ENOUGH TIME: it is racy and showed no forbidden outcome in {_executions(result)};"
            " give it more with --stress-seconds"
        )
    return f"{result.title} FAILED: it is racy and showed no forbidden outcome in {_executions(result)}"


def too_few(result: Result) -> bool:
    """Is it a racy scenario that was executed too few times to show anything?"""
    return result.racy and not result.failures and not result.stuck and result.executions < HANDFUL


def item_text(item: Item) -> str:
    """What went wrong with a scenario, in all of its shards: failures and faults, each with the line to paste."""
    parts, result = [], item.result
    if result is not None and not result.passed:
        parts += [
            one_failure_text(result.title, failure, replay)
            for failure, replay in zip(result.failures, item.replays, strict=False)  # those of faults come after them
        ] or [not_shown_text(result)]
    parts += [fault_text(entry) for entry in item.faults]
    if not parts:
        parts.append(f"{item.target.title} FAILED: {NO_RESULT}")
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
    run = f"{_executions(result)} in {result.seconds:.1f} s"
    if too_few(result):
        return f"NOT ENOUGH TIME to show that it is racy ({run})"
    if result.racy:
        return f"{'racy, as it should be' if result.passed else 'NOT SHOWN to be racy'} ({run})"
    return f"{'passed' if result.passed else 'FAILED'} ({run})"


def _executions(result: Result) -> str:
    return f"{result.executions:,} execution{'' if result.executions == 1 else 's'}"
