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
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

import torch

from cpugpu.device.simulated.model import Operation, StreamState
from cpugpu.errors import NotSimulated

if TYPE_CHECKING:
    from cpugpu.simulate.runtime import Runtime

#: Sizes are multiples of this (kMinBlockSize).
_GRAIN = 512
#: A free piece is taken for anything that it is big enough for, unless that would waste more than this (kSmallSize).
_WASTE = 1 << 20
#: Every byte of memory that was never used: 3.4e38 as a float, and a large number as an integer.
UNTOUCHED = 0x7F
#: So many layouts of a piece of memory are kept at hand.
_LAYOUTS = 8


class Layout:
    """Size, stride and type of a tensor. There is one object for each, so that they are compared in no time."""

    __slots__ = ("bytes", "dtype", "parts", "size", "stride")

    def __init__(self, size: Sequence[int], stride: Sequence[int], dtype: torch.dtype) -> None:
        self.parts = (size, stride, dtype)
        self.size, self.stride, self.dtype = self.parts
        self.bytes = _rounded(_bytes(size, stride, dtype))

    def __repr__(self) -> str:
        return f"Layout{self.parts}"


_layouts: dict[object, Layout] = {}


def layout(size: Sequence[int], stride: Sequence[int], dtype: torch.dtype) -> Layout:
    """The object for these."""
    key = (size, stride, dtype)
    found = _layouts.get(key)
    if found is None:
        found = _layouts.setdefault(key, Layout(size, stride, dtype))
    return found


def layout_of(tensor: torch.Tensor) -> Layout:
    """That of a tensor."""
    if tensor.layout is not torch.strided:
        raise NotSimulated(f"a tensor of layout {tensor.layout} on a simulated device: only strided ones are simulated")
    return layout(tensor.shape, tensor.stride(), tensor.dtype)


class GraphPool:
    """The memory of some graphs: of those on whose streams it is allocated while they are captured.

    As long as one of them lives, nobody else gets it. Each stream has its own share, as everywhere.
    """

    def __init__(self, runtime: Runtime, handle: tuple[int, int]) -> None:
        self.handle = handle
        self.users = 0  # graphs
        self._runtime = runtime
        self._shares: dict[StreamState, Share] = {}

    def share(self, stream: StreamState) -> Share:
        """What is allocated on `stream` comes from there."""
        found = self._shares.get(stream)
        if found is None:
            found = self._shares[stream] = Share(self)
            self._runtime.made(found)
        return found


class Share:
    """The part of a graph's pool that belongs to one stream."""

    __slots__ = ("pool",)

    def __init__(self, pool: GraphPool) -> None:
        self.pool = pool


class Memory:
    """A piece of device memory, of one pool for ever. `pool` is a stream's, or a graph's own."""

    __slots__ = ("_flat", "_raw", "_targets", "bytes", "name", "pool", "size")

    def __init__(self, pool: object, size: int, name: str) -> None:
        self.pool = pool
        self.size = size
        self.name = name
        with torch.inference_mode(False):  # a kernel's thread is not in the caller's mode
            self.bytes = torch.full((size,), UNTOUCHED, dtype=torch.uint8, device="cpu")
        self._flat: dict[torch.dtype, torch.Tensor] = {}
        self._raw: dict[Layout, torch.Tensor] = {}
        self._targets: dict[Layout, torch.Tensor] = {}

    def tensor(self, layout: Layout) -> torch.Tensor:
        """It as a tensor of the host, from its first byte on."""
        found = self._raw.get(layout)
        return found if found is not None else self._kept(self._raw, layout)

    def target(self, layout: Layout) -> torch.Tensor:
        """The same, for kernels to write their results to: some of them change its sizes on the way."""
        found = self._targets.get(layout)
        return found if found is not None else self._kept(self._targets, layout)

    def _kept(self, kept: dict[Layout, torch.Tensor], layout: Layout) -> torch.Tensor:
        with torch.inference_mode(False):
            flat = self._flat.get(layout.dtype)
            if flat is None:
                flat = self._flat[layout.dtype] = self.bytes.view(layout.dtype)
            found = flat.as_strided(layout.size, layout.stride)
        if len(kept) >= _LAYOUTS:
            kept.clear()
        kept[layout] = found
        return found

    def __repr__(self) -> str:
        return self.name


