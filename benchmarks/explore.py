"""What the explorer does in a second, beside frontrun (PyPI, the extra `bench`), on one program, in turn.

    $ python -m benchmarks.explore

The program: two threads look whether a `threading.Event` is set, set it, and count themselves. *throughput*: random
schedules a second, with an invariant that never fails. *bug*: with the invariant that one has counted itself, by
reduction: schedules and milliseconds until it is found. *locked*: the same under a lock: schedules to a proof.

Of the explorer alone: *depth first*: schedules a second of a search for all interleavings of two threads that take ten
steps each, of which there are 184,756. *memory*: how much the process grows over very many schedules of an exploration.

frontrun patches its process when it starts, so each of its turns is a process of its own, timed from within.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine

REPETITIONS, SECONDS, ATTEMPTS = 9, 2.0, 400
STEPS, GROWTH_SCHEDULES = 10, 140_000


class Shared:
    """What the threads share."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.lock = threading.Lock()
        self.passed: list[int] = []


def producer(shared: Shared) -> None:
    """Check, then act."""
    if shared.event.is_set():
        return
    shared.event.set()
    shared.passed.append(1)


def locked(shared: Shared) -> None:
    """The same under a lock."""
    with shared.lock:
        producer(shared)


def _scenario(body: Callable[[Shared], None], most: int) -> Any:
    from cpugpu import scenario

    @scenario(accept=[True])
    def two_producers(rig: Any) -> bool:
        shared = Shared()
        rig.run(lambda: body(shared), lambda: body(shared))
        return 1 <= len(shared.passed) <= most

    return two_producers


def _counting() -> Any:
    """The program that is searched depth first."""
    from cpugpu import scenario

    @scenario(accept=[2 * STEPS])
    def counting(rig: Any) -> Any:
        cell = rig.cell(0)

        def count() -> None:
            for _ in range(STEPS):
                cell.update(lambda value: value + 1)

        rig.run(count, count)
        return cell.get()

    return counting


def ours() -> dict[str, float]:
    """A turn of the explorer."""
    from cpugpu.explore import explore

    free = explore(_scenario(producer, 2), strategy="random", seconds=SECONDS, seed=0)
    found = explore(_scenario(producer, 1), strategy="dpor", seconds=60, stop_at_first=True).failure
    proof = explore(_scenario(locked, 1), seconds=60)
    search = explore(_counting(), strategy="dfs", seconds=SECONDS)
    assert found is not None
    assert proof.kind.value == "proved"
    return {
        "schedules_per_second": free.schedules / free.seconds,
        "schedules_to_the_bug": found.after,
        "milliseconds_to_the_bug": found.seconds * 1e3,
        "schedules_to_the_proof": proof.schedules,
        "depth_first_schedules_per_second": search.schedules / search.seconds,
    }


def theirs() -> dict[str, float]:
    """A turn of frontrun; within its own command."""
    import frontrun

    quiet: dict[str, Any] = {"reproduce_on_failure": 0, "detect_io": False}
    began = time.perf_counter()
    free = frontrun.explore_random(
        setup=Shared,
        threads=[producer, producer],
        invariant=lambda shared: len(shared.passed) >= 1,
        max_attempts=ATTEMPTS,
        seed=0,
        **quiet,
    )
    seconds = time.perf_counter() - began
    began = time.perf_counter()
    found = frontrun.explore(
        setup=Shared, workers=producer, count=2, invariant=lambda shared: len(shared.passed) == 1, **quiet
    )
    bug = time.perf_counter() - began
    proof = frontrun.explore(
        setup=Shared, workers=locked, count=2, invariant=lambda shared: len(shared.passed) == 1, **quiet
    )
    return {
        "schedules_per_second": free.num_explored / seconds,
        "schedules_to_the_bug": found.num_explored,
        "milliseconds_to_the_bug": bug * 1e3,
        "schedules_to_the_proof": proof.num_explored,
    }


class _Enough(Exception):
    """So many schedules were wanted."""


def growth() -> dict[str, float]:
    """By how many KiB a process grows in the second half of so many schedules."""
    return {
        "schedules": GROWTH_SCHEDULES // 2,
        "random": _growth(_scenario(producer, 2), "random"),
        "random, more traces than are remembered": _growth(_counting(), "random"),
        "depth first": _growth(_counting(), "dfs"),
    }


def _growth(scenario: Any, strategy: str) -> int:
    from cpugpu.explore import explore

    used: list[int] = []

    def tell(_strategy: str, schedules: int, _failing: int) -> None:
        if schedules % (GROWTH_SCHEDULES // 2):
            return
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        used.append(pages * os.sysconf("SC_PAGE_SIZE") // 1024)
        if schedules == GROWTH_SCHEDULES:
            raise _Enough

    with contextlib.suppress(_Enough):
        explore(scenario, strategy=strategy, seconds=3600, seed=0, tell=tell)
    before, after = used
    return after - before


def _turn(*command: str) -> dict[str, float]:
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(run.stdout.strip().splitlines()[-1])
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all of it and keep the result."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    turn = {"ours": ours, "theirs": theirs, "growth": growth}
    parser.add_argument("--turn", choices=turn, help="one turn of one of them, in this process")
    options = parser.parse_args(arguments)
    if options.turn is not None:
        os.chdir(tempfile.mkdtemp())  # where no failing schedule is kept from before
        print(json.dumps(turn[options.turn]()))
        return
    peer = shutil.which("frontrun", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if peer is None:
        sys.exit("benchmarks.explore needs its peer: pip install 'cpugpu[bench]'")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (os.getcwd(), os.environ.get("PYTHONPATH"))))
    turns: dict[str, list[dict[str, float]]] = {"cpugpu": [], "frontrun": []}
    for number in range(REPETITIONS):
        turns["cpugpu"].append(_turn(sys.executable, "-m", "benchmarks.explore", "--turn=ours"))
        turns["frontrun"].append(_turn(peer, sys.executable, "-m", "benchmarks.explore", "--turn=theirs"))
        print(f"{number + 1}: {turns['cpugpu'][-1]} {turns['frontrun'][-1]}", flush=True)
    result: dict[str, Any] = {**machine.describe(), "repetitions": REPETITIONS}
    for name, each in turns.items():
        result[name] = {key: round(statistics.median(turn[key] for turn in each), 2) for key in each[0]}
    result["throughput_ratio"] = round(
        statistics.median(
            mine["schedules_per_second"] / its["schedules_per_second"]
            for mine, its in zip(turns["cpugpu"], turns["frontrun"], strict=True)
        ),
        1,
    )
    result["kib_grown"] = _turn(sys.executable, "-m", "benchmarks.explore", "--turn=growth")
    print(json.dumps(result, indent=2))
    print(f"wrote {machine.save('explore', result)}")


if __name__ == "__main__":
    main()
