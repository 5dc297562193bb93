"""The campaign: give every process something to do until the time is up, and listen."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from cpugpu.campaign.results import Entry, Run, Shard, Target
from cpugpu.campaign.work import Progress

#: How long to wait for news before the observers are told that there is none.
_LISTEN_SECONDS = 0.25


class Executor(Protocol):
    """Something that runs shards: this machine's processes, or a cluster's."""

    width: int

    def submit(self, shard: Shard) -> None:
        """Start a shard. There must be room: fewer than `width` are running."""

    def events(self, timeout: float) -> list[Progress | Entry]:
        """What has happened; waits for up to `timeout` seconds for the first of it."""

    def close(self) -> None:
        """End what still runs."""


class Observer(Protocol):
    """Someone who watches: a display."""

    def started(self, shard: Shard) -> None:
        """A shard was given to a process."""

    def progressed(self, progress: Progress) -> None:
        """A shard told how far it is."""

    def ended(self, entry: Entry) -> None:
        """A shard is over."""

    def tick(self) -> None:
        """Time has passed."""


class Plan(Protocol):
    """Where the next shard comes from. Numbers and seeds of shards are the campaign's."""

    def next(self, now: float) -> tuple[Target, float] | None:
        """A target and its seconds; None while there is nothing to start."""

    def done(self, entry: Entry, seconds: float) -> None:
        """A shard is over."""


class Once:
    """The plan that gives each target one turn of `seconds`: for replays."""

    def __init__(self, targets: Sequence[Target], seconds: float) -> None:
        self._left = list(targets)
        self._seconds = seconds

    def next(self, now: float) -> tuple[Target, float] | None:  # noqa: ARG002
        """The next one."""
        return (self._left.pop(0), self._seconds) if self._left else None

    def done(self, entry: Entry, seconds: float) -> None:
        """Nothing to learn."""


def run(
    plan: Plan,
    executor: Executor,
    *,
    template: Shard,
    replays: Mapping[str, str],
    observers: Sequence[Observer] = (),
    began: float | None = None,
    into: Run | None = None,
) -> Run:
    """Run shards until `plan` has none left. `template` has what all shards share; its seed is the first one's.

    `replays`: the command up to the seed, by nodeid. `began`: when the time started to run, of `time.monotonic()`.
    `into`: the run that gets the entries as they come, so that an interrupted caller has them.
    """
    found = Run() if into is None else into
    for entry in _entries(plan, executor, template, replays, observers, time.monotonic() if began is None else began):
        found.entries.append(entry)
    return found


def _entries(
    plan: Plan,
    executor: Executor,
    template: Shard,
    replays: Mapping[str, str],
    observers: Sequence[Observer],
    began: float,
) -> Iterator[Entry]:
    started: dict[int, float] = {}
    turns: dict[str, int] = {}
    number = template.number
    while True:
        while len(started) < executor.width:
            turn = plan.next(time.monotonic() - began)
            if turn is None:
                break
            target, seconds = turn
            # A scenario's first turn has the seed that was printed; a later one must not repeat its choices.
            again = turns[target.nodeid] = turns.get(target.nodeid, -1) + 1
            shard = _shard(template, number, target, seconds, template.seed + again, replays[target.nodeid])
            number += 1
            executor.submit(shard)
            started[shard.number] = time.monotonic()
            for observer in observers:
                observer.started(shard)
        if not started:
            return
        for event in executor.events(_LISTEN_SECONDS):
            if isinstance(event, Progress):
                for observer in observers:
                    observer.progressed(event)
                continue
            plan.done(event, time.monotonic() - started.pop(event.shard.number))
            for observer in observers:
                observer.ended(event)
            yield event
        for observer in observers:
            observer.tick()


def _shard(template: Shard, number: int, target: Target, seconds: float, seed: int, replay: str) -> Shard:
    return replace(template, number=number, target=target, seconds=seconds, seed=seed, replay=replay)
