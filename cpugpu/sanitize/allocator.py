"""The caching allocator's rule: who may get memory again while a stream still uses it.

A block belongs to the stream that was current when it was made. When its last tensor dies it goes back to that stream's
pool *at once*, and the next tensor made there may get it. That is safe for this stream, for work on it is in order. A
stream that was told of by `record_stream` is waited for; any other one that may still use the block is not asked
(CUDACachingAllocator.cpp, `free`; the notes on `Tensor.record_stream`).

So what matters is an access of another stream that neither the pool's stream nor the freeing thread knows of at the
free, and that whoever first uses memory made in that pool afterwards does not know of either. It need not be the same
address: which of the free blocks a tensor gets is the allocator's choice. It has to fit, though, and blocks of up to
1 MiB are kept apart from larger ones. (Private pools of graphs are not modelled.)

The other way round, the pool's stream may still use a block that another stream is the first to use as a new tensor:
the allocator sees to the order on its own stream only. That is looked for where the address is the same.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass

from cpugpu.sanitize.clocks import Actor
from cpugpu.sanitize.memory import Storage, Ticket
from cpugpu.sanitize.places import Place, RawPlace

#: So many accesses a pool are remembered, the newest ones.
MOST_FREED = 256
#: So many addresses are remembered, the newest ones.
MOST_ADDRESSES = 4096
_GRAIN = 512  # kMinBlockSize
_SMALL = 1 << 20  # kSmallSize


@dataclass(eq=False)
class Freed:
    """A block went back to the pool of a stream while another one may still have used it: that access."""

    storage: str
    size: int
    access: Ticket
    writes: bool
    thread: Actor
    place: RawPlace | Place | None
    owner: Actor
    reported: bool = False

    @property
    def by_owner(self) -> bool:
        """Is it an access of the stream whose memory it was?"""
        return self.owner is self.access[0]


class Pools:
    """What went back too early, by the stream whose pool it is; and what its own stream had still to do, by address."""

    def __init__(self) -> None:
        self._freed: dict[Actor, deque[Freed]] = {}
        self._last: OrderedDict[tuple[str, int], list[Freed]] = OrderedDict()

    def made(self, storage: Storage, stream: Actor) -> None:
        """A block was taken from the pool of `stream`."""
        storage.stream = stream
        if storage.address is not None:
            storage.suspects = self._last.pop((storage.device, storage.address), [])
        freed = self._freed.get(stream)
        if not freed:
            return
        pending = [each for each in freed if not each.reported and not stream.knows(each.access[0], each.access[1])]
        if len(pending) < len(freed):
            freed.clear()
            freed.extend(pending)
        size = _rounded(storage.size)
        storage.suspects += [
            each
            for each in pending
            if size <= _rounded(each.size) and (size <= _SMALL) == (_rounded(each.size) <= _SMALL)
        ]

    def freed(self, storage: Storage, thread: Actor, place: RawPlace | Place | None) -> None:
        """A block went back."""
        stream = storage.stream
        if stream is None or storage.host or storage.freed:
            return
        storage.freed = True
        latest: dict[int, tuple[Ticket, bool]] = {}
        own: tuple[Ticket, bool] | None = None
        for ticket, writes in storage.accesses():
            actor = ticket[0]
            if actor is stream and (own is None or own[0][1] < ticket[1]):
                own = (ticket, writes)
            if actor is stream or not actor.is_stream or actor in storage.recorded:
                continue
            if stream.knows(actor, ticket[1]) or thread.knows(actor, ticket[1]):
                continue
            if actor.number not in latest or latest[actor.number][0][1] < ticket[1]:
                latest[actor.number] = (ticket, writes)
        for ticket, writes in latest.values():
            pool = self._freed.setdefault(stream, deque(maxlen=MOST_FREED))
            pool.append(Freed(storage.name, storage.size, ticket, writes, thread, place, stream))
        if own is not None and storage.address is not None and not thread.knows(stream, own[0][1]):
            last = Freed(storage.name, storage.size, *own, thread, place, stream)
            self._last[storage.device, storage.address] = [last]
            if len(self._last) > MOST_ADDRESSES:
                self._last.popitem(last=False)


def _rounded(size: int) -> int:
    return max(_GRAIN, -(-size // _GRAIN) * _GRAIN)
