"""Let Hypothesis look for a program that fails, under the hammer, and shrink it.

$ python -m stress.generated --subject stress.subjects:RecordOnCurrentStream --device sim
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cpugpu import scenario
from cpugpu.hammer import choose_device, hammer
from cpugpu.hammer.rig import HammerRig
from stress.generated import program as language
from stress.generated.program import Program
from stress.generated.search import Finding, Search


def search(
    make_event: Callable[[], Any], *, seconds: float, seed: int, device: str = "auto", program: Program | None = None
) -> tuple[Search, Finding | None]:
    """Search, or shrink `program`, on a rig that the hammer lends for one long execution.

    Returns the search, which has counted, and what was found.
    """
    done: list[tuple[Search, Finding | None]] = []

    @scenario
    def searching(rig: HammerRig) -> str:
        search = Search(rig, make_event, seconds=seconds, seed=seed)
        done.append((search, search.find() if program is None else search.shrink(program)))
        return "searched"

    result = hammer(searching, seconds=1e-9, device=choose_device(device)(seed), seed=seed)
    if not done:
        raise RuntimeError(result.failures[0].details)
    return done[0]


def _printed(text: str) -> Program:
    """The program in `text`, which may have the margin of a report."""
    program = eval("\n".join(line.removeprefix("  | ") for line in text.splitlines()), vars(language).copy())
    if not isinstance(program, Program):
        raise TypeError(f"{program!r} is no Program")
    return program


def main(arguments: list[str] | None = None) -> int:
    """The exit status is 1 if a program fails."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(prog="python -m stress.generated", description=__doc__.splitlines()[0])
    parser.add_argument("--subject", default="cpugpu:CpuGpuEvent", help="the class under test (default %(default)s)")
    parser.add_argument("--program", type=Path, help="shrink the program in this file, as it was printed")
    parser.add_argument("--seconds", type=float, default=60.0, help="at most so long (default %(default)g)")
    parser.add_argument("--seed", type=int, default=0, help="of all random choices (default %(default)s)")
    parser.add_argument("--device", default="auto", choices=("auto", "accelerator", "sim"), help="default %(default)s")
    options = parser.parse_args(arguments)
    module, _, name = options.subject.partition(":")
    done, finding = search(
        getattr(importlib.import_module(module), name),
        seconds=options.seconds,
        seed=options.seed,
        device=options.device,
        program=options.program and _printed(options.program.read_text()),
    )
    print(f"{options.subject}, seed {options.seed}: {done.programs:,} programs, {done.plays:,} executions")
    if finding is None:
        print("none fails")
        return 0
    print(f"the smallest that fails has {len(finding.program)} operations:\n\n{finding}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
