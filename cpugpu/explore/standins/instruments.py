"""The debug package under exploration: it was imported before, with the clock and the `threading.local` of then.

All logical threads are one OS thread, so without this they would share one ring of the journal, and the ages of waits
would be differences of two clocks.
"""

from __future__ import annotations

import sys
import weakref
from collections import deque
from collections.abc import Iterator
from types import FrameType
from typing import Any

from cpugpu.explore.execution import Execution, current
from cpugpu.explore.standins import clock, local
from cpugpu.explore.standins.steps import logical
from cpugpu.explore.standins.threads import thread_of

_PACKAGE = "cpugpu.debug"
#: Modules that have kept the clock, and the rings of threads, under names of their own.
_KEEPERS = ("event", "probe", "recorder")

_current_frames = sys._current_frames  # noqa: SLF001


def replacements() -> Iterator[tuple[Any, str, object]]:
    """Whose attribute, its name, and what takes its place. Nothing of a package that nobody has loaded."""
    yield sys, "_current_frames", current_frames
    modules = {name: sys.modules.get(f"{_PACKAGE}.{name}") for name in (*_KEEPERS, "journal", "verdict", "watcher")}
    if any(module is None for module in modules.values()):
        return
    journal, watcher = modules["journal"].journal, modules["watcher"].watcher  # type: ignore[union-attr]
    kept = _Kept()
    rings = _Rings(journal, kept)
    yield from kept.replacements(journal, watcher)
    yield journal, "local", rings
    yield modules["verdict"], "_within", local.local()
    for name in _KEEPERS:
        yield modules[name], "_now", clock.perf_counter_ns
    for name in ("event", "probe"):
        yield modules[name], "_local", rings


class _Kept:
    """What the package keeps of events and threads, for one execution at a time."""

    def __init__(self) -> None:
        self.rings: list[Any] = []
        self.broken: set[str] = set()
        self.captured: dict[Any, Any] = {}
        self.events = _Events(self)
        self.dropped: deque[Any] = deque()
        self._execution: Execution | None = None

    def begin(self) -> None:
        """If this is the first time in this execution, forget the one before."""
        if self._execution is not current():
            self._execution = current()
            for each in (self.rings, self.broken, self.captured, self.events, self.dropped):
                each.clear()

    def replacements(self, journal: Any, watcher: Any) -> Iterator[tuple[Any, str, object]]:
        """These, in the place of the process's own."""
        yield journal, "_rings", self.rings
        yield journal, "_broken", self.broken
        yield journal, "captured", self.captured
        yield journal, "violations", 0
        yield journal, "tracing", False
        yield watcher, "_events", self.events
        yield watcher, "_dropped", self.dropped
        yield watcher, "paused", True  # its thread would be a real one, or one that never ends


class _Events(weakref.WeakSet[Any]):
    """The events under watch. To be put among them is the first thing that an event does."""

    def __init__(self, kept: _Kept) -> None:
        super().__init__()
        self._kept = kept

    def add(self, event: Any) -> None:
        """In this execution."""
        if logical() is not None:
            self._kept.begin()
        super().add(event)


class _Rings(local.local):
    """`journal.local`: a ring for each thread that asks."""

    def __init__(self, journal: Any, kept: _Kept) -> None:
        if logical() is not None:
            kept.begin()
        self.ring = journal.new_ring()


def current_frames() -> dict[int, FrameType]:
    """Stands in for `sys._current_frames`: where each logical thread stands."""
    caller = logical()
    if caller is None:
        return _current_frames()
    found: dict[int, FrameType] = {}
    for each, actor in current().thread_of.items():
        frame = sys._getframe(1) if actor is caller else each.gr_frame  # noqa: SLF001
        if frame is not None:
            found[thread_of(actor).ident or 0] = frame
    return found
