"""What the debug modes cost a record or a wait, on the host device, against production in the same run.

    $ make bench

The same two hand-offs, record and wait in turn, in each mode, interleaved; what is reported is the median of the
differences to production. A hand-off has two threads, and a rule says so; a change of threads would cost more than all
that is measured here. So both calls are made in one thread, which is two threads to the journal: it is given the rings
of two, in turn (and in production mode as well, where nothing looks at them).

`memory`: ten million operations in `log` mode. The process must not grow once the ring is full.
"""

from __future__ import annotations

import argparse
import importlib.util
import resource
import statistics
import sys
import threading
import time
from typing import Any

from benchmarks import machine
from cpugpu.debug import InstrumentedEvent, journal, watcher
from cpugpu.event import CpuGpuEvent

REPETITIONS, TIMES, OPERATIONS = 51, 5_000, 10_000_000
MODES = ("log", "check", "raise")


def two_rings() -> tuple[Any, Any]:
    """This thread's ring, and that of another one, which lives on."""
    rings: list[Any] = []
    ready = threading.Event()

    def other() -> None:
        rings.append(journal.local.ring)
        ready.set()
        threading.Event().wait()

    threading.Thread(target=other, daemon=True).start()
    ready.wait()
    return journal.local.ring, rings[0]


def pair(event: CpuGpuEvent, rings: tuple[Any, Any], times: int) -> float:
    """Seconds for one record or one wait: the mean of both."""
    record, wait, local = event.record, event.wait, journal.local
    producer, consumer = rings
    began = time.perf_counter()
    for _ in range(times):
        local.ring = producer
        record()
        local.ring = consumer
        wait()
    elapsed = time.perf_counter() - began
    local.ring = producer
    return elapsed / times / 2


def extra(repetitions: int) -> dict[str, Any]:
    """Microseconds that each mode adds to a record or a wait."""
    rings = two_rings()
    events: dict[str, CpuGpuEvent] = {"production": CpuGpuEvent("host")}
    events |= {mode: InstrumentedEvent("host", mode=mode) for mode in MODES}  # type: ignore[arg-type]
    samples: dict[str, list[float]] = {name: [] for name in events}
    for _ in range(repetitions):
        for name, event in events.items():
            samples[name].append(pair(event, rings, TIMES))
    production = samples.pop("production")
    assert journal.violations == 0
    result: dict[str, Any] = {"production_us": round(statistics.median(production) * 1e6, 3)}
    for name, values in samples.items():
        differences = [one - base for one, base in zip(values, production, strict=True)]
        result[f"{name}_adds_us"] = round(statistics.median(differences) * 1e6, 3)
    result["off_is_the_production_class"] = type(CpuGpuEvent("host")) is CpuGpuEvent
    return result


def memory(operations: int) -> dict[str, Any]:
    """The peak of the process's memory when the ring has been filled, and after `operations`."""
    event = InstrumentedEvent("host", mode="log")
    samples: list[int] = []
    record, wait = event.record, event.wait
    for number in range(operations // 2):
        record()
        wait()
        if number == 20_000:
            samples.append(_peak())
    samples.append(_peak())
    return {"operations": operations, "kib_with_a_full_ring": samples[0], "kib_grown_since": samples[1] - samples[0]}


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> int:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--repetitions", type=int, default=REPETITIONS)
    parser.add_argument("--operations", type=int, default=OPERATIONS, help="for the memory (10 million)")
    parser.add_argument("--name", default="debug", help="of the file in benchmarks/results")
    options = parser.parse_args()
    watcher.paused = True  # one thread
    result: dict[str, Any] = {
        "nvtx": importlib.util.find_spec("nvtx") is not None,
        "repetitions": options.repetitions,
        "extra": extra(options.repetitions),
        "memory": memory(options.operations),
    }
    result = machine.describe() | result  # only now: this loads torch
    for name, figures in (("extra", result["extra"]), ("memory", result["memory"])):
        print(name, *(f"{key}={value}" for key, value in figures.items()))
    print(f"written to {machine.save(options.name, result)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
