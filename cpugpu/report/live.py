"""How a campaign goes, while it goes: a display that is redrawn on a terminal, plain lines in a log."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any

from cpugpu.campaign import Entry, Progress, Shard

#: How often a log gets a line, in seconds.
_LINE_SECONDS = 10.0
_REDRAWS_A_SECOND = 4


@dataclass
class Tally:
    """The counts behind either display."""

    seconds: float
    began: float
    ended: int = 0
    failed: dict[str, str] = field(default_factory=dict)  # nodeid: what
    running: dict[int, Shard] = field(default_factory=dict)
    under_way: dict[int, Progress] = field(default_factory=dict)
    outcomes: dict[str, Counter[str]] = field(default_factory=dict)  # by nodeid

    def started(self, shard: Shard) -> None:
        """A shard was given to a process."""
        self.running[shard.number] = shard

    def progressed(self, progress: Progress) -> None:
        """A shard told how far it is."""
        self.under_way[progress.number] = progress

    def ended_with(self, entry: Entry) -> str:
        """A shard is over. Returns what is to be said at once: the first failure of a scenario; else nothing."""
        self.running.pop(entry.shard.number, None)
        self.under_way.pop(entry.shard.number, None)
        self.ended += 1
        nodeid = entry.shard.target.nodeid
        if entry.result is not None:
            seen = self.outcomes.setdefault(nodeid, Counter())
            seen.update({row.outcome: row.times for row in entry.result.rows})
        what = ""
        if entry.fault is not None:
            what = f"{entry.fault.kind}: {entry.fault.text}"
        elif entry.result is not None and not entry.result.passed and not entry.result.racy:
            what = f"outcome {entry.result.failures[0].outcome!r} is forbidden"
        if not what or nodeid in self.failed:
            return ""
        self.failed[nodeid] = what
        return f"{entry.shard.target.title} FAILED in shard {entry.shard.number}: {what}"

    @property
    def executions(self) -> int:
        """So far, those of shards under way included."""
        done = sum(outcomes.total() for outcomes in self.outcomes.values())
        return done + sum(progress.executions for progress in self.under_way.values())

    def line(self) -> str:
        """One line: time, counts, rate."""
        elapsed = time.monotonic() - self.began
        left = max(0.0, self.seconds - elapsed)
        rate = self.executions / elapsed if elapsed > 0 else 0.0
        failed = f", {len(self.failed)} failed" if self.failed else ""
        return (
            f"{left:.0f} s left, {self.ended:,} shards, {len(self.outcomes)} scenarios,"
            f" {self.executions:,} executions ({rate:,.0f}/s){failed}"
        )


class Lines:
    """For a log: a line now and then, and one for each scenario that fails."""

    def __init__(self, tally: Tally, write: Callable[[str], None]) -> None:
        self._tally = tally
        self._write = write
        self._next = tally.began + _LINE_SECONDS

    def started(self, shard: Shard) -> None:
        """Count it."""
        self._tally.started(shard)

    def progressed(self, progress: Progress) -> None:
        """Count it."""
        self._tally.progressed(progress)

    def ended(self, entry: Entry) -> None:
        """Say so, if it has failed."""
        failed = self._tally.ended_with(entry)
        if failed:
            self._write(f"cpugpu: {failed}")

    def tick(self) -> None:
        """A line, if it is time for one."""
        if time.monotonic() >= self._next:
            self._next += _LINE_SECONDS
            self._write(f"cpugpu: {self._tally.line()}")

    def close(self) -> None:
        """Nothing is left on the screen."""


class Live:
    """For a terminal: what runs now, with its outcomes so far, and the counts."""

    def __init__(self, tally: Tally, file: IO[str]) -> None:
        from rich.console import Console
        from rich.live import Live as Screen

        self._tally = tally
        self._screen = Screen(
            console=Console(file=file, force_terminal=True),
            get_renderable=self._draw,
            refresh_per_second=_REDRAWS_A_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._screen.start()

    def started(self, shard: Shard) -> None:
        """Show it."""
        self._tally.started(shard)

    def progressed(self, progress: Progress) -> None:
        """Show it."""
        self._tally.progressed(progress)

    def ended(self, entry: Entry) -> None:
        """Say so, if it has failed."""
        from rich.text import Text

        failed = self._tally.ended_with(entry)
        if failed:
            self._screen.console.print(Text(failed, style="red"))

    def tick(self) -> None:
        """The screen redraws itself."""

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._screen.stop()

    def _draw(self) -> Any:
        """The counts come first: what does not fit on a screen is cropped from the bottom."""
        from rich.console import Group
        from rich.padding import Padding
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        tally = self._tally
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
        for number, shard in list(tally.running.items()):
            outcomes = Counter(tally.outcomes.get(shard.target.nodeid, {}))
            progress = tally.under_way.get(number)
            if progress is not None:
                outcomes.update(progress.outcomes)
            seen = "  ".join(f"{outcome} {times:,}" for outcome, times in outcomes.most_common(4))
            table.add_row(Text(shard.target.title, style="bold"), Text(seen))
        elapsed = time.monotonic() - tally.began
        bar = ProgressBar(total=tally.seconds, completed=min(elapsed, tally.seconds))
        return Group(Text(tally.line()), Padding(bar, 0), table)  # a bar alone ends without a newline
