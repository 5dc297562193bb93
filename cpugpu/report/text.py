"""Results as plain text, for a terminal and for a log."""

from __future__ import annotations

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
        texts.append(f"  first seen in execution {failure.iteration} on {result.device}, seed {result.seed}")
        if failure.details:
            texts += [f"  | {line}" for line in failure.details.rstrip().splitlines()]
        texts.append(f"  replay: {replay} --stress-seed={result.seed}@{failure.iteration}")
    return "\n".join(texts)


def _verdict(result: Result) -> str:
    run = f"{result.executions:,} executions in {result.seconds:.1f} s"
    if result.racy:
        return f"{'racy, as it should be' if result.passed else 'NOT SHOWN to be racy'} ({run})"
    return f"{'passed' if result.passed else 'FAILED'} ({run})"
