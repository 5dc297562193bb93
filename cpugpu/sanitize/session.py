"""Start and stop: what is put in place while a program is watched, and what is said at the end."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from cpugpu.patches import Patches
from cpugpu.sanitize import report, suppress, traced
from cpugpu.sanitize.findings import Finding
from cpugpu.sanitize.intercept import (
    blind,
    calls,
    csan,
    devices,
    forked,
    hand_offs,
    processes,
    real,
    simulated,
    threads,
)
from cpugpu.sanitize.intercept.backend import backend
from cpugpu.sanitize.intercept.imports import WhenImported
from cpugpu.sanitize.intercept.watch import Watch
from cpugpu.sanitize.model import Model
from cpugpu.simulate import session as simulation

Mode = Literal["check", "raise"]


class Session:
    """A program is watched from `start` to `stop`. `model.findings` has what was found."""

    def __init__(self, mode: Mode = "check", is_suppressed: Callable[[Finding], bool] | None = None) -> None:
        self.model = Model(is_suppressed)
        self.watch = Watch(self.model, backend())
        self.watch.raises = mode == "raise"
        self._patches = Patches()
        self._imports = WhenImported(self._patches)
        self._modes: real.Modes | None = None

    def start(self) -> None:
        """From now on, in all threads; on the simulated device where one is on, else on torch's own."""
        self.model.me()
        self.watch.traced = traced.begin(self.model.findings)
        places = [*threads.patches(self.model, self.watch), *calls.patches(self.watch), *blind.patches(self.watch)]
        places += [*hand_offs.patches(self.model), *devices.patches(self.watch)]
        if simulation.current() is not None:
            places += simulated.patches(self.watch)
        else:
            places += [*real.patches(self.watch), *processes.patches(self.watch, self.watch.backend.module.Event)]
            self._modes = real.Modes(self.watch)
            self.watch.enter_thread = self._modes.enter
            self._modes.enter()
        self._patches.apply(places)
        self._imports.start({csan.MODULE: csan.patches, **blind.later(self.watch)})

    def forked(self) -> None:
        """Called in a forked child, which is watched too: it is not to use the device."""
        self.model.forked()
        self.watch.backend.several = False
        self._patches.apply(forked.patches(self.watch))
        if self._modes is not None:
            forked.Mode(self.watch).__enter__()  # type: ignore[no-untyped-call]

    def stop(self) -> None:
        """No longer: everything is as it was. The findings stay."""
        self.model.watch_ended()
        self._imports.stop()
        self._patches.undo()
        self.watch.over = True
        if self.watch.traced is not None:
            self.watch.traced.catch_up()
        if self._modes is not None:
            self._modes.leave()

    def program_ended(self) -> None:
        """And so has the program, but for what Python waits for."""
        self.model.program_ended(threads.lasting(self.model))
        if self.watch.traced is not None:
            self.watch.traced.catch_up()

    def text(self) -> str:
        """The report."""
        return report.text(self.model.findings, self.model.blind_spots)

    def json(self) -> str:
        """The report as JSON."""
        return report.as_json(self.model.findings, self.model.blind_spots)


_session: Session | None = None


def _in_child() -> None:
    if _session is not None:
        _session.forked()


os.register_at_fork(after_in_child=_in_child)


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
    if csan.is_on():
        raise RuntimeError("enable_cuda_sanitizer() was called: torch's own sanitizer is on; one of the two at a time")
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


def current() -> Session | None:
    """The one that watches now."""
    return _session


def is_on(session: Session) -> bool:
    """Is it the one that watches now?"""
    return _session is session


@contextmanager
def watching(mode: Mode = "check", *, suppressions: str | Path | None = None) -> Iterator[Session]:
    """`start` and `stop`, around a block."""
    session = start(mode, suppressions=suppressions)
    try:
        yield session
    finally:
        if is_on(session):
            stop()
