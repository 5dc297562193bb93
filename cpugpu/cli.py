"""The command `cpugpu`.

`cpugpu stress [PATH...] [options]` runs scenarios: pytest with the same arguments, by default on `stress/`. Everything
that pytest takes is taken, `-n 4` and `-k name` for instance; `cpugpu stress --help` lists the rest.

`cpugpu explore [PATH[::SCENARIO]...]` tries the schedules of scenarios one by one (`cpugpu/cli_explore.py`).

`cpugpu run SCRIPT [ARGUMENT...]` runs a program on the simulated device (`cpugpu/cli_run.py`).

`cpugpu merge OUT FOLDER...` joins what several machines have left (`--stress-report`), and writes one report. It
overwrites nothing but what a merge has made.

`cpugpu rules` runs every rule of the debug mode against its examples and prints the table; `cpugpu rules NAME` prints
the page of one. `cpugpu trace summary|check|perfetto FILE` reads what `CPUGPU_TRACE=FILE` has written.

Exit status: 0, 1 when something was found, 2 for bad input or a report that could not be written, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import cpugpu
from cpugpu import cli_explore, cli_run

#: Statuses of pytest: Ctrl-C, a path or scenario that is not there, and a selection that leaves none.
_INTERRUPTED, _USAGE_ERROR, _NOTHING_SELECTED = 2, 4, 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["stress"]:
        return _stress(given[1:])  # whose arguments are pytest's
    options = _parser().parse_args(given)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except BrokenPipeError:  # a reader such as head has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (OSError, ValueError, ImportError) as error:
        print(f"cpugpu: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cpugpu", description="Hand-offs between CPU threads and GPU streams.")
    parser.add_argument("--version", action="version", version=f"cpugpu {cpugpu.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("stress", help="run scenarios: pytest with the same arguments", add_help=False)

    cli_explore.add_parser(commands)
    cli_run.add_parser(commands)

    merge = commands.add_parser("merge", help="join the results of several machines into one report")
    merge.add_argument("out", type=Path, help="the folder to make")
    merge.add_argument("folders", nargs="+", type=Path, help="what --stress-report has named, or a results.jsonl")
    merge.set_defaults(run=_merge)

    rules = commands.add_parser("rules", help="the rules of the debug mode: the table, or the page of one")
    rules.add_argument("name", nargs="?", help="a rule")
    rules.set_defaults(run=_rules)

    trace = commands.add_parser("trace", help="read a trace that CPUGPU_TRACE has written")
    actions = trace.add_subparsers(dest="action", required=True, metavar="summary|check|perfetto")
    for name, run, text in (
        ("summary", _summary, "latencies, waits by event, violations"),
        ("check", _check, "judge it by the rules; the exit status is 1 if one is broken"),
        ("perfetto", _perfetto, "make a file for the Perfetto UI"),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument("file", help="what CPUGPU_TRACE has named")
        action.set_defaults(run=run)
        if name == "perfetto":
            action.add_argument("-o", "--output", required=True, help="the file to make")
    return parser


def _stress(arguments: list[str]) -> int:
    if importlib.util.find_spec("pytest") is None:
        print("cpugpu stress needs pytest: pip install 'cpugpu[stress]'", file=sys.stderr)
        return 2
    # A process of its own, for pytest wants to load its plugins itself, and this package has one.
    command = [sys.executable, "-m", "pytest", "--override-ini=testpaths=stress", *arguments]
    status, interrupted = _waited_for(command)
    if interrupted and status == _INTERRUPTED:
        return 128 + signal.SIGINT
    if status < 0:  # a signal has ended it
        return 128 - status
    return 2 if status in (_USAGE_ERROR, _NOTHING_SELECTED) else status


def _waited_for(command: Sequence[str]) -> tuple[int, bool]:
    """The status of a command, and whether Ctrl-C came meanwhile. That is the command's to answer, in its own time.

    A handler, unlike SIG_IGN, is not inherited. Where a shell has let the interrupt be ignored, it stays so.
    """
    came: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        return subprocess.Popen(command).wait(), bool(came)
    finally:
        signal.signal(signal.SIGINT, before)


def _merge(options: argparse.Namespace) -> int:
    from cpugpu.report import item_text, outcome_table
    from cpugpu.report.merge import join

    run, report, parts = join(options.out, options.folders)
    for problem in parts.problems:
        print(f"cpugpu: {problem}", file=sys.stderr)
    for item in run.items:
        if item.result is not None:
            print(outcome_table(item.result))
    for item in run.items:
        if not item.passed:
            print(item_text(item))
    for note in parts.notes:
        print(f"cpugpu: {note}")
    failed = sum(not item.passed for item in run.items)
    print(f"{len(run.items)} scenarios in {len(run.headers)} parts, {failed} failed; report {report}")
    return 2 if parts.problems else 1 if failed else 0


def _rules(options: argparse.Namespace) -> int:
    from cpugpu.debug import RULES
    from cpugpu.report.catalogue import example_rows, scenario_rows
    from cpugpu.report.rules import cross_table, page

    if options.name is not None:
        if options.name not in RULES:
            raise ValueError(f"there is no rule {options.name!r}; there are {', '.join(RULES)}")
        print(page(RULES[options.name]), end="")
        return 0
    rows = list(example_rows())
    folder = Path("stress")
    if folder.is_dir():
        sys.path.insert(0, os.curdir)
        rows += scenario_rows(folder)
    print(cross_table(rows))
    wrong = [row.program for row in rows if not row.right]
    print(f"\n{len(rows)} programs, {len(RULES)} rules, {len(wrong)} rows wrong")
    return 1 if wrong else 0


def _summary(options: argparse.Namespace) -> int:
    from cpugpu.trace import TraceError, read, summarize

    try:
        print(summarize(read(options.file)))
    except TraceError as error:
        if error.partial is not None:  # what can be read is shown, and the damage told
            print(summarize(error.partial))
        raise
    return 0


def _check(options: argparse.Namespace) -> int:
    from cpugpu.debug.offline import check
    from cpugpu.trace import read

    found = check(read(options.file))
    for finding in found:
        where = f"{finding.entry.thread_name} at {finding.entry.place or 'an unknown place'}"
        print(f"{finding.rule}: {finding.message} ({where})")
    print(f"{len(found)} violations")
    return 1 if found else 0


def _perfetto(options: argparse.Namespace) -> int:
    from cpugpu.trace import export, read

    counts = export(read(options.file), options.output)
    print(f"{options.output}: {counts.slices} slices, {counts.flows} flows, {counts.instants} instants")
    return 0
