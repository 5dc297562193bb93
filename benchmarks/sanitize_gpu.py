"""What the sanitizer costs a launch on a GPU, beside torch's CSAN: `python -m benchmarks.sanitize_gpu`.

`x.add_(1)` on a tensor of four numbers, launched in a loop at a call depth of 3 and of 40: host time a launch, plain,
under a dispatch mode that does nothing, under `watching()`, and with `TORCH_CUDA_SANITIZER=1`. Each subject runs in a
process of its own, because CSAN cannot be taken off again; the processes take turns. Medians over all repetitions of
all rounds. Needs a GPU.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks import machine

ROUNDS, REPETITIONS, DEPTHS = 3, 7, (3, 40)
#: Launches a repetition: fewer than a stream holds before it makes the host wait.
TIMES = 500
SUBJECTS: dict[str, dict[str, str]] = {
    "plain": {},
    "empty mode": {},
    "sanitizer": {},
    "CSAN": {"TORCH_CUDA_SANITIZER": "1"},
}


def _at_depth(depth: int, call: Callable[[], float]) -> float:
    return call() if depth <= 1 else _at_depth(depth - 1, call)


def _launches() -> float:
    """Seconds a launch, until the last one is submitted."""
    import torch

    x = torch.zeros(4, device="cuda")
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(TIMES):
        x.add_(1)
    seconds = (time.perf_counter() - began) / TIMES
    torch.cuda.synchronize()
    return seconds


def subject(name: str, repetitions: int) -> dict[int, list[float]]:
    """The samples of one process, by depth."""
    from cpugpu.sanitize import watching

    if name == "sanitizer":
        with watching() as session:
            found = _samples(repetitions)
        assert not list(session.model.findings)
        return found
    with _empty_mode() if name == "empty mode" else contextlib.nullcontext():
        return _samples(repetitions)


def _samples(repetitions: int) -> dict[int, list[float]]:
    _launches()
    return {depth: [_at_depth(depth, _launches) for _ in range(repetitions)] for depth in DEPTHS}


def _empty_mode() -> contextlib.AbstractContextManager[object]:
    from torch.utils._python_dispatch import TorchDispatchMode

    class Empty(TorchDispatchMode):
        """What any dispatch mode costs."""

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return func(*args, **(kwargs or {}))

    return Empty()  # type: ignore[no-untyped-call]


def measure(rounds: int, repetitions: int) -> dict[str, Any]:
    """All subjects in turn."""
    samples: dict[tuple[int, str], list[float]] = {}
    for _ in range(rounds):
        for name, setting in SUBJECTS.items():
            command = [sys.executable, "-m", "benchmarks.sanitize_gpu", "--subject", name]
            command += ["--repetitions", str(repetitions)]
            done = subprocess.run(command, env=os.environ | setting, stdout=subprocess.PIPE, text=True, check=True)
            for depth, values in json.loads(done.stdout.splitlines()[-1]).items():
                samples.setdefault((int(depth), name), []).extend(values)
    return {
        f"depth {depth}": {
            name: {
                "median_us": round(statistics.median(samples[depth, name]) * 1e6, 2),
                "best_us": round(min(samples[depth, name]) * 1e6, 2),
                "worst_us": round(max(samples[depth, name]) * 1e6, 2),
            }
            for name in SUBJECTS
        }
        for depth in DEPTHS
    }


def main() -> int:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="processes of each subject")
    parser.add_argument("--repetitions", type=int, default=REPETITIONS, help="in each process, at each depth")
    parser.add_argument("--subject", choices=SUBJECTS, help="only this one, in this process: its samples as JSON")
    parser.add_argument("--name", default="sanitize-gpu", help="of the file in benchmarks/results")
    options = parser.parse_args()
    if options.subject:
        print(json.dumps(subject(options.subject, options.repetitions)))
        return 0
    launch = measure(options.rounds, options.repetitions)
    result = machine.describe() | {"rounds": options.rounds, "repetitions": options.repetitions, "launch": launch}
    for depth, figures in launch.items():
        print(depth)
        for name, figure in figures.items():
            print(
                f"    {name:10}  {figure['median_us']:>8.2f} µs  best {figure['best_us']:>8.2f} µs"
                f"  worst {figure['worst_us']:>8.2f} µs"
            )
    print(f"written to {machine.save(options.name, result)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
