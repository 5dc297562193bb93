"""One mutant, one engine, one process: a mutant may hang, break the interpreter, or leave threads behind.

`try_in_process` starts the process and reads its verdict; run as a program this module is that process.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

from stress.mutants import MUTANTS
from stress.mutants.engines import ENGINES, PATIENCE_SECONDS, Kill, Pulse, try_out
from stress.mutants.explorer import EXPLORE, explore_mutant
from stress.mutants.mutant import SANITIZE

#: The unmutated code.
NONE = "none"
_ROOT = Path(__file__).parent.parent.parent
#: A scenario that has not come back by then never will: the hammer gives an execution up long before.
_STUCK_SECONDS = 4 * PATIENCE_SECONDS
#: The process ends by itself before that, unless it cannot.
_DEADLINE_SECONDS = 60.0


def try_in_process(engine: str, mutant: str, *, device: str, seconds: float, seed: int) -> Kill:
    """Put a mutant (its name, or `NONE`) to an engine for so many seconds, in a process of its own.

    A kill counts if it came in time. A process that dies without a verdict counts as killed: a mutant did that.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CPUGPU_")}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(_ROOT), environment.get("PYTHONPATH"))))
    options = [f"--device={device}", f"--seconds={seconds}", f"--seed={seed}"]
    command = [sys.executable, "-m", __name__, engine, mutant, *options]
    began = time.monotonic()
    try:
        done = subprocess.run(
            command,
            env=environment,
            cwd=_ROOT,
            capture_output=True,
            text=True,
            timeout=seconds + _DEADLINE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Kill(False, time.monotonic() - began, "", "no verdict")
    verdicts = [line for line in done.stdout.splitlines() if line.startswith('{"killed"')]
    if verdicts:
        kill = Kill(**json.loads(verdicts[-1]))
    elif mutant == NONE:
        raise RuntimeError(f"{' '.join(command)} ended with status {done.returncode}:\n{done.stderr}")
    else:
        kill = Kill(True, time.monotonic() - began, "", f"the process died ({done.returncode})")
    return kill if kill.seconds <= seconds else Kill(False, kill.seconds)


def main() -> None:
    """Print the verdict as a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", choices=(*ENGINES, EXPLORE, SANITIZE))
    parser.add_argument("mutant")
    parser.add_argument("--device", default="sim")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.getLogger("cpugpu").disabled = True  # a mutant's complaints are of no use
    threading.excepthook = lambda _: None  # a worker that a mutant breaks ends without a word; what follows counts
    mutant = MUTANTS.get(options.mutant)
    with contextlib.ExitStack() as stack:
        if mutant is not None:
            stack.enter_context(mutant.applied())
        pulse = Pulse()
        watch = _Watch(pulse)
        part = None if mutant is None else mutant.part
        if options.engine == EXPLORE:
            kill = explore_mutant(part, seconds=options.seconds, begins=watch.begins)
        elif options.engine == SANITIZE:
            from stress.mutants.sanitized import sanitize_mutant  # and torch

            kill = sanitize_mutant(seconds=options.seconds, seed=options.seed, begins=watch.begins)
        else:
            kill = try_out(
                options.engine,
                part,
                pulse,
                device=options.device,
                seconds=options.seconds,
                seed=options.seed,
                begins=watch.begins,
            )
        _tell(kill)
        os._exit(0)  # threads that hang, and exit handlers that a mutant may have broken, are nobody's concern


class _Watch:
    """Ends the process with a verdict when what it plays does not come back."""

    def __init__(self, pulse: Pulse) -> None:
        self._pulse = pulse
        self._began = time.monotonic()
        self._name, self._since = "", self._began
        threading.Thread(target=self._look, name="watch", daemon=True).start()

    def begins(self, name: str) -> None:
        """From now on it plays `name`."""
        self._name, self._since = name, time.monotonic()

    def _look(self) -> None:
        while time.monotonic() - self._since < _STUCK_SECONDS:
            time.sleep(0.1)
            if not self._pulse.calm_since(self._since):
                self._since = time.monotonic()
        _tell(Kill(True, time.monotonic() - self._began, self._name, "stuck"))
        os._exit(0)


def _tell(kill: Kill) -> None:
    sys.stdout.write(f"\n{json.dumps(asdict(kill))}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
