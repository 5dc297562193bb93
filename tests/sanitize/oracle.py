"""Random traces, and what is wrong with them by brute force: reachability in a graph of everything that happened.

No clock, no epoch, no shadow state: each access is compared with each other one, byte by byte.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cpugpu.sanitize.strides import Region, Strided

#: name, thread, and three numbers whose meaning depends on the name.
Op = tuple[str, int, int, int, int]

THREADS, EVENTS, SYNCS, STORAGES = 3, 2, 2, 2
#: device, handle, blocking
STREAMS = [("cuda:0", 0, False), ("cuda:0", 1, False), ("cuda:0", 2, True), ("cuda:1", 0, False)]
REGIONS: list[Region] = [
    *[(start, stop) for start in range(0, 6, 2) for stop in range(start + 2, 9, 2)],
    Strided(0, ((4, 2),), 2),
    Strided(2, ((4, 2),), 2),
    Strided(0, ((3, 3),), 1),
    Strided(1, ((3, 2),), 1),
]
NAMES = [
    *("launch", "launch", "launch", "host", "record", "wait", "synchronize", "query", "drain", "device"),
    *("release", "acquire", "respawn"),
]


def bytes_of(region: Region) -> frozenset[int]:
    if isinstance(region, Strided):
        found = {region.start}
        for stride, length in region.dims:
            found = {at + stride * i for at in found for i in range(length)}
        return frozenset(at + byte for at in found for byte in range(region.width))
    return frozenset(range(*region))


@dataclass
class Node:
    ancestors: int
    number: int


@dataclass
class Access:
    index: int
    node: Node
    storage: int
    region: Region
    writes: bool


@dataclass
class Recorded:
    number: int
    call: Node
    node: Node
    waits: list[Node] = field(default_factory=list)


class Oracle:
    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.accesses: list[Access] = []
        self.calls: set[tuple[int, str]] = set()
        self._threads: list[Node | None] = [None] * THREADS
        self._actors = list(range(THREADS))
        self._next = THREADS
        self._streams: list[Node | None] = [None] * len(STREAMS)
        self._events: list[list[Recorded]] = [[] for _ in range(EVENTS)]
        self._consumed: dict[tuple[int, str, int], int] = {}
        self._released: list[list[Node]] = [[] for _ in range(SYNCS)]

    def node(self, *before: Node | None) -> Node:
        ancestors = 0
        for each in before:
            if each is not None:
                ancestors |= each.ancestors | (1 << each.number)
        made = Node(ancestors, len(self.nodes))
        self.nodes.append(made)
        return made

    @staticmethod
    def reaches(first: Node, second: Node) -> bool:
        return first is second or bool(second.ancestors >> first.number & 1)

    def step(self, thread: int, *before: Node | None) -> Node:
        made = self._threads[thread] = self.node(self._threads[thread], *before)
        return made

    def submit(self, call: Node, stream: int, *before: Node | None) -> Node:
        device, handle, blocking = STREAMS[stream]
        peers = []
        for other, (its, its_handle, its_blocking) in enumerate(STREAMS):
            if its == device and ((handle == 0 and its_blocking) or (blocking and its_handle == 0)):
                peers.append(self._streams[other])
        made = self._streams[stream] = self.node(call, self._streams[stream], *peers, *before)
        return made

    def do(self, index: int, op: Op) -> None:
        name, thread, a, b, c = op
        if name == "launch":
            call = self.step(thread)
            node = self.submit(call, a % len(STREAMS))
            self.accesses.append(Access(index, node, b % STORAGES, REGIONS[b % len(REGIONS)], bool(c % 2)))
        elif name == "host":
            node = self.step(thread)
            self.accesses.append(Access(index, node, b % STORAGES, REGIONS[b % len(REGIONS)], bool(c % 2)))
        elif name == "record":
            self.record(index, thread, a % len(STREAMS), b % EVENTS)
        elif name == "wait":
            stream, event = a % len(STREAMS), self._events[b % EVENTS]
            call = self.step(thread)
            self.check(index, call, b % EVENTS, "stream", stream)
            self.submit(call, stream, event[-1].node if event else None)
        elif name in ("synchronize", "query"):
            event = self._events[b % EVENTS]
            call = self.step(thread)
            done = name == "synchronize" or bool(c % 2)
            self.check(index, call, b % EVENTS, "thread", self._actors[thread], done)
            if event and done:
                self.step(thread, event[-1].node)
        elif name == "drain":
            self.step(thread, self._streams[a % len(STREAMS)])
        elif name == "device":
            device = f"cuda:{a % 2}"
            self.step(thread, *(node for node, (its, *_) in zip(self._streams, STREAMS, strict=True) if its == device))
        elif name == "release":
            self._released[a % SYNCS].append(self.step(thread))
        elif name == "acquire":
            self.step(thread, *self._released[a % SYNCS])
        elif name == "respawn" and a % THREADS != thread:
            other = a % THREADS
            joined = self.step(thread, self._threads[other])
            self._threads[other] = self.node(joined)
            self._actors[other] = self._next
            self._next += 1

    def record(self, index: int, thread: int, stream: int, number: int) -> None:
        event = self._events[number]
        call = self.step(thread)
        made = Recorded(len(event) + 1, call, self.submit(call, stream))
        if event:
            old = event[-1]
            late = any(not self.reaches(wait, call) for wait in old.waits)
            if late and not self.reaches(old.node, made.node):
                self.calls.add((index, "lost"))
        event.append(made)

    def check(self, index: int, call: Node, number: int, kind: str, who: int, done: bool = True) -> None:
        event = self._events[number]
        if not event:
            self.calls.add((index, "unrecorded"))
            return
        current, consumed = event[-1], self._consumed.get((number, kind, who), 0)
        if not self.reaches(current.call, call):
            told = [each for each in event if each.number > consumed and self.reaches(each.call, call)]
            if not told:
                self.calls.add((index, "unordered"))
            elif not self.reaches(told[-1].node, current.node):
                self.calls.add((index, "lost"))
        current.waits.append(call)
        if done:
            self._consumed[number, kind, who] = current.number

    def races(self) -> dict[tuple[int, int], frozenset[int]]:
        """The pairs, by index, and the bytes that both have."""
        found = {}
        for position, later in enumerate(self.accesses):
            for earlier in self.accesses[:position]:
                if later.storage != earlier.storage or not (later.writes or earlier.writes):
                    continue
                common = bytes_of(later.region) & bytes_of(earlier.region)
                if common and not self.reaches(earlier.node, later.node):
                    found[earlier.index, later.index] = common
        return found
