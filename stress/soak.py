"""Very many hand-offs, in shards: `make soak`.

One thread hands a ring of events over, lap after lap, the other one takes them, and hands the lap back by an event in
the other direction. Every hand-off carries a number in host memory, every lap one in device memory, which a kernel
writes before the lap's last record and another one compares after its wait. The hammer's random sleeps are off: this is
about number, the scenarios are about order. A shard is one execution in a process of its own.

    $ python -m stress.soak --hand-offs 1000000
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from cpugpu import CpuGpuEvent, scenario
from cpugpu.campaign import Entry, LocalProcesses, Once, Progress, Shard, Target, run
from cpugpu.device import find_accelerator
from cpugpu.job import cores
from cpugpu.report import item_text
from cpugpu.rig import Rig

RING, LAPS = 250, 4000
#: Hand-offs in a shard, those that hand the laps back included.
IN_A_SHARD = RING * LAPS + LAPS
_LINE_SECONDS = 10.0


@scenario(
    accept={"whole": "each hand-off carried its own number, and none was missing"},
    forbid={
        "lost": "a hand-off is missing",
        "stale": "a wait returned before its record, or a kernel ran before what it should have waited for",
    },
)
def soak(rig: Rig, make_event: type[CpuGpuEvent] = CpuGpuEvent) -> str:
    """`LAPS` times around a ring."""
    return around(rig, make_event, RING, LAPS)


def around(rig: Rig, make_event: type[CpuGpuEvent], ring: int, laps: int) -> str:
    """`laps` times around a ring of `ring` events, and the outcome."""
    there, back = [make_event() for _ in range(ring)], make_event()
    numbers = [0] * ring
    cell, wrong = rig.buffer(0), rig.buffer(0)
    taken, stale = rig.cell(0), rig.cell(0)
    slots = range(ring)

    def producer() -> None:
        stream = rig.stream()
        for lap in range(1, laps + 1):
            for slot in slots:
                numbers[slot] = lap
                if slot == ring - 1:
                    rig.fill(cell, lap, stream)
                there[slot].record(stream)
            back.wait(stream)

    def consumer() -> None:
        stream = rig.stream()
        for lap in range(1, laps + 1):
            missed = 0
            for slot in slots:
                there[slot].wait(stream)
                missed += numbers[slot] != lap
            rig.check(cell, lap, wrong, stream)
            taken.update(lambda count: count + ring)
            if missed:
                stale.update(lambda count: count + missed)
            back.record(stream)
            taken.update(lambda count: count + 1)

    rig.run(producer, consumer)
    if stale.get() or rig.read(wrong):
        return "stale"
    return "whole" if taken.get() == laps * (ring + 1) else "lost"


class _Lines:
    """A line now and then."""

    def __init__(self, shards: int) -> None:
        self._shards = shards
        self._ended = 0
        self._began = time.monotonic()
        self._next = self._began + _LINE_SECONDS

    def started(self, shard: Shard) -> None:
        """Nothing to say."""

    def progressed(self, progress: Progress) -> None:
        """Nothing to say: a shard is one execution."""

    def ended(self, entry: Entry) -> None:
        """Count it."""
        del entry
        self._ended += 1

    def tick(self) -> None:
        """A line, if it is time for one."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _LINE_SECONDS
            done = self._ended * IN_A_SHARD
            print(
                f"{done:,} of {self._shards * IN_A_SHARD:,} hand-offs, {done / (now - self._began):,.0f}/s", flush=True
            )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it. Exit status: 0, 1 if a hand-off was lost or stale or a shard has failed, 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m stress.soak", description="Very many hand-offs, in shards.")
    parser.add_argument("--hand-offs", type=int, default=100_000_000, help="at least so many (default 100 million)")
    parser.add_argument("--device", choices=("auto", "accelerator", "host", "sim"), default="auto")
    parser.add_argument("--workers", type=int, default=cores(), help="processes at once (default: a core each)")
    parser.add_argument("--subject", default="", metavar="MODULE:CLASS", help="the class under test")
    parser.add_argument("--stress-seed", type=_seed, default=0, metavar="SEED", dest="seed", help="(default 0)")
    parser.add_argument("--json", type=Path, help="a file for the result")
    options = parser.parse_args(arguments)
    if options.hand_offs < 1 or options.workers < 1:
        parser.error("--hand-offs and --workers are numbers from 1")
    accelerator = find_accelerator() if options.device in ("auto", "accelerator") else None
    if options.device == "accelerator" and accelerator is None:
        parser.error("--device=accelerator, and there is none here; allowed are auto, host and sim")
    device = "accelerator" if accelerator is not None else "host" if options.device == "auto" else options.device
    description = accelerator.describe() if accelerator is not None else device
    shards = -(-options.hand_offs // IN_A_SHARD)
    print(f"device {description}, seed {options.seed}, {shards} shards of {IN_A_SHARD:,} hand-offs", flush=True)

    target = Target("stress/soak.py::soak", __file__, "stress.soak", "soak", subject=options.subject, title="soak")
    template = Shard(0, target, device, options.seed, 0.0, paths=tuple(sys.path), jitter=False)
    executor = LocalProcesses(options.workers, silence=600.0)
    subject = f" --subject={options.subject}" if options.subject else ""
    replay = f"python -m stress.soak --hand-offs=1 --device={device}{subject}"
    began = time.monotonic()
    try:
        found = run(
            Once([target] * shards, 1e-3),
            executor,
            template=template,
            replays={target.nodeid: replay},
            observers=[_Lines(shards)],
        )
    finally:
        executor.close()
    seconds = time.monotonic() - began
    item = found.items[0]
    seen = {row.outcome: row.times for row in item.result.rows} if item.result is not None else {}
    result = {
        "command": " ".join(["python -m stress.soak", *(sys.argv[1:] if arguments is None else arguments)]),
        "machine": f"{platform.machine()}, {cores()} cores",
        "python": platform.python_version(),
        "device": description,
        "hand_offs": seen.get("whole", 0) * IN_A_SHARD,
        "shards": shards,
        "shards_lost": seen.get("lost", 0),
        "shards_stale": seen.get("stale", 0),
        "shards_failed": shards - sum(seen.get(outcome, 0) for outcome in ("whole", "lost", "stale")),
        "seconds": round(seconds, 1),
        "hand_offs_per_second": round(seen.get("whole", 0) * IN_A_SHARD / seconds),
    }
    for name, value in result.items():
        print(f"{name:22} {value:,}" if isinstance(value, int) else f"{name:22} {value}")
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    if seen != {"whole": shards}:
        print(item_text(item))
        return 1
    return 0


def _seed(text: str) -> int:
    return int(text.partition("@")[0])  # a failure is told with its execution, and a shard has one


if __name__ == "__main__":
    sys.exit(main())
