"""Shards as processes of this machine.

Each is forked from a small server that has nothing but this package loaded, so a shard costs milliseconds, and neither
CUDA nor a thread of the caller is in it. Whatever it does, it costs itself: its exit status and its silence tell what
has happened. It leads a group of processes of its own, which is ended with it.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType
from typing import Any

from cpugpu.campaign import warden, work
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
    pid: int
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
        self._context.set_forkserver_preload([work.__name__, warden.__name__, *preload])
        self._running: dict[int, _Running] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="cpugpu-")
        with _without_main():
            self._warden = warden.Warden(self._context, self._folder.name)

    def submit(self, shard: Shard) -> None:
        """Start a shard. There must be room: fewer than `width` are running."""
        worker = next(number for number in itertools.count() if number not in self._running)
        shard = replace(shard, worker=worker)
        said = Path(self._folder.name, f"{shard.number}.txt")
        said.touch()
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=work.main, args=(shard, theirs, str(said)), name=f"shard {shard.number}")
        with _without_main():
            process.start()
        assert process.pid is not None
        self._warden.began(process.pid)
        self._running[worker] = _Running(shard, process, process.pid, ours, said)
        theirs.close()

    def events(self, timeout: float) -> list[Progress | Entry]:
        """What has happened; waits for up to `timeout` seconds for the first of it."""
        sources: dict[Any, int] = {}
        for worker, running in self._running.items():
            sources[running.process.sentinel] = worker
            if not running.pipe.closed:
                sources[running.pipe] = worker
        ready = {sources[source] for source in wait(list(sources), timeout)}
        happened = [event for worker in sorted(ready) if (event := self._hear(worker)) is not None]
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
        self._warden.close()

    def _hear(self, worker: int) -> Progress | Entry | None:
        """What a shard has said; once it has said all and is dead, what became of it.

        The end of the pipe is no death: a shard may have closed it, and what it has forked may hold it open.
        """
        running = self._running[worker]
        try:
            message = running.pipe.recv() if not running.pipe.closed and running.pipe.poll() else None
        except Exception:  # its end, or what is no message: a scenario may write anywhere
            running.pipe.close()
            message = None
        if isinstance(message, Progress):
            running.heard = time.monotonic()
            running.last = message
            return message
        if isinstance(message, Entry):
            self._end(worker)
            return message
        status = running.process.exitcode
        return None if status is None else self._died(worker, status)

    def _died(self, worker: int, status: int) -> Entry:
        if status < 0:
            hint = "; the kernel does that when memory runs out" if -status == signal.SIGKILL else ""
            fault = Fault("killed", f"its process was ended by {_signal_name(-status)}{hint}")
        else:
            fault = Fault("crashed", f"its process ended with status {status} and without a result")
        return self._lost(worker, fault)

    def _hung(self, worker: int) -> Entry:
        running = self._running[worker]
        with suppress(ProcessLookupError):
            os.kill(running.pid, signal.SIGABRT)  # faulthandler writes the stacks, with or without the GIL
        running.process.join(2.0)
        seconds = time.monotonic() - running.heard
        return self._lost(worker, Fault("hung", f"it was silent for {seconds:.0f} s and was killed"))

    def _lost(self, worker: int, fault: Fault) -> Entry:
        running = self._running[worker]
        details = _tail(running.said).decode(errors="replace")
        if running.last is not None and running.last.executions:
            seen = ", ".join(f"{outcome} {times:,}" for outcome, times in running.last.outcomes.items())
            fault = replace(fault, text=f"{fault.text}; before that, {running.last.executions:,} executions: {seen}")
        self._end(worker)
        return work.keep(Entry(running.shard, None, replace(fault, details=details), running.shard.replay))

    def _end(self, worker: int) -> None:
        """End a shard, and then what it has started: that must not outlive it, nor hold this terminal open."""
        running = self._running.pop(worker)
        running.process.kill()
        running.process.join()
        warden.end_group(running.pid)
        self._warden.ended(running.pid)
        running.process.close()
        running.pipe.close()
        running.said.unlink(missing_ok=True)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # those of real time have none
        return f"signal {number}"


def _tail(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _SAID_BYTES))
            return file.read(_SAID_BYTES)
    except OSError:  # a scenario has removed it
        return b""


@contextmanager
def _without_main() -> Iterator[None]:
    """Hide `__main__`: multiprocessing would run the caller's script again in each child, which needs nothing of it."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
