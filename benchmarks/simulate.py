"""What the simulated GPU costs: to queue a small operation, and to train a transformer block.

    $ python -m benchmarks.simulate

`queue`: x + y on 4 elements while the stream is held back, so that nothing but queueing is measured. `queue and run`:
the same until the stream has done it all. Beside them the plain operation and that under torch's FakeTensorMode, which
computes shapes only. `step`: forward, backward and optimizer of a transformer block, plain and simulated. The subjects
take turns within every repetition; the ratio is the median over the repetitions.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks import machine
from cpugpu.device.simulated import no_latency
from cpugpu.simulate import simulate
from cpugpu.simulate.runtime import Runtime

REPETITIONS, OPERATIONS = 15, 300
WIDTH, LENGTH, BATCH = 256, 64, 8


def timed(work: Callable[[], Any], times: int = 1) -> float:
    """Seconds for one call."""
    began = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - began) / times


def queue(runtime: Runtime, times: int) -> float:
    """Seconds to queue x + y, while the stream waits for a gate."""
    x, y = torch.ones(4, device="cuda"), torch.ones(4, device="cuda")
    gate = threading.Event()
    runtime.launch(runtime.current(0), "gate", gate.wait)
    try:
        return timed(lambda: x + y, times)
    finally:
        gate.set()
        torch.cuda.synchronize()


def queue_and_run(times: int) -> float:
    """Seconds for x + y, done."""
    x, y = torch.ones(4, device="cuda"), torch.ones(4, device="cuda")

    def work() -> None:
        for _ in range(times):
            x + y
        torch.cuda.synchronize()

    return timed(work) / times


def small(repetitions: int) -> dict[str, list[float]]:
    """Samples of the four ways to add four numbers."""
    samples: dict[str, list[float]] = {"queue": [], "queue and run": [], "plain": [], "FakeTensorMode": []}
    x, y = torch.ones(4), torch.ones(4)
    with FakeTensorMode() as mode:
        fake_x, fake_y = mode.from_tensor(x), mode.from_tensor(y)
    with simulate(latency=no_latency) as runtime:
        for _ in range(repetitions):
            samples["queue"].append(queue(runtime, OPERATIONS))
            samples["queue and run"].append(queue_and_run(OPERATIONS))
            samples["plain"].append(timed(lambda: x + y, OPERATIONS))
            with mode:
                samples["FakeTensorMode"].append(timed(lambda: fake_x + fake_y, OPERATIONS))
    return samples


def step_of(place: str) -> Callable[[], None]:
    """One step of training, to its end."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(WIDTH, 4, 4 * WIDTH, dropout=0.0, batch_first=True)
    model = nn.Sequential(layer, nn.Linear(WIDTH, WIDTH)).to(place)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, foreach=True)
    values = torch.randn(BATCH, LENGTH, WIDTH).to(place)

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.mse_loss(model(values), values).backward()
        optimizer.step()
        if place != "cpu":
            torch.cuda.synchronize()

    return step


def steps(repetitions: int) -> dict[str, list[float]]:
    """Samples of a step, plain and simulated."""
    samples: dict[str, list[float]] = {"plain": [], "simulated": []}
    with simulate(latency=no_latency):
        subjects = {"plain": step_of("cpu"), "simulated": step_of("cuda")}
        for step in subjects.values():
            step()
        for _ in range(repetitions):
            for name, step in subjects.items():
                samples[name].append(timed(step, 2))
    return samples


def summary(samples: dict[str, list[float]], baseline: str, unit: float) -> dict[str, dict[str, float]]:
    """Medians, the best of all, and ratios to the baseline."""
    return {
        name: {
            "median": round(statistics.median(values) * unit, 2),
            "best": round(min(values) * unit, 2),
            f"ratio_to_{baseline}": round(
                statistics.median(a / b for a, b in zip(values, samples[baseline], strict=True)), 2
            ),
        }
        for name, values in samples.items()
    }


def main() -> int:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--repetitions", type=int, default=REPETITIONS)
    parser.add_argument("--name", default="simulate", help="of the file in benchmarks/results")
    options = parser.parse_args()
    result = machine.describe() | {
        "repetitions": options.repetitions,
        "operation_us": summary(small(options.repetitions), "FakeTensorMode", 1e6),
        "step_ms": summary(steps(options.repetitions), "plain", 1e3),
    }
    for what, unit in (("operation_us", "µs"), ("step_ms", "ms")):
        for name, figures in result[what].items():
            ratio = next(value for key, value in figures.items() if key.startswith("ratio"))
            print(
                f"{name:16} {figures['median']:>9.2f} {unit}  best {figures['best']:>8.2f} {unit}  ratio {ratio:>6.2f}"
            )
    print("ratio: of an operation to FakeTensorMode's, of a step to the plain one")
    print(f"written to {machine.save(options.name, result)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
