"""Start and stop: what is put in place while a program is watched, and what is said at the end."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from cpugpu import settings
from cpugpu.patches import Patches
from cpugpu.sanitize import report, suppress
from cpugpu.sanitize.findings import Finding
from cpugpu.sanitize.intercept import calls, hand_offs, real, simulated, threads
from cpugpu.sanitize.intercept.backend import backend
from cpugpu.sanitize.intercept.watch import Watch
from cpugpu.sanitize.model import Model
from cpugpu.simulate import session as simulation

Mode = Literal["check", "raise"]
#: The exit status of `cpugpu run --exit-code` when there are findings.
FOUND = 66


class Session:
    """A program is watched from `start` to `stop`. `model.findings` has what was found."""

    def __init__(self, mode: Mode = "check", is_suppressed: Callable[[Finding], bool] | None = None) -> None:
        self.model = Model(is_suppressed)
        self.watch = Watch(self.model, backend())
        self.watch.raises = mode == "raise"
        self._patches = Patches()
        self._modes: real.Modes | None = None

    def start(self) -> None:
        """From now on, in all threads; on the simulated device where one is on, else on torch's own."""
        self.model.me()
        places = [*threads.patches(self.model, self.watch), *calls.patches(self.watch)]
        places += hand_offs.patches(self.model)
        if simulation.current() is not None:
            places += simulated.patches(self.watch)
        else:
            places += real.patches(self.watch)
            self._modes = real.Modes(self.watch)
            self.watch.enter_thread = self._modes.enter
            self._modes.enter()
        self._patches.apply(places)

    def stop(self) -> None:
        """No longer: everything is as it was. The findings stay."""
        self._patches.undo()
        self.watch.over = True
        if self._modes is not None:
            self._modes.leave()

    def text(self) -> str:
        """The report."""
        return report.text(self.model.findings, self.model.blind_spots)

    def json(self) -> str:
        """The report as JSON."""
        return report.as_json(self.model.findings, self.model.blind_spots)


_session: Session | None = None


def start(mode: Mode = "check", *, suppressions: str | Path | None = None) -> Session:
    """Watch this program from now on.

    `mode`: `check` keeps what is found for the report; `raise` raises `SanitizerError` in the thread, after the call.
    `suppressions` is the path of a file (see `cpugpu.sanitize.suppress`): `BadInput` names a line that is wrong.
    `RuntimeError` if the sanitizer is on already, or torch's own is: they would watch each other.
    """
    global _session
    if mode not in ("check", "raise"):
        raise ValueError(f"mode={mode!r} is neither 'check' nor 'raise'")
    if _session is not None:
        raise RuntimeError("the sanitizer is on already; stop() ends it")
    if "TORCH_CUDA_SANITIZER" in os.environ:
        raise RuntimeError(
            "TORCH_CUDA_SANITIZER is set: torch's own sanitizer is on; unset it, one of the two at a time"
        )
    session = Session(mode, suppress.read(Path(suppressions)) if suppressions is not None else None)
    session.start()
    _session = session
    return session


def stop() -> Session:
    """The end. `RuntimeError` if the sanitizer is not on."""
    global _session
    if _session is None:
        raise RuntimeError("the sanitizer is not on; start() begins it")
    ended, _session = _session, None
    ended.stop()
    return ended


@contextmanager
def watching(mode: Mode = "check", *, suppressions: str | Path | None = None) -> Iterator[Session]:
    """`start` and `stop`, around a block."""
    session = start(mode, suppressions=suppressions)
    try:
        yield session
    finally:
        if _session is session:
            stop()


def start_for_the_process() -> None:
    """What `CPUGPU_SANITIZE` asks for: watch until the process ends, then report to standard error."""
    session = start("raise" if settings.sanitize_mode() == "raise" else "check")

    def say() -> None:
        if _session is session:
            stop()
        print(session.text(), file=sys.stderr)

    atexit.register(say)
