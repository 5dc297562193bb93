"""What the sanitizer costs a launch, beside CSAN's handler: `python -m benchmarks.sanitize`.

The model alone, torch-free: `launch` with two tensors, read and written, without and with the place in the program, at
a call depth of 3 and of 40. `operation` is all that is done for one of torch's operations beside the dispatch. CSAN's
`EventHandler._handle_kernel_launch` gets the same in the same round (it walks the whole stack). The subjects take turns
within every repetition; the medians and the ratios over repetitions are kept.

`--grow N` makes N launches over the same buffers and says what the state's size was before and after.
"""

from __future__ import annotations

import argparse
import gc
import operator
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks import machine
from cpugpu.sanitize import Access, Event, Model, Storage, here
from cpugpu.sanitize.intercept.backend import Backend
from cpugpu.sanitize.intercept.watch import Watch

REPETITIONS, TIMES, DEPTHS = 15, 2_000, (3, 40)


def bare(times: int) -> float:
    """Seconds for a launch in the steady state, without a place."""
    model, accesses = _setup()
    main, stream, launch = model.me(), model.stream("cuda:0", 1), model.launch
    began = time.perf_counter()
    for _ in range(times):
        launch(main, stream, accesses, "mul")
    return (time.perf_counter() - began) / times


def placed(times: int) -> float:
    """The same with the place."""
    model, accesses = _setup()
    main, stream, launch = model.me(), model.stream("cuda:0", 1), model.launch
    began = time.perf_counter()
    for _ in range(times):
        launch(main, stream, accesses, "mul", here())
    return (time.perf_counter() - began) / times


def recorded(times: int) -> float:
    """Launch, record, and another stream's wait and launch: all that changes clocks. Seconds for a launch."""
    model, accesses = _setup()
    main, one, two, event = model.me(), model.stream("cuda:0", 1), model.stream("cuda:0", 2), Event()
    began = time.perf_counter()
    for _ in range(times // 2):
        model.launch(main, one, accesses, "mul", here())
        model.record(main, event, one, here())
        model.wait(main, event, two, here())
        model.launch(main, two, accesses, "mul", here())
        model.record(main, event, two, here())
        model.wait(main, event, one, here())
    return (time.perf_counter() - began) / times


class _CpuAsDevice(Backend):
    """The CPU's tensors as those of a device, with one stream: what is done for a tensor does not depend on where."""

    def __init__(self) -> None:
        import torch

        super().__init__("cuda", torch.cuda)
        self.is_on = operator.attrgetter("is_cpu")
        self.raw = lambda _: 0x10


def operation(times: int) -> float:
    """All that the interception does for `y.add_(x)`, dispatch aside: schema, storages, bytes, stream, place, model."""
    import torch

    watch = Watch(Model(), _CpuAsDevice())
    x, y = torch.zeros(1024), torch.zeros(1024)
    add: Any = torch.ops.aten.add_.Tensor
    began = time.perf_counter()
    for _ in range(times):
        watch.operation(add, (y, x), {}, y)
    seconds = (time.perf_counter() - began) / times
    assert not list(watch.model.findings)
    return seconds


def csan(times: int) -> float:
    """CSAN's handler."""
    from torch.cuda._sanitizer import EventHandler

    handle: Any = EventHandler()
    aliases: dict[int, list[str]] = {1 << 20: [], 1 << 21: []}
    for address in aliases:
        handle._handle_memory_allocation(address)
    few = max(1, times // 20)
    began = time.perf_counter()
    for _ in range(few):
        handle._handle_kernel_launch(1, {1 << 20}, {1 << 21}, set(), "mul", aliases)
    return (time.perf_counter() - began) / few


SUBJECTS: dict[str, Callable[[int], float]] = {
    "launch": bare,
    "launch, place": placed,
    "record + wait": recorded,
    "operation": operation,
    "CSAN": csan,
}


def _setup() -> tuple[Model, list[Access]]:
    one, two = Storage("x", size=4096), Storage("y", size=4096)
    return Model(), [(one, (0, 4096), False), (two, (0, 4096), True)]


def _at_depth(depth: int, call: Callable[[], float]) -> float:
    return call() if depth <= 1 else _at_depth(depth - 1, call)


def measure(repetitions: int) -> dict[str, Any]:
    """All subjects at all depths."""
    result: dict[str, Any] = {}
    for depth in DEPTHS:
        samples: dict[str, list[float]] = {name: [] for name in SUBJECTS}
        for _ in range(repetitions):
            for name, subject in SUBJECTS.items():
                samples[name].append(_at_depth(depth, lambda subject=subject: subject(TIMES)))  # type: ignore[misc]
        result[f"depth {depth}"] = {
            name: {
                "median_us": round(statistics.median(values) * 1e6, 2),
                "best_us": round(min(values) * 1e6, 2),
                "CSAN_by_it": round(statistics.median(b / a for a, b in zip(values, samples["CSAN"], strict=True)), 1),
            }
            for name, values in samples.items()
        }
    return result


def grow(times: int) -> dict[str, Any]:
    """So many launches over the same buffers, with waits; cells, clock entries and live objects before and after."""
    model, storages = Model(), [Storage(f"s{number}", size=64) for number in range(8)]
    main, streams, event = model.me(), [model.stream("cuda:0", handle) for handle in range(4)], Event()
    accesses: list[list[Access]] = [
        [(storages[at], (0, 64), True), (storages[(at + 1) % 8], (at % 2 * 32, at % 2 * 32 + 32), False)]
        for at in range(8)
    ]

    def run(count: int) -> None:
        for number in range(count // 8):
            stream, other = streams[number & 3], streams[(number + 1) & 3]
            for access in accesses:
                model.launch(main, stream, access, "mul")
            model.record(main, event, stream)
            model.wait(main, event, other)

    def size() -> dict[str, int]:
        gc.collect()
        return {
            "cells": sum(storage.cells for storage in storages),
            "clock_entries": sum(len(each.clock) + len(each.heard) for each in (main, *streams)),
            "objects": len(gc.get_objects()),
            "findings": len(model.findings),
        }

    run(1000)
    before = size()
    began = time.perf_counter()
    run(times)
    seconds = time.perf_counter() - began
    return {"launches": times, "seconds": round(seconds, 1), "before": before, "after": size()}


def main() -> int:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--repetitions", type=int, default=REPETITIONS)
    parser.add_argument(
        "--grow", type=int, default=10_000_000, help="launches over the same buffers (default 10 million)"
    )
    parser.add_argument("--name", default="sanitize", help="of the file in benchmarks/results")
    options = parser.parse_args()
    result = machine.describe() | {"repetitions": options.repetitions, "launch": measure(options.repetitions)}
    for depth, figures in result["launch"].items():
        print(depth)
        for name, figure in figures.items():
            print(
                f"    {name:14}  {figure['median_us']:>8.2f} µs  best {figure['best_us']:>8.2f} µs"
                f"  CSAN / it {figure['CSAN_by_it']:>6.1f}"
            )
    if options.grow:
        result["grow"] = grown = grow(options.grow)
        print(f"{grown['launches']:,} launches in {grown['seconds']} s: {grown['before']} -> {grown['after']}")
    print(f"written to {machine.save(options.name, result)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
