"""What is said when a watched process ends: once, however it ends, and by a forked child only of itself.

`os._exit` ends a process at once; so it is doubled, for what was found is to be said before. A process that a signal
kills, or that becomes another one (`os.exec...`), says nothing.
"""

from __future__ import annotations

import atexit
import mmap
import os
import sys
from pathlib import Path
from typing import NoReturn

from cpugpu import settings
from cpugpu.errors import BadInput
from cpugpu.patches import Patches
from cpugpu.sanitize.session import Session, is_on, start, stop

#: The exit status of `cpugpu run --exit-code` when there are findings.
FOUND = 66
#: The exit status of a program that has ended well whose findings could not be written.
NOT_WRITTEN = 2


def where(path: Path | None) -> Path | None:
    """The same place wherever the program goes. `BadInput` if nothing can be written there: now, not hours later."""
    if path is None:
        return None
    found = Path.cwd() / path
    try:
        with found.open("w"):  # what an earlier run has left is not this one's
            pass
    except OSError as error:
        raise BadInput(
            f"--json={path} cannot be written: {error.strerror or error}; allowed is a file in a folder that is there"
        ) from error
    return found


class Ending:
    """How the findings of a session are told. Within the block `os._exit` tells them too."""

    def __init__(
        self, session: Session, *, json: Path | None = None, always: bool = True, exit_code: bool = False
    ) -> None:
        self._session = session
        self._json = json
        self._always = always
        self._exit_code = exit_code
        self._parent = os.getpid()
        self._said: set[int] = set()  # by which processes
        self._failed = False
        self._in_children = mmap.mmap(-1, 1)  # shared with forked children: has one of them found something?
        self._patches = Patches()

    def __enter__(self) -> Ending:
        self._patches.apply([(os, "_exit", self._exit)])
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._patches.undo()

    def say(self) -> None:
        """The report to standard error, and the file; in a child only if it has found something itself."""
        process = os.getpid()
        if process in self._said:
            return
        self._said.add(process)
        self._session.program_ended()
        session, child = self._session, process != self._parent
        found = len(session.model.findings) > 0
        if child:
            if not found:
                return
            self._in_children[0] = 1
            print(f"cpugpu: in process {process}, a forked child of {os.getppid()}:", file=sys.stderr)
        if self._json is not None:
            self._write(self._json.with_name(f"{self._json.name}.{process}") if child else self._json)
        if found or self._always:
            print(session.text(), file=sys.stderr, flush=True)

    def status(self, own: int) -> int:
        """The exit status, of which `own` is the program's: a failure of its own comes first."""
        if own or os.getpid() != self._parent:
            return own
        if self._failed:
            return NOT_WRITTEN
        found = len(self._session.model.findings) > 0 or self._in_children[0]
        return FOUND if self._exit_code and found else 0

    def _write(self, path: Path) -> None:
        try:
            path.write_text(self._session.json() + "\n")
        except OSError as error:
            self._failed = True
            print(f"cpugpu: the findings cannot be written to {path}: {error.strerror or error}", file=sys.stderr)

    def _exit(self, status: int) -> NoReturn:
        self._patches.undo()
        try:
            self.say()
        finally:
            os._exit(self.status(status))


def start_for_the_process() -> None:
    """What `CPUGPU_SANITIZE` asks for: watch until the process ends, then report to standard error."""
    session = start("raise" if settings.sanitize_mode() == "raise" else "check")
    ending = Ending(session).__enter__()

    def end() -> None:
        if is_on(session):
            stop()
        ending.say()

    atexit.register(end)