class Block:
    """Memory while tensors have it: all views of one another share a block. It is given back when the last has gone."""

    __slots__ = ("__weakref__", "_allocator", "freed", "index", "memory", "runtime", "shadow", "used_on")

    def __init__(self, allocator: Allocator, memory: Memory) -> None:
        self._allocator = allocator
        self.runtime = allocator.runtime
        self.index = allocator.index
        self.memory = memory
        self.used_on: Collection[StreamState] = ()  # by `record_stream`
        self.shadow: Any = None  # what somebody who watches has put here, and what to call at the end
        self.freed: Callable[[], None] | None = None

    def use_on(self, stream: StreamState) -> None:
        """It is not given back before the work is done that `stream` holds then."""
        if stream is not self.memory.pool:
            self.used_on = {*self.used_on, stream}

    def __del__(self) -> None:
        if self.freed is not None:
            self.freed()
        self._allocator.give_back(self.memory, self.used_on)


class _Free:
    """Memory of one pool that nobody has, by size."""

    __slots__ = ("_by_size", "_sizes")

    def __init__(self) -> None:
        self._by_size: dict[int, list[Memory]] = {}
        self._sizes: list[int] = []

    def put(self, memory: Memory) -> None:
        alike = self._by_size.get(memory.size)
        if alike is None:
            alike = self._by_size[memory.size] = []
            bisect.insort(self._sizes, memory.size)
        alike.append(memory)

    def take(self, size: int) -> Memory | None:
        """The smallest that is big enough. Of several that fit alike the one that was given back last."""
        alike = self._by_size.get(size)
        if alike:
            return alike.pop()
        for place in range(bisect.bisect_left(self._sizes, size), len(self._sizes)):
            if self._sizes[place] - size > _WASTE:
                break
            alike = self._by_size[self._sizes[place]]
            if alike:
                return alike.pop()
        return None

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(size * len(alike) for size, alike in self._by_size.items())


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
        self._returned: deque[tuple[Memory, Sequence[Operation]]] = deque()
        self._held: list[tuple[Memory, Sequence[Operation]]] = []  # until other streams have done what they had then
        self._free: dict[object, _Free] = {}  # by pool

    def allocate(self, layout: Layout, pool: object) -> tuple[Block, torch.Tensor]:
        """Memory for a tensor of that layout, from `pool`, and the tensor of the host that shows it."""
        with self._lock:
            if self._returned or self._held:
                self._collect()
            free = self._free.get(pool)
            memory = None if free is None else free.take(layout.bytes)
            if memory is None:
                memory = self._reserve(pool, layout.bytes)
            self.allocated += memory.size
            self.peak = max(self.peak, self.allocated)
        self.runtime.touch(pool)
        return Block(self, memory), memory.tensor(layout)

    def give_back(self, memory: Memory, used_on: Collection[StreamState]) -> None:
        """The last tensor has gone."""
        pending: Sequence[Operation] = ()
        if used_on:
            last = [stream.last for stream in used_on if stream.last is not None]
            self.runtime.asked(last)
            pending = [operation for operation in last if not operation.done]
        self._returned.append((memory, pending))
        self.runtime.touch(memory.pool)

    def empty(self) -> None:
        """Forget what nobody has."""
        with self._lock:
            self._collect()
            for pool in [pool for pool in self._free if not isinstance(pool, Share) or not pool.pool.users]:
                self.reserved -= self._free.pop(pool).size

    def drop(self, pool: object) -> None:
        """Nobody will ask for memory of this pool any more."""
        with self._lock:
            self._collect()
            free = self._free.pop(pool, None)
            if free is not None:
                self.reserved -= free.size

    def statistics(self) -> tuple[int, int, int]:
        """Bytes that tensors have, bytes that were taken from the device, and the most that tensors ever had."""
        with self._lock:
            self._collect()
            return self.allocated, self.reserved, self.peak

    def _collect(self) -> None:
        held, self._held = self._held, []
        while self._returned:
            returned = self._returned.popleft()
            self.allocated -= returned[0].size
            held.append(returned)
        for memory, pending in held:
            if pending:
                self.runtime.asked(pending)
            if pending and not all(operation.done for operation in pending):
                self._held.append((memory, pending))
                continue
            free = self._free.get(memory.pool)
            if free is None:
                free = self._free[memory.pool] = _Free()
            free.put(memory)

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


def _bytes(size: Sequence[int], stride: Sequence[int], dtype: torch.dtype) -> int:
    if 0 in size:
        return 0
    return (1 + sum((length - 1) * step for length, step in zip(size, stride, strict=True))) * dtype.itemsize


def _rounded(size: int) -> int:
    return max(_GRAIN, -(-size // _GRAIN) * _GRAIN)
