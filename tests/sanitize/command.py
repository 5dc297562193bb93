"""A program under `cpugpu run` in a process of its own, and under `python`, to compare."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


Run = Callable[..., Done]


def python(*arguments: str, cwd: Path) -> Done:
    """What Python itself does."""
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=cwd, check=False)
    return Done(done.returncode, done.stdout, done.stderr)


def run_apart(*arguments: str, cwd: Path) -> Done:
    """The command in a process of its own: where the program ends the process, or forks it."""
    return _done(["-m", "cpugpu", "run", *arguments], cwd)


def python_with(text: str, cwd: Path, **environment: str) -> Done:
    """`text` under Python itself, with this package."""
    return _done(["-c", text], cwd, **environment)


def _done(arguments: list[str], cwd: Path, **environment: str) -> Done:
    path = os.pathsep.join(filter(None, (str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
        env={**os.environ, "PYTHONPATH": path, **environment},
    )
    return Done(done.returncode, done.stdout, done.stderr)
