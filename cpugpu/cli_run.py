"""The command `cpugpu run`: an unmodified program under the sanitizer, on the simulated device or on the real one.

The program sees what it would see under `python script.py args...` or `python -m module args...`: its arguments, its
folder first on `sys.path`, `__name__ == "__main__"`. Its exit status and its traceback are its own.
"""

from __future__ import annotations

import argparse
import runpy
import sys
import traceback
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any


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
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the findings there")
    parser.add_argument("--suppressions", type=Path, metavar="FILE", help="what is not to be reported")
    parser.add_argument("--exit-code", action="store_true", help="exit with 66 if there are findings")
    parser.add_argument("-m", dest="module", action="store_true", help="the program is a module")
    parser.add_argument("program", nargs=argparse.REMAINDER, help="the script or module, and its arguments")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    if not options.program:
        raise ValueError("cpugpu run: which program? Allowed are SCRIPT and -m MODULE, each with its own arguments")
    name, *arguments = options.program
    if not options.module and not Path(name).exists():
        raise ValueError(f"cpugpu run: there is no script {name}")
    if options.no_sanitize and (options.json or options.suppressions or options.exit_code):
        raise ValueError("cpugpu run: --json, --suppressions and --exit-code are not for --no-sanitize")
    if options.device == "real" and (options.devices != 1 or options.seed is not None):
        raise ValueError("cpugpu run: --devices and --seed are for --device sim")
    import torch

    simulated = options.device == "sim" or (options.device == "auto" and not torch.cuda.is_available())
    if options.device == "auto" and simulated and options.check:
        print("cpugpu: no GPU here: torch.cuda is the simulated device", file=sys.stderr)
    sys.argv[:] = [name, *arguments]
    sys.path.insert(0, str(Path.cwd()) if options.module else str(Path(name).resolve().parent))
    with _device(options) if simulated else nullcontext():
        if options.no_sanitize:
            return _status(name, module=options.module)
        return _watched(options, name)


def _device(options: argparse.Namespace) -> AbstractContextManager[object]:
    from cpugpu.simulate import simulate

    return simulate(options.devices, seed=options.seed)


def _watched(options: argparse.Namespace, name: str) -> int:
    from cpugpu.sanitize import session

    with session.watching("raise" if options.raises else "check", suppressions=options.suppressions) as watch:
        status = _status(name, module=options.module)
    found = len(watch.model.findings) > 0
    if options.json is not None:
        options.json.write_text(watch.json() + "\n")
    if found or options.check:
        print(watch.text(), file=sys.stderr)
    return session.FOUND if found and options.exit_code else status


def _status(name: str, *, module: bool) -> int:
    """Run it. What it raises is printed as Python would print it, without the frames that are ours."""
    try:
        if module:
            runpy.run_module(name, run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(name, run_name="__main__")
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except Exception as error:
        traceback.print_exception(type(error), error, _own(error.__traceback__))
        return 1
    return 0


def _own(frames: TracebackType | None) -> TracebackType | None:
    """The part of a traceback that begins in the program."""
    ours = (__file__, runpy.__file__, "<frozen runpy>")
    while frames is not None and frames.tb_frame.f_code.co_filename in ours and frames.tb_next is not None:
        frames = frames.tb_next
    return frames
