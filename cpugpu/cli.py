"""The command `cpugpu`.

`cpugpu stress [PATH...] [options]` runs scenarios: pytest with the same arguments, by default on `stress/`. Everything
that pytest takes is taken, `-n 4` and `-k name` for instance; `cpugpu stress --help` lists the rest.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
from collections.abc import Sequence

import cpugpu


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(prog="cpugpu", description="Stress the hand-off between CPU threads and streams.")
    parser.add_argument("--version", action="version", version=f"cpugpu {cpugpu.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("stress", help="run scenarios: pytest with the same arguments", add_help=False)
    parser.parse_args(given[:1])
    return _stress(given[1:])


def _stress(arguments: list[str]) -> int:
    if importlib.util.find_spec("pytest") is None:
        print("cpugpu stress needs pytest: pip install 'cpugpu[stress]'", file=sys.stderr)
        return 2
    # A process of its own, for pytest wants to load its plugins itself, and this package has one.
    command = [sys.executable, "-m", "pytest", "--override-ini=testpaths=stress", *arguments]
    return subprocess.run(command, check=False).returncode
