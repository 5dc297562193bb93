"""A run as one JSON document, for machines.

`results.jsonl` is what shards append while they run; this is what came of it, an entry a scenario. Times are seconds.
Percentiles are upper ends of buckets, at most 19 % too high; `latency_seconds` is null where no hand-off was seen.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from cpugpu.campaign import Item, Run
from cpugpu.hammer import Failure, Latencies
from cpugpu.report.summary import described, skipped, totals, verdict

#: Of the document. It grows when a key goes or changes its meaning.
VERSION = 1
PERCENTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99.9": 99.9, "max": 100.0}


def render_json(run: Run) -> str:
    """The document."""
    return json.dumps(document(run), indent=1, allow_nan=False) + "\n"


def document(run: Run) -> dict[str, Any]:
    """What the document holds."""
    sums = totals(run)
    return {
        "version": VERSION,
        "kind": "cpugpu stress report",
        "passed": run.passed,
        "totals": {
            "items": sums.items,
            **{each.value.replace(" ", "_"): count for each, count in sums.verdicts.items()},
            "skipped": sums.skipped,
            "executions": sums.executions,
            "hand_offs": sums.hand_offs,
            "seconds": sums.seconds,
        },
        "headers": [
            {
                key: value
                for key, value in dataclasses.asdict(header).items()
                if key not in ("targets", "skipped")  # told below, for all headers together
            }
            for header in run.headers
        ],
        "items": [_item(item) for item in run.items],
        "skipped": [{"nodeid": nodeid, "reason": reason} for nodeid, reason in skipped(run).items()],
    }


def _item(item: Item) -> dict[str, Any]:
    target, result = item.target, item.result
    return {
        "nodeid": target.nodeid,
        "title": target.title,
        "subject": target.subject,
        "racy": target.racy,
        "verdict": verdict(item).value,
        "device": result.device if result is not None else None,
        "executions": result.executions if result is not None else 0,
        "seconds": result.seconds if result is not None else 0.0,
        "hand_offs": result.hand_offs if result is not None else 0,
        "latency_seconds": _latency(result.latencies) if result is not None else None,
        "outcomes": [
            {
                "outcome": row.outcome,
                "times": row.times,
                "share": row.times / result.executions,
                "grade": row.grade.value,
                "meaning": row.meaning,
            }
            for row in result.rows
        ]
        if result is not None
        else [],
        "failures": [{**_failure(each.failure), "replay": each.replay} for each in described(item)],
        "faults": [
            {
                **dataclasses.asdict(entry.fault),
                "shard": entry.shard.number,
                "seed": entry.shard.seed,
                "replay": f"{entry.replay} --stress-seed={entry.shard.seed}",
            }
            for entry in item.faults
            if entry.fault is not None
        ],
    }


def _failure(failure: Failure) -> dict[str, Any]:
    data: dict[str, Any] = dataclasses.asdict(failure)
    return {**data, "steps": [step._asdict() for step in failure.steps]}


def _latency(latencies: Latencies) -> dict[str, float] | None:
    if not latencies.total:
        return None
    return {name: latencies.percentile(percent) for name, percent in PERCENTILES.items()}
