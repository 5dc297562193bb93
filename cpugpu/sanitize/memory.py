"""Who touched which bytes last: FastTrack's shadow state, for storages of devices and of the host.

A storage has *cells*: ranges of bytes without holes that do not overlap, in order, each with the ticket of its last
write and those of the reads since, one unless they are concurrent. A range that is used as a whole is one cell; partial
accesses split it, a write over several makes them one again. Regions with holes have cells of their own, compared with
all others by `strides.overlap`.

So the state grows with the number of different ranges of live storages, and not with the number of accesses. It has
bounds besides: above `MOST_CELLS` ranges neighbours of one epoch are joined, and if there are still too many, the first
half of them is forgotten; above `MOST_STRIDED` the oldest. `Storage.forgotten` counts them: races with those accesses
are missed, and none is invented.

Not thread-safe by itself: the model's lock is held.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from cpugpu.sanitize.clocks import Actor, Clock
from cpugpu.sanitize.places import Place, RawPlace
from cpugpu.sanitize.strides import Region, Strided, bounds, covers, overlap

if TYPE_CHECKING:
    from cpugpu.sanitize.allocator import Freed

MOST_CELLS = 4096
MOST_STRIDED = 64

#: An access: by whom, its count then, the thread that launched it, what it was, where. A plain tuple, for speed.
Ticket = tuple[Actor, int, Actor, str, RawPlace | Place | None]
_Reads = Ticket | dict[int, Ticket] | None


class Race(NamedTuple):
    """Two accesses that nothing orders, in the order of this run, and bytes that both have."""

    storage: Storage
    earlier: Ticket
    earlier_writes: bool
    later: Ticket
    later_writes: bool
    bytes: tuple[int, int]


class Cell:
    """A range of bytes, the ticket of its last write, and the reads since."""

    __slots__ = ("reads", "start", "stop", "write")

    def __init__(self, start: int, stop: int, write: Ticket | None = None, reads: _Reads = None) -> None:
        self.start = start
        self.stop = stop
        self.write = write
        self.reads = reads


class Storage:
    """The shadow of one storage. `host`: its bytes are the host's, and threads may touch them.

    `address`: where it is, None where that is not known. `stream` is the one whose pool it came from, `recorded` those
    told of by `record_stream`, `suspects` accesses to memory that may be the same, freed before. `keeper` is whoever
    made it and looks for it at a tensor's memory, where an earlier one may have left its own.
    """

    __slots__ = (
        *("_cells", "_starts", "_strided", "address", "device", "forgotten", "freed"),
        *("host", "keeper", "name", "recorded", "size", "stream", "suspects"),
    )

    def __init__(
        self, name: str, *, host: bool = False, device: str = "", size: int = 0, address: int | None = None
    ) -> None:
        self.name = name
        self.address = address
        self.host = host
        self.device = device
        self.size = size
        self.stream: Actor | None = None
        self.recorded: set[Actor] = set()
        self.suspects: list[Freed] = []
        self.freed = False
        self.keeper: object = None
        self.forgotten = 0
        self._starts: list[int] = []
        self._cells: list[Cell] = []
        self._strided: dict[Strided, Cell] = {}

    @property
    def cells(self) -> int:
        """How many there are."""
        return len(self._cells) + len(self._strided)

    def touch(self, region: Region, ticket: Ticket, clock: Clock, writes: bool) -> list[Race] | None:
        """An access, by somebody with that clock. What it races with."""
        cells = self._cells
        if cells and not self._strided and type(region) is tuple:
            # Below 0 is the last one, and does not begin there.
            cell = cells[0 if len(cells) == 1 else bisect_right(self._starts, region[0]) - 1]
            if cell.start == region[0] and cell.stop == region[1]:
                # The usual case, spelt out: the same actor again, or one that knows of the last write.
                write = cell.write
                if write is None or write[0] is ticket[0] or clock.get(write[0].number, 0) >= write[1]:
                    reads = cell.reads
                    if reads is None or (
                        type(reads) is tuple and (reads[0] is ticket[0] or clock.get(reads[0].number, 0) >= reads[1])
                    ):
                        if writes:
                            cell.write = ticket
                            cell.reads = None
                        else:
                            cell.reads = ticket
                        return None
        races: list[Race] = []
        if type(region) is tuple:
            if self._strided:
                self._against_strided(region, ticket, clock, writes, races)
            self._touch_range(region[0], region[1], ticket, clock, writes, races)
        else:
            assert isinstance(region, Strided)
            self._against_strided(region, ticket, clock, writes, races)
            self._touch_strided(region, ticket, clock, writes, races)
        return races or None

    def accesses(self) -> list[tuple[Ticket, bool]]:
        """All tickets that it has, and whether they write."""
        found: list[tuple[Ticket, bool]] = []
        for cell in (*self._cells, *self._strided.values()):
            if cell.write is not None:
                found.append((cell.write, True))
            found += [(ticket, False) for ticket in _tickets(cell.reads)]
        return found

    def clear(self) -> None:
        """Forget all of it."""
        self._starts, self._cells, self._strided = [], [], {}

    def _touch_range(
        self, start: int, stop: int, ticket: Ticket, clock: Clock, writes: bool, races: list[Race]
    ) -> None:
        first, last = self._cut(start, stop)
        for cell in self._cells[first:last]:
            self._check(cell, ticket, clock, writes, races, (cell.start, cell.stop))
            if not writes:
                _add_read(cell, ticket, clock)
        if writes:
            self._cells[first:last] = [Cell(start, stop, ticket)]
            self._starts[first:last] = [start]
        if len(self._cells) > MOST_CELLS:
            self._compact()

    def _touch_strided(self, region: Strided, ticket: Ticket, clock: Clock, writes: bool, races: list[Race]) -> None:
        cells = self._cells
        index = max(0, bisect_right(self._starts, region.start) - 1)
        while index < len(cells) and cells[index].start < region.stop:
            cell = cells[index]
            self._check_if_met(cell, (cell.start, cell.stop), region, ticket, clock, writes, races)
            index += 1
        own = self._strided.get(region)
        if own is None:
            if len(self._strided) >= MOST_STRIDED:
                del self._strided[next(iter(self._strided))]
                self.forgotten += 1
            own = self._strided[region] = Cell(region.start, region.stop)
        if writes:
            own.write, own.reads = ticket, None
        else:
            _add_read(own, ticket, clock)

    def _against_strided(self, region: Region, ticket: Ticket, clock: Clock, writes: bool, races: list[Race]) -> None:
        for other, cell in list(self._strided.items()):
            self._check_if_met(cell, other, region, ticket, clock, writes, races)
            if writes and other != region and covers(region, other):
                del self._strided[other]

    def _check_if_met(
        self,
        cell: Cell,
        its: Region,
        region: Region,
        ticket: Ticket,
        clock: Clock,
        writes: bool,
        races: list[Race],
    ) -> None:
        """Check a cell that may have bytes in common. That is looked into only where something is not in order."""
        found: list[Race] = []
        self._check(cell, ticket, clock, writes, found, _common(region, its))
        if found:
            met = overlap(region, its)
            self.forgotten += met is None
            if met:
                races += found

    def _check(
        self,
        cell: Cell,
        ticket: Ticket,
        clock: Clock,
        writes: bool,
        races: list[Race],
        where: tuple[int, int],
    ) -> None:
        write = cell.write
        if write is not None and write[0] is not ticket[0] and clock.get(write[0].number, 0) < write[1]:
            races.append(Race(self, write, True, ticket, writes, where))
        if writes:
            races += [
                Race(self, read, False, ticket, True, where)
                for read in _tickets(cell.reads)
                if read[0] is not ticket[0] and clock.get(read[0].number, 0) < read[1]
            ]

    def _cut(self, start: int, stop: int) -> tuple[int, int]:
        """Make the cells begin and end there. From which to before which they are those of the range."""
        starts, cells = self._starts, self._cells
        first = bisect_right(starts, start) - 1
        if first >= 0 and cells[first].stop > start:
            if cells[first].start < start:
                self._split(first, start)
                first += 1
        else:
            first += 1
        last, at = first, start
        while at < stop:
            if last < len(cells) and cells[last].start == at:
                if cells[last].stop > stop:
                    self._split(last, stop)
                at = cells[last].stop
            else:
                end = min(stop, cells[last].start) if last < len(cells) else stop
                cells.insert(last, Cell(at, end))
                starts.insert(last, at)
                at = end
            last += 1
        return first, last

    def _split(self, index: int, at: int) -> None:
        cell = self._cells[index]
        reads = dict(cell.reads) if type(cell.reads) is dict else cell.reads
        self._cells.insert(index + 1, Cell(at, cell.stop, cell.write, reads))
        self._starts.insert(index + 1, at)
        cell.stop = at

    def _compact(self) -> None:
        kept: list[Cell] = []
        for cell in self._cells:
            if kept and kept[-1].stop == cell.start and _epochs(kept[-1]) == _epochs(cell):
                kept[-1].stop = cell.stop
            else:
                kept.append(cell)
        if len(kept) > MOST_CELLS // 2:
            self.forgotten += MOST_CELLS // 2
            del kept[: MOST_CELLS // 2]
        self._cells = kept
        self._starts = [cell.start for cell in kept]


def _add_read(cell: Cell, ticket: Ticket, clock: Clock) -> None:
    reads = cell.reads
    if reads is None:
        cell.reads = ticket
    elif type(reads) is dict:
        reads[ticket[0].number] = ticket
    else:
        assert type(reads) is tuple
        actor = reads[0]
        if actor is ticket[0] or clock.get(actor.number, 0) >= reads[1]:
            cell.reads = ticket
        else:
            cell.reads = {actor.number: reads, ticket[0].number: ticket}


def _tickets(reads: _Reads) -> Sequence[Ticket]:
    if reads is None:
        return ()
    if type(reads) is dict:
        return list(reads.values())
    assert type(reads) is tuple
    return (reads,)


def _epochs(cell: Cell) -> tuple[object, ...]:
    write = cell.write
    return (
        None if write is None else (write[0].number, write[1]),
        sorted((read[0].number, read[1]) for read in _tickets(cell.reads)),
    )


def _common(one: Region, other: Region) -> tuple[int, int]:
    """The bytes between which both are."""
    (start, stop), (its_start, its_stop) = bounds(one), bounds(other)
    return max(start, its_start), min(stop, its_stop)
