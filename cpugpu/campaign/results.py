"""The file that a campaign leaves: a line of JSON for its start and for each shard, appended as they come.

Whoever is killed, what was appended stays readable. A line is written with one call of the system, so that several
processes may append to one file; on network file systems that is not guaranteed, so give each machine its own. A disk
that is full costs the line that found no room, and no other.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from cpugpu.hammer import Result, combine

#: Of the lines. A file of another version is refused.
VERSION = 1
NAME = "results.jsonl"


class ResultsError(ValueError):
    """A file that is no file of results, of another version, or damaged. `run` is what could be read of it."""

    def __init__(self, message: str, run: Run) -> None:
        super().__init__(message)
        self.run = run


@dataclass(frozen=True)
class Target:
    """A scenario with its subject, by names that another process can look up."""

    nodeid: str  # as pytest has it
    path: str
    module: str
    name: str
    subject: str = ""  # "module:Class", empty for the scenario's own
    title: str = ""
    story: str = ""
    racy: bool = False


@dataclass(frozen=True)
class Shard:
    """A piece of work for a process of its own: one scenario, for `seconds`, with a seed."""

    number: int
    target: Target
    device: str
    seed: int
    seconds: float
    iteration: int | None = None
    results: str = ""  # the file to append to
    paths: tuple[str, ...] = ()  # sys.path
    worker: int = 0  # devices are dealt out by it
    replay: str = ""  # the command up to the seed
    jitter: bool = True  # with the hammer's random sleeps


@dataclass(frozen=True)
class Fault:
    """A shard that gave no whole result, and why.

    `kind`: "killed", "hung", "out of memory", "device error", "disk full" or "crashed".
    """

    kind: str
    text: str
    details: str = ""


@dataclass(frozen=True)
class Entry:
    """What became of a shard: a result, a fault, or both where a result was had that could not be kept."""

    shard: Shard
    result: Result | None
    fault: Fault | None
    replay: str


@dataclass(frozen=True)
class Header:
    """Where and how a campaign was run."""

    started: str  # UTC, ISO 8601
    command: str
    machine: str
    python: str
    torch: str
    device: str
    seed: int
    seconds: float
    part: str  # "2/8"
    targets: tuple[Target, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()  # nodeid, reason


@dataclass
class Item:
    """A scenario with its subject: all of its shards together."""

    target: Target
    result: Result | None
    faults: list[Entry] = field(default_factory=list)
    replays: list[str] = field(default_factory=list)  # a line a failure or fault, in their order

    @property
    def passed(self) -> bool:
        """Did it do what it should, in every shard?"""
        return not self.faults and self.result is not None and self.result.passed


@dataclass
class Run:
    """A campaign, or several that were merged."""

    headers: list[Header] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)

    @property
    def items(self) -> list[Item]:
        """An item a scenario and subject, in the order in which they were planned. Those that never ran included.

        What parts have seen on different devices is not added up: an item each then, whose title says which.
        """
        targets = {target.nodeid: target for header in self.headers for target in header.targets}
        targets.update({entry.shard.target.nodeid: entry.shard.target for entry in self.entries})
        by_target: dict[str, dict[str, list[Entry]]] = {nodeid: {} for nodeid in targets}
        for entry in self.entries:
            by_target[entry.shard.target.nodeid].setdefault(entry.shard.device, []).append(entry)
        items = []
        for nodeid, by_device in by_target.items():
            for device, entries in (by_device or {"": []}).items():
                target = targets[nodeid]
                if len(by_device) > 1:
                    target = dataclasses.replace(target, title=f"{target.title or nodeid} on {device}")
                items.append(_item(target, entries))
        return items

    @property
    def passed(self) -> bool:
        """Did every scenario do what it should?"""
        return all(item.passed for item in self.items)


def append(path: str | os.PathLike[str], record: Header | Entry) -> None:
    """Append a line. `OSError` where it cannot be written whole."""
    kind = "header" if isinstance(record, Header) else "entry"
    data: dict[str, Any] = {"version": VERSION, "kind": kind, **_plain(record)}
    line = json.dumps(data).encode() + b"\n"
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        while os.write(descriptor, line) == len(line):
            if _begins_a_line(descriptor, len(line)):
                return
            # It has got behind a line that somebody could not finish, and is damaged with it: once more.
        with suppress(OSError):
            os.write(descriptor, b"\n")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(path))
    finally:
        os.close(descriptor)


def _begins_a_line(descriptor: int, length: int) -> bool:
    """Does what was just appended begin a line? Looked at afterwards, for other writers may come in before."""
    before = os.lseek(descriptor, 0, os.SEEK_CUR) - length - 1
    return before < 0 or os.pread(descriptor, 1, before) == b"\n"


def read(path: str | os.PathLike[str]) -> Run:
    """The run that a file holds. `ResultsError`, with all that could be read, where something could not."""
    run, first, before, unread = Run(), "", 0, 0
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if line == b"\n":  # the end of a line that somebody else could not finish
                continue
            wrong = _read_line(line, run)
            if wrong:
                unread += 1
                if not first:
                    first, before = f"{os.fspath(path)}, line {number} {wrong}", len(run.entries)
    if first:
        after = len(run.entries) - before
        kept = f"{before} results before it were read" + (f" and {after} after it" if after else "")
        rest = f"; {unread} lines could not be read" if unread > 1 else ""
        raise ResultsError(f"{first}; {kept}{rest}", run)
    return run


def _read_line(line: bytes, run: Run) -> str:
    """Add what a line holds to `run`; returns what is wrong with it."""
    if not line.endswith(b"\n"):
        return "is cut in the middle"
    try:
        data = json.loads(line)
        version = data.pop("version")
        if version != VERSION:
            return f"is of version {version!r}; this cpugpu reads version {VERSION}"
        if data.pop("kind") == "header":
            run.headers.append(_header(data))
        else:
            run.entries.append(_entry(data))
    except Exception as error:
        return f"is no line of results ({type(error).__name__}: {error})"
    return ""


def merge(runs: Sequence[Run]) -> Run:
    """Several runs as one."""
    return Run([h for run in runs for h in run.headers], [e for run in runs for e in run.entries])


def _plain(record: Header | Entry) -> dict[str, Any]:
    data = dataclasses.asdict(record)
    if isinstance(record, Entry):
        data["result"] = record.result.to_dict() if record.result is not None else None
    return data


def _target(data: dict[str, Any]) -> Target:
    return Target(**data)


def _header(data: dict[str, Any]) -> Header:
    targets = tuple(_target(each) for each in data["targets"])
    skipped = tuple((str(nodeid), str(reason)) for nodeid, reason in data["skipped"])
    return Header(**{**data, "targets": targets, "skipped": skipped})


def _entry(data: dict[str, Any]) -> Entry:
    shard = data["shard"]
    return Entry(
        shard=Shard(**{**shard, "target": _target(shard["target"]), "paths": tuple(shard["paths"])}),
        result=None if data["result"] is None else Result.from_dict(data["result"]),
        fault=None if data["fault"] is None else Fault(**data["fault"]),
        replay=data["replay"],
    )


def _item(target: Target, entries: list[Entry]) -> Item:
    results = [entry.result for entry in entries if entry.result is not None]
    result = combine(results) if results else None
    if result is not None and target.title:
        result.title = target.title  # with what tells it from others of that name
    faults = [entry for entry in entries if entry.fault is not None]
    replays = [
        f"{next(entry.replay for entry in entries if entry.result is not None and failure in entry.result.failures)}"
        f" --stress-seed={failure.seed}@{failure.iteration}"
        for failure in (result.failures if result is not None else ())
    ]
    replays += [f"{entry.replay} --stress-seed={entry.shard.seed}" for entry in faults]
    return Item(target, result, faults, replays)
