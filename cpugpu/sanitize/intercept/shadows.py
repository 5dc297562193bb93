"""Which shadow a tensor has: that of its storage, and the bytes of it.

A tensor on the simulated device has one with its block, pinned memory there with what makes it pinned. A real device's
and the host's have one by the storage, for as long as it lives.
"""

from __future__ import annotations

import itertools
import weakref
from typing import Any

import torch

from cpugpu.sanitize.intercept.backend import Backend
from cpugpu.sanitize.memory import Storage
from cpugpu.sanitize.model import Model
from cpugpu.sanitize.places import here
from cpugpu.sanitize.strides import Region, region
from cpugpu.simulate.memory import Block
from cpugpu.simulate.pinned import PinnedTensor
from cpugpu.simulate.tensor import SimTensor

_numbers = itertools.count(1)


class Shadows:
    """The shadows of all storages that are watched."""

    def __init__(self, model: Model, backend: Backend) -> None:
        self._model = model
        self._is_on = backend.is_on
        self._simulated = backend.simulated
        self._by_storage: dict[int, Storage] = {}

    def of(self, tensor: torch.Tensor, *, host: bool = False) -> tuple[Storage, Region] | None:
        """The shadow of a tensor on a device; with `host` of one of the host too, which is watched from now on.

        None for what is not watched, and what has no bytes.
        """
        raw = tensor
        storage: Storage | None
        if self._simulated and isinstance(tensor, SimTensor):
            raw = tensor._raw
            storage = tensor._block.shadow
            if storage is None or storage.keeper is not self:
                storage = self.block(tensor._block)
        elif self._simulated and isinstance(tensor, PinnedTensor):
            raw = tensor._raw
            storage = tensor._memory.shadow
            if storage is None or storage.keeper is not self:
                storage = tensor._memory.shadow = Storage(f"pinned memory {next(_numbers)}", host=True)
                storage.keeper = self
        else:
            try:
                untyped = tensor.untyped_storage()
            except (NotImplementedError, RuntimeError):  # a sparse one, or a subclass without memory of its own
                return None
            storage = self._by_storage.get(untyped._cdata)  # noqa: SLF001 - the C++ object: Python's come and go
            if storage is None:
                storage = self._plain(tensor, untyped, host=host)
                if storage is None:
                    return None
        if not raw.is_contiguous():
            bytes_ = region(raw.storage_offset(), raw.shape, raw.stride(), raw.itemsize)  # type: ignore[arg-type]
            return None if bytes_ is None else (storage, bytes_)
        length, start = raw.nbytes, raw.storage_offset()
        if start:
            start *= raw.itemsize
        return (storage, (start, start + length)) if length else None  # type: ignore[return-value]

    def block(self, block: Block) -> Storage:
        """That of a block of the simulated device, which has none yet."""
        model, memory = self._model, block.memory
        device = f"cuda:{block.index}"
        storage = Storage(f"tensor {next(_numbers)}", device=device, size=memory.size, address=id(memory))
        storage.keeper = self
        block.shadow = storage
        block.freed = lambda: model.free(model.me(), storage, here())
        return storage

    def _plain(self, tensor: torch.Tensor, untyped: Any, *, host: bool) -> Storage | None:
        on_host = not self._is_on(tensor)
        if (on_host and not host) or tensor.device.type == "meta":
            return None
        key = untyped._cdata  # noqa: SLF001
        found = self._by_storage[key] = Storage(
            f"{'host memory' if on_host else 'tensor'} {next(_numbers)}",
            host=on_host,
            device="" if on_host else str(tensor.device),
            size=untyped.nbytes(),
            address=untyped.data_ptr(),
        )
        weakref.finalize(untyped, self._gone, key).atexit = False
        return found

    def _gone(self, key: int) -> None:
        storage = self._by_storage.pop(key, None)
        if storage is not None:
            self._model.free(self._model.me(), storage, here())
