"""Shards as processes of this machine.

Each is forked from a small server that has nothing but this package loaded, so a shard costs milliseconds, and neither
CUDA nor a thread of the caller is in it. Whatever it does, it costs itself: the exit status, the end of the pipe and
its silence tell what has happened.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType

from cpugpu.campaign import work
from cpugpu.campaign.results import Entry, Fault, Shard
from cpugpu.campaign.work import Progress

#: Beyond its own time a shard may be silent for so long: a standstill takes the hammer 5 s, a driver starts slowly.
SILENCE_SECONDS = 30.0
#: How much of what it has printed is kept.
_SAID_BYTES = 8000


@dataclass
class _Running:
    shard: Shard
    process: BaseProcess
    pipe: Connection
    said: Path
    heard: float = field(default_factory=time.monotonic)
    last: Progress | None = None


class LocalProcesses:
    """Runs up to `width` shards at once. `silence`: so many seconds without a word beyond its time, and it is killed.

    `preload`: modules that the server imports once, for all shards.
    """

    def __init__(self, width: int, *, silence: float = SILENCE_SECONDS, preload: Sequence[str] = ()) -> None:
        self.width = width
        self._silence = silence
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([work.__name__, *preload])
        self._running: dict[int, _Running] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="cpugpu-")

    def submit(self, shard: Shard) -> None:
        """Start a shard. There must be room: fewer than `width` are running."""
        worker = min(set(range(self.width)) - set(self._running))
        shard = replace(shard, worker=worker)
        said = Path(self._folder.name, f"{shard.number}.txt")
        said.touch()
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=work.main, args=(shard, theirs, str(said)), name=f"shard {shard.number}")
        with _without_main():
            process.start()
        theirs.close()
        self._running[worker] = _Running(shard, process, ours, said)

    def events(self, timeout: float) -> list[Progress | Entry]:
        """What has happened; waits for up to `timeout` seconds for the first of it."""
        by_pipe = {running.pipe: worker for worker, running in self._running.items()}
        happened: list[Progress | Entry] = []
        for pipe in wait(list(by_pipe), timeout):
            assert isinstance(pipe, Connection)
            happened.append(self._hear(by_pipe[pipe]))
        now = time.monotonic()
        for worker, running in list(self._running.items()):
            if now - running.heard > self._silence + running.shard.seconds:
                happened.append(self._hung(worker))
        return happened

    def close(self) -> None:
        """Kill what still runs."""
        for worker in list(self._running):
            self._end(worker)
        self._folder.cleanup()

    def _hear(self, worker: int) -> Progress | Entry:
        running = self._running[worker]
        try:
            message: Progress | Entry = running.pipe.recv()
        except (EOFError, OSError):
            return self._died(worker)
        running.heard = time.monotonic()
        if isinstance(message, Progress):
            running.last = message
        else:
            self._end(worker)
        return message

    def _died(self, worker: int) -> Entry:
        running = self._running[worker]
        running.process.join(10.0)
        status = running.process.exitcode
        if status is not None and status < 0:
            name = signal.Signals(-status).name
            hint = "; the kernel does that when memory runs out" if -status == signal.SIGKILL else ""
            fault = Fault("killed", f"its process was ended by {name}{hint}")
        else:
            fault = Fault("crashed", f"its process ended with status {status} and without a result")
        return self._lost(worker, fault)

    def _hung(self, worker: int) -> Entry:
        running = self._running[worker]
        pid = running.process.pid
        assert pid is not None
        os.kill(pid, signal.SIGABRT)  # faulthandler writes the stacks, with or without the GIL
        running.process.join(2.0)
        seconds = time.monotonic() - running.heard
        return self._lost(worker, Fault("hung", f"it was silent for {seconds:.0f} s and was killed"))

    def _lost(self, worker: int, fault: Fault) -> Entry:
        running = self._running[worker]
        details = running.said.read_bytes()[-_SAID_BYTES:].decode(errors="replace")
        if running.last is not None and running.last.executions:
            seen = ", ".join(f"{outcome} {times:,}" for outcome, times in running.last.outcomes.items())
            fault = replace(fault, text=f"{fault.text}; before that, {running.last.executions:,} executions: {seen}")
        self._end(worker)
        return work.keep(Entry(running.shard, None, replace(fault, details=details), running.shard.replay))

    def _end(self, worker: int) -> None:
        running = self._running.pop(worker)
        running.process.kill()
        running.process.join()
        running.process.close()
        running.pipe.close()
        running.said.unlink(missing_ok=True)


@contextmanager
def _without_main() -> Iterator[None]:
    """Hide `__main__`: multiprocessing would run the caller's script again in each child, which needs nothing of it."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
