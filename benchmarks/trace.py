"""What a trace costs: writing it, while the program runs, and the summary and the Perfetto export of a long one.

    $ python -m benchmarks.trace

Two producer threads and two consumer threads hand work over through eight events, on six streams, half a million times.
Each stage is a process of its own: its seconds are those of the whole process, its memory is the most that it had.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import machine
from cpugpu.trace import FLAG_IMPLICIT, Entry, TraceWriter, export, read, summarize

ENTRIES, EVENTS, STREAMS, REPETITIONS = 1_000_000, 8, 6, 3
#: Entries of one write: what a busy program does in a quarter of a second.
BATCH = 20_000
#: seconds, and MiB
LIMITS = {"summary": (5, 1024), "perfetto": (20, 1024)}


def entries(times: int, seed: int = 1) -> Iterator[Entry]:
    """So many operations, records and waits in turn."""
    draw = random.Random(seed)
    now = time.perf_counter_ns()
    for number in range(times // 2):
        event, generation = number % EVENTS, number // EVENTS + 1
        now += draw.randrange(2_000, 20_000)
        driver = draw.randrange(500, 4_000)
        common: dict[str, Any] = {
            "event": f"ready_{event}",
            "event_id": event + 1,
            "device": "cuda:0",
            "current": "cuda:0 default stream",
            "device_index": 0,
            "current_index": 0,
            "capture": 0,
            "generation": generation,
            "error": "",
            "detail": "",
        }
        reached = now + draw.randrange(5_000, 100_000)
        yield Entry(
            kind="record",
            thread=140_000_000_000_001 + event % 2,
            thread_name=f"producer-{event % 2}",
            stream=f"cuda:0 stream {event % 3}",
            flags=0,
            begin_ns=now,
            ready_ns=0,
            end_ns=now + driver,
            device_ns=reached,
            device_error_ns=500,
            place=f"pipeline.py:{100 + event}",
            violations=(),
            **common,
        )
        late = draw.random() < 0.3  # the consumer, which then finds the record
        begin = now + driver + draw.randrange(100, 1_000) if late else now - draw.randrange(100, 1_500)
        ready = begin + 200 if late else now + driver + draw.randrange(500, 5_000)
        yield Entry(
            kind="wait",
            thread=140_000_000_000_003 + event % 2,
            thread_name=f"consumer-{event % 2}",
            stream=f"cuda:0 stream {3 + event % 3}",
            flags=FLAG_IMPLICIT if event < 2 else 0,
            begin_ns=begin,
            ready_ns=ready,
            end_ns=ready + draw.randrange(400, 2_000),
            device_ns=0,
            device_error_ns=0,
            place=f"pipeline.py:{200 + event}",
            violations=(("wrong-stream", "the wait is on another stream than before"),) if number % 10_000 == 0 else (),
            **common,
        )
        now = max(now, ready)


def write(path: str, times: int) -> dict[str, Any]:
    """Microseconds for an entry, within `TraceWriter.write`."""
    writer = TraceWriter(path, limit=1 << 30, meta={"argv": "pipeline.py", "pid": 4242})
    spent, batch = 0.0, []
    for entry in entries(times):
        batch.append(entry)
        if len(batch) == BATCH or len(batch) == times:
            began = time.perf_counter()
            writer.write(batch)
            spent += time.perf_counter() - began
            batch.clear()
    writer.close()
    return {"us_an_entry": round(spent / times * 1e6, 3), "bytes_an_entry": round(Path(path).stat().st_size / times, 1)}


def summary(path: str) -> dict[str, Any]:
    return {"lines": len(summarize(read(path)).splitlines())}


def perfetto(path: str) -> dict[str, Any]:
    out = Path(path).with_suffix(".pftrace")
    counts = export(read(path), out)
    return {
        "slices": counts.slices,
        "flows": counts.flows,
        "instants": counts.instants,
        "megabytes": round(out.stat().st_size / 1e6),
    }


def stage(name: str, path: str, times: int) -> dict[str, Any]:
    """Run one stage in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.trace", "--entries", str(times), "--stage", name, "--path", path]
    began = time.perf_counter()
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - began
    return {"seconds": round(seconds, 2), **json.loads(run.stdout)}


def main() -> int:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--entries", type=int, default=ENTRIES)
    parser.add_argument("--repetitions", type=int, default=REPETITIONS, help="of which the slowest counts")
    parser.add_argument("--name", default="trace", help="of the file in benchmarks/results")
    parser.add_argument("--stage", choices=("write", "summary", "perfetto"), help=argparse.SUPPRESS)
    parser.add_argument("--path", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stage:
        stage_functions: dict[str, Callable[[str], dict[str, Any]]] = {
            "write": partial(write, times=options.entries),
            "summary": summary,
            "perfetto": perfetto,
        }
        figures = stage_functions[options.stage](options.path)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(json.dumps(figures | {"peak_mib": peak}))
        return 0
    stages: dict[str, Any] = {}
    missed = []
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "benchmark.trace"))
        for name in ("write", "summary", "perfetto"):
            runs = [stage(name, path, options.entries) for _ in range(options.repetitions)]
            worst = max(runs, key=lambda run: run.get("us_an_entry", run["seconds"]))
            worst["peak_mib"] = max(run["peak_mib"] for run in runs)
            stages[name] = worst
            print(f"{name:8}  " + ", ".join(f"{figure:,} {what}" for what, figure in worst.items()))
            seconds, mib = LIMITS.get(name, (None, None))
            if seconds is not None and (worst["seconds"] >= seconds or worst["peak_mib"] >= mib):
                missed.append(f"{name}: the limits are {seconds} s and {mib} MiB")
    # Only now: this loads torch, and a process begins with the peak memory of the one that started it.
    result = machine.describe() | {"entries": options.entries, "repetitions": options.repetitions, "stages": stages}
    print(f"written to {machine.save(options.name, result)}")
    for line in missed:
        print(line)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
