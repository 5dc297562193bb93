"""What the process of a shard does: look the scenario up, hammer it, say how it goes, append the result.

It talks to the process that watches it by a pipe, and keeps nothing to itself: what it has measured is in the file
before it is told.
"""

from __future__ import annotations

import errno
import faulthandler
import importlib
import importlib.util
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from cpugpu.campaign.results import Entry, Fault, Shard, Target, append
from cpugpu.device import Device
from cpugpu.hammer import Result, choose_device, hammer
from cpugpu.rig import Scenario

#: How often a shard tells how far it is, in seconds.
_TELL_SECONDS = 0.2
#: What a write fails with that finds no room: on the disk, in the user's quota, in what a file may hold.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_OUT_OF_MEMORY = ("raises MemoryError", "raises OutOfMemoryError")


@dataclass(frozen=True)
class Progress:
    """How far a shard is."""

    number: int
    executions: int
    outcomes: Mapping[str, int]


def main(shard: Shard, pipe: Connection, said: str) -> None:
    """Run a shard in this process. `said` is the file that takes what it prints, and its stacks if it crashes."""
    os.setsid()  # what it starts belongs to its group, and is ended with it
    os.set_inheritable(pipe.fileno(), False)
    os.register_at_fork(after_in_child=pipe.close)  # nobody else may hold it, or speak for the shard
    _say(pipe, Progress(shard.number, 0, {}))
    descriptor = os.open(said, os.O_WRONLY | os.O_APPEND)
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    faulthandler.enable(descriptor)
    told = time.monotonic()

    def tell(outcomes: Mapping[str, int]) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told > _TELL_SECONDS or pipe.closed:
            told = now
            _say(pipe, Progress(shard.number, sum(outcomes.values()), dict(outcomes)))

    _say(pipe, run(shard, tell))
    sys.stdout.flush()
    os._exit(0)  # threads that hang, and the driver's own, must not hold it up


def run(shard: Shard, tell: Callable[[Mapping[str, int]], None] | None = None) -> Entry:
    """Run a shard in this process, append its result, and return it."""
    result, fault = None, None
    try:
        sys.path[:] = [*shard.paths, *(path for path in sys.path if path not in shard.paths)]
        scenario = find(shard.target)
        device = "host" if shard.device == "host" else _device(shard, scenario)
        result = hammer(
            scenario,
            seconds=shard.seconds,
            device=device,
            seed=shard.seed,
            iteration=shard.iteration,
            tell=tell,
            jitter=shard.jitter,
        )
        fault = _fault_in(result)
    except MemoryError:
        fault = Fault("out of memory", "the process has no memory left", traceback.format_exc())
    except Exception as error:
        fault = Fault("crashed", f"{type(error).__name__}: {error}", traceback.format_exc())
    return keep(Entry(shard, result, fault, shard.replay))


def keep(entry: Entry) -> Entry:
    """Append an entry to the file that its shard names. Where that fails, the entry comes back with that fault."""
    if not entry.shard.results:
        return entry
    try:
        append(entry.shard.results, entry)
    except OSError as error:
        kind = "disk full" if error.errno in _FULL else "crashed"
        before = f"{entry.fault.kind}: {entry.fault.text}; and " if entry.fault else ""
        return Entry(
            entry.shard,
            entry.result,
            Fault(kind, f"{before}its result could not be written to {entry.shard.results}: {error.strerror or error}"),
            entry.replay,
        )
    return entry


def find(target: Target) -> Scenario:
    """The scenario that `target` names, with its subject. `LookupError` where it is not there any more."""
    module = _module(target)
    scenario = vars(module).get(target.name)
    if not isinstance(scenario, Scenario):
        raise LookupError(f"{target.path} has no scenario {target.name!r}")
    if not target.subject:
        return scenario
    where, _, name = target.subject.partition(":")
    subject: Any = getattr(importlib.import_module(where), name)
    return scenario.on(subject)


def _device(shard: Shard, scenario: Scenario) -> Device:
    """The shard's own device, so that processes share the devices out; all of them for what hands on between two."""
    index = None if "two devices" in scenario.only else shard.worker
    return choose_device(shard.device, index=index)(shard.seed)


def _module(target: Target) -> Any:
    """The module of a scenario: by its name where that leads to the same file, else by the file."""
    known = sys.modules.get(target.module)
    if known is not None:
        return known
    try:
        spec = importlib.util.find_spec(target.module)
    except (ImportError, ValueError):
        spec = None
    if spec is not None and spec.origin is not None and Path(spec.origin).resolve() == Path(target.path).resolve():
        return importlib.import_module(target.module)
    spec = importlib.util.spec_from_file_location(target.module, target.path)
    if spec is None or spec.loader is None:
        raise LookupError(f"{target.path} is no Python file")
    sys.path.insert(0, str(Path(target.path).parent))
    module = sys.modules[target.module] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _fault_in(result: Result) -> Fault | None:
    """A failure that is the machine's and not the scenario's: memory, or a device that is stuck in an error."""
    for failure in result.failures:
        if failure.listed:
            continue
        if failure.outcome in _OUT_OF_MEMORY:
            return Fault("out of memory", f"execution {failure.iteration} {failure.outcome}", failure.details)
        if result.stuck.startswith("the device"):
            return Fault("device error", f"no call succeeds any more; {result.stuck}", failure.details)
    return None


def _say(pipe: Connection, message: Progress | Entry) -> None:
    """Tell the watcher. Where that is impossible it has died, or this is a fork of the shard: nothing is left to do."""
    try:
        pipe.send(message)
    except OSError:
        os._exit(1)
