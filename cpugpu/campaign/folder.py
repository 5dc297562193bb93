"""The folder that a campaign writes to: one campaign at a time, and the results of the one before it are kept."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cpugpu.campaign.results import NAME, Header, ResultsError, Run, append, read
from cpugpu.errors import BadInput

PREVIOUS = "previous.jsonl"


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Make `folder` and keep other campaigns of this machine out of it meanwhile. `BadInput` where one is there.

    The folder itself is locked: no file lies in it for that, and whoever is killed leaves no lock.
    """
    with _written(folder):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _lock(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BadInput(
            f"--stress-report={folder}: another campaign writes there; wait for its end, or name another folder"
        ) from error
    except OSError:  # a file system without locks
        pass


def begin(folder: Path, header: Header, write: Callable[[str], None]) -> Run | None:
    """Make room for new results; returns the last ones, where there are any that can be read.

    Results that were interrupted before the first of them never take the place of the last ones. `BadInput` for a
    folder that cannot be written: better before the time is spent than after it.
    """
    with _written(folder):
        current, last = _read(folder / NAME, write), None
        if current is None or not current.entries:
            last = _read(folder / PREVIOUS, write)
        if current is not None and (current.entries or last is None or not last.entries):
            os.replace(folder / NAME, folder / PREVIOUS)
            last = current
        else:
            (folder / NAME).unlink(missing_ok=True)
        append(folder / NAME, header)
    return last


def _read(path: Path, write: Callable[[str], None]) -> Run | None:
    try:
        return read(path)
    except FileNotFoundError:
        return None
    except ResultsError as error:
        write(f"cpugpu: of the last run's results only a part is compared: {error}")
        return error.run


@contextmanager
def _written(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BadInput(f"--stress-report={folder} cannot be written: {error.strerror or error}") from error
