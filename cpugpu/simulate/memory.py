"""The caching allocator of a simulated device: whose memory a tensor has, and who gets it next.

torch's rule (CUDACachingAllocator.cpp, and the notes on `Tensor.record_stream`): memory belongs to the stream that was
current when it was allocated. When the last tensor lets go of it, it goes back to that stream's pool *at once*, while
kernels may still be on their way, and the next tensor that is made on that stream gets it. On that stream this is safe,
for work is in order there. Another stream that still reads is not asked, unless `record_stream` has told of it: then
the memory goes back only when the work that this stream held when the tensor died is done.

Sizes are rounded up to 512 bytes, as torch rounds. Pieces are neither split nor joined. Memory that was never used
holds a pattern which is unlikely to look like a result.
"""

from __future__ import annotations

import bisect
import itertools
from _thread import allocate_lock  # a real one also under the explorer: it is never held across a step
from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch

from cpugpu.device.simulated.model import Operation, StreamState

if TYPE_CHECKING:
    from cpugpu.simulate.runtime import Runtime

#: Sizes are multiples of this (kMinBlockSize).
_GRAIN = 512
#: A free piece is taken for anything that it is big enough for, unless that would waste more than this (kSmallSize).
_WASTE = 1 << 20
#: Every byte of memory that was never used: 3.4e38 as a float, and a large number as an integer.
_UNTOUCHED = 0x7F
#: So many layouts of a piece of memory are kept at hand.
_LAYOUTS = 8

#: Size, stride and dtype of a tensor.
Layout = tuple[Sequence[int], Sequence[int], torch.dtype]


class Memory:
    """A piece of device memory, of one pool for ever. `pool` is a stream's, or a graph's own."""

    __slots__ = ("_flat", "_layouts", "bytes", "name", "pool", "size")

    def __init__(self, pool: object, size: int, name: str) -> None:
        self.pool = pool
        self.size = size
        self.name = name
        self.bytes = torch.full((size,), _UNTOUCHED, dtype=torch.uint8)
        self._flat: dict[torch.dtype, torch.Tensor] = {}
        self._layouts: dict[object, torch.Tensor] = {}

    def tensor(self, layout: Layout) -> torch.Tensor:
        """It as a tensor of the host, from its first byte on."""
        found = self._layouts.get(layout)
        if found is None:
            size, stride, dtype = layout
            flat = self._flat.get(dtype)
            if flat is None:
                flat = self._flat[dtype] = self.bytes.view(dtype)
            found = flat.as_strided(size, stride)
            if len(self._layouts) >= _LAYOUTS:
                self._layouts.clear()
            self._layouts[layout] = found
        return found

    def __repr__(self) -> str:
        return self.name


class Block:
    """Memory while tensors have it: all views of one another share a block. It is given back when the last has gone."""

    __slots__ = ("__weakref__", "_allocator", "index", "memory", "used_on")

    def __init__(self, allocator: Allocator, memory: Memory) -> None:
        self._allocator = allocator
        self.index = allocator.index
        self.memory = memory
        self.used_on: set[StreamState] = set()  # by `record_stream`

    @property
    def runtime(self) -> Runtime:
        """Whose it is."""
        return self._allocator.runtime

    def __del__(self) -> None:
        self._allocator.give_back(self.memory, self.used_on)


class Allocator:
    """The memory of one device. `give_back` may come at any moment, from any thread: it takes no lock."""

    def __init__(self, runtime: Runtime, index: int, total: int) -> None:
        self.runtime = runtime
        self.index = index
        self.total = total  # bytes
        self.allocated = 0
        self.reserved = 0
        self.peak = 0
        self._lock = allocate_lock()
        self._numbers = itertools.count(1)
        self._returned: deque[tuple[Memory, list[Operation]]] = deque()
        self._held: list[tuple[Memory, list[Operation]]] = []  # until other streams have done what they had then
        self._free: dict[object, list[Memory]] = {}  # by pool, the smallest first

    def allocate(self, layout: Layout, pool: object) -> tuple[Block, torch.Tensor]:
        """Memory for a tensor of that layout, from `pool`, and the tensor of the host that shows it."""
        size = _rounded(_bytes(layout))
        with self._lock:
            self._collect()
            memory = self._take(pool, size)
            if memory is None:
                memory = self._reserve(pool, size)
            self.allocated += memory.size
            self.peak = max(self.peak, self.allocated)
        self.runtime.touch(pool)
        return Block(self, memory), memory.tensor(layout)

    def give_back(self, memory: Memory, used_on: Iterable[StreamState]) -> None:
        """The last tensor has gone."""
        last = [stream.last for stream in used_on if stream.last is not None]
        self._returned.append((memory, [operation for operation in last if not operation.done]))
        self.runtime.touch(memory.pool)

    def empty(self) -> None:
        """Forget what nobody has."""
        with self._lock:
            self._collect()
            self.reserved -= sum(memory.size for free in self._free.values() for memory in free)
            self._free.clear()

    def drop(self, pool: object) -> None:
        """Nobody will ask for memory of this pool any more."""
        with self._lock:
            self._collect()
            self.reserved -= sum(memory.size for memory in self._free.pop(pool, ()))

    def statistics(self) -> tuple[int, int, int]:
        """Bytes that tensors have, bytes that were taken from the device, and the most that tensors ever had."""
        with self._lock:
            self._collect()
            return self.allocated, self.reserved, self.peak

    def _collect(self) -> None:
        while self._returned:
            memory, pending = self._returned.popleft()
            self.allocated -= memory.size
            self._held.append((memory, pending))
        if not self._held:
            return
        held, self._held = self._held, []
        for memory, pending in held:
            if all(operation.done for operation in pending):
                bisect.insort(self._free.setdefault(memory.pool, []), memory, key=_size)
            else:
                self._held.append((memory, pending))

    def _take(self, pool: object, size: int) -> Memory | None:
        free = self._free.get(pool)
        if not free:
            return None
        place = bisect.bisect_left(free, size, key=_size)
        if place == len(free) or free[place].size - size > _WASTE:
            return None
        # Of several that fit alike the one that was given back last.
        last = bisect.bisect_right(free, free[place].size, key=_size) - 1
        return free.pop(last)

    def _reserve(self, pool: object, size: int) -> Memory:
        if self.reserved + size > self.total:
            raise torch.OutOfMemoryError(
                f"CUDA out of memory. Tried to allocate {size} bytes. The simulated device {self.index} has a total"
                f" capacity of {self.total} bytes, of which {self.total - self.reserved} are free"
            )
        self.reserved += size
        memory = Memory(pool, size, f"memory {self.index}.{next(self._numbers)}")
        self.runtime.made(memory)
        return memory


def _size(memory: Memory) -> int:
    return memory.size


def _bytes(layout: Layout) -> int:
    size, stride, dtype = layout
    if 0 in size:
        return 0
    return (1 + sum((length - 1) * step for length, step in zip(size, stride, strict=True))) * dtype.itemsize


def _rounded(size: int) -> int:
    return max(_GRAIN, -(-size // _GRAIN) * _GRAIN)
