"""A process that cleans up after a watcher that has died: it ends the shards, with all that they started.

A shard cannot be trusted with that. While one of its threads holds the GIL no other can notice anything; a timer of
`faulthandler` belongs to whoever sets it last, and ends one process only; Linux's signal at the parent's death comes
from the server that shards are forked from, which lives as long as they do. So somebody else looks: that works
everywhere, whatever a shard does to itself, and costs two short messages a shard.
"""

from __future__ import annotations

import os
import shutil
import signal
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext

#: How long a warden that was told to end may take.
_END_SECONDS = 5.0


class Warden:
    """The watcher's side. `folder` is removed when the watcher has ended, in whatever way."""

    def __init__(self, context: ForkServerContext, folder: str) -> None:
        theirs, self._pipe = context.Pipe(duplex=False)
        self._process = context.Process(target=_watch, args=(theirs, folder), name="cpugpu warden", daemon=True)
        self._process.start()
        theirs.close()

    def began(self, pid: int) -> None:
        """A shard runs, in a process that leads a group of its own."""
        self._tell(pid)

    def ended(self, pid: int) -> None:
        """It was ended, and its group with it."""
        self._tell(-pid)

    def close(self) -> None:
        """The watcher ends: nothing is left to be watched."""
        self._pipe.close()
        self._process.join(_END_SECONDS)
        self._process.kill()

    def _tell(self, pid: int) -> None:
        with suppress(OSError):  # a warden that was killed is a net less, no reason to fall
            self._pipe.send(pid)


def end_group(pid: int) -> None:
    """Kill what is left of the group that the process `pid` leads or has led."""
    with suppress(ProcessLookupError, PermissionError):  # macOS refuses where only the dead are left
        os.killpg(pid, signal.SIGKILL)


def _watch(pipe: Connection, folder: str) -> None:
    os.setsid()  # Ctrl-C is for the watcher
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # multiprocessing's, at the end of a watcher
    shards: set[int] = set()
    with suppress(EOFError, OSError, KeyboardInterrupt):
        while True:
            pid: int = pipe.recv()
            shards.add(pid) if pid > 0 else shards.discard(-pid)
    for pid in shards:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)  # it may not lead its group yet
        end_group(pid)
    shutil.rmtree(folder, ignore_errors=True)
