"""Which shadow a tensor has: that of its storage, and the bytes of it.

A tensor on the simulated device has one with its block, pinned memory there with what makes it pinned. A real device's
and the host's have one by the storage, for as long as it lives.
"""

from __future__ import annotations

import itertools
import weakref

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
            storage = self._plain(tensor, host=host)
            if storage is None:
                return None
        bytes_ = _region(raw)
        return None if bytes_ is None else (storage, bytes_)

    def block(self, block: Block) -> Storage:
        """That of a block of the simulated device, which has none yet."""
        model, memory = self._model, block.memory
        device = f"cuda:{block.index}"
        storage = Storage(f"tensor {next(_numbers)}", device=device, size=memory.size, address=id(memory))
        storage.keeper = self
        block.shadow = storage
        block.freed = lambda: model.free(model.me(), storage, here())
        return storage

    def _plain(self, tensor: torch.Tensor, *, host: bool) -> Storage | None:
        try:
            untyped = tensor.untyped_storage()
        except (NotImplementedError, RuntimeError):  # a sparse one, or a subclass without memory of its own
            return None
        key = untyped._cdata  # noqa: SLF001 - the C++ object: Python objects of it come and go
        found = self._by_storage.get(key)
        if found is None and (host or self._is_on(tensor)) and tensor.device.type != "meta":
            on_host = not self._is_on(tensor)
            kind = "host memory" if on_host else "tensor"
            found = self._by_storage[key] = Storage(
                f"{kind} {next(_numbers)}",
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


def _region(tensor: torch.Tensor) -> Region | None:
    if tensor.is_contiguous():
        length = tensor.nbytes
        start = int(tensor.storage_offset())
        if start:
            start *= tensor.itemsize
        return (start, start + length) if length else None
    return region(int(tensor.storage_offset()), tensor.shape, tensor.stride(), tensor.itemsize)
