"""The command `cpugpu run`: an unmodified program under the sanitizer, on the simulated device or on the real one.

The program sees what it would see under `python` (`cpugpu/program.py`). Its exit status and its traceback are its own;
only where it has ended well does the status say what was found.
"""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from cpugpu import settings
from cpugpu.errors import BadInput
from cpugpu.program import ALLOWED, Program


def add_parser(commands: Any) -> None:
    """`cpugpu run` and its options."""
    parser = commands.add_parser(
        "run",
        help="run a program under the sanitizer, on the simulated or the real device",
        usage="cpugpu run [OPTION...] (SCRIPT | -m MODULE) [ARGUMENT...]",
    )
    parser.add_argument(
        "--device",
        choices=("auto", "sim", "real"),
        default="auto",
        help="what torch.cuda is (auto: real where it is)",
    )
    parser.add_argument("--devices", type=int, default=1, metavar="N", help="so many simulated devices (default 1)")
    parser.add_argument("--seed", type=int, metavar="S", help="of latencies (default: CPUGPU_SEED, else 0)")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--check", action="store_true", help="report at the end (default: only if anything was found)")
    how.add_argument("--raise", action="store_true", dest="raises", help="raise in the thread that breaks a rule")
    how.add_argument("--no-sanitize", action="store_true", help="only run it")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the findings there; those of a forked child to FILE.PID"
    )
    parser.add_argument("--suppressions", type=Path, metavar="FILE", help="what is not to be reported")
    parser.add_argument(
        "--exit-code", action="store_true", help="exit with 66 if there are findings and the program has not failed"
    )
    parser.add_argument("-m", dest="module", action="store_true", help="the program is a module")
    parser.add_argument("program", nargs=argparse.REMAINDER, help="the script or module, and its arguments")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    if not options.program:
        raise BadInput(f"which program? {ALLOWED}")
    name, *arguments = options.program
    if options.no_sanitize and (options.json or options.suppressions or options.exit_code):
        raise BadInput("--json, --suppressions and --exit-code are not for --no-sanitize")
    if options.device == "real" and (options.devices != 1 or options.seed is not None):
        raise BadInput("--devices and --seed are for --device sim")
    if not options.no_sanitize:
        _check_environment()
    program = Program(name, arguments, module=options.module)
    import torch

    simulated = options.device == "sim" or (options.device == "auto" and not torch.cuda.is_available())
    if options.device == "auto" and simulated and options.check:
        print("cpugpu: no GPU here: torch.cuda is the simulated device", file=sys.stderr)
    with _device(options) if simulated else nullcontext():
        status = program.run() if options.no_sanitize else _watched(options, program)
    if program.interrupted:
        # Python ends as SIGINT would end it, which a shell can tell from a status of 130. It has been printed.
        sys.excepthook = lambda *_: None
        raise KeyboardInterrupt
    return status


def _check_environment() -> None:
    """What is set for something else."""
    if "TORCH_CUDA_SANITIZER" in os.environ:
        raise BadInput(
            f"TORCH_CUDA_SANITIZER={os.environ['TORCH_CUDA_SANITIZER']!r} turns torch's own sanitizer on:"
            " unset it, or run with --no-sanitize; one of the two at a time"
        )
    if settings.sanitize_mode() != "off":
        raise BadInput(
            f"CPUGPU_SANITIZE={os.environ['CPUGPU_SANITIZE']!r} is for programs that are run without this"
            " command: unset it (--check and --raise say the same), or run with --no-sanitize"
        )


def _device(options: argparse.Namespace) -> AbstractContextManager[object]:
    from cpugpu.simulate import simulate

    return simulate(options.devices, seed=options.seed)


def _watched(options: argparse.Namespace, program: Program) -> int:
    from cpugpu.sanitize import ending, session

    mode: session.Mode = "raise" if options.raises else "check"
    out = ending.where(options.json)
    with (
        session.watching(mode, suppressions=options.suppressions) as watch,
        ending.Ending(watch, json=out, always=options.check, exit_code=options.exit_code) as end,
    ):
        status = program.run()
    end.say()
    return end.status(status)
