"""Pinned memory of the host: what a stream may still write, or read, while the host goes on.

An ordinary tensor for all that the host does with it, at once and without asking anybody: who does not wait for the
copy sees what was there before. It is a class of its own because it knows that it is pinned, and so that the explorer
sees the host's looks at it as steps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from cpugpu.simulate.runtime import Runtime


class HostMemory:
    """Pinned memory, for the explorer: what copies and looks have in common."""

    __slots__ = ("__weakref__", "runtime", "shadow")

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.shadow: Any = None  # what somebody who watches has put here
        runtime.made(self)


class PinnedTensor(torch.Tensor):
    """A tensor in pinned memory. Made by `pinned` only."""

    _raw: torch.Tensor
    _memory: HostMemory
    __torch_function__: Any = torch._C._disabled_torch_function_impl  # noqa: SLF001

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        return dispatch.run_with_pinned(func, args, kwargs or {})

    def is_pinned(self, device: Any = None) -> bool:  # noqa: ARG002
        """Yes."""
        return True

    def pin_memory(self, device: Any = None) -> torch.Tensor:  # noqa: ARG002
        """It is."""
        return self

    def to(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """As `torch.Tensor.to`."""
        return moves.to(self, *args, **kwargs)

    def cuda(self, device: Any = None, non_blocking: bool = False, memory_format: Any = None) -> torch.Tensor:
        """A copy on a device."""
        return moves.cuda(self, device, non_blocking, memory_format)

    def cpu(self, memory_format: torch.memory_format = torch.preserve_format) -> torch.Tensor:  # noqa: ARG002
        """Itself."""
        return self

    def item(self) -> Any:
        """The value as it is now."""
        look(self)
        return self._raw.item()

    def tolist(self) -> Any:
        """The values as they are now."""
        look(self)
        return self._raw.tolist()

    def numpy(self, *, force: bool = False) -> Any:
        """The same memory as an array."""
        look(self)
        return self._raw.numpy(force=force)

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        look(self)
        return self._raw.__array__(*args, **kwargs)

    def __repr__(self, **kwargs: Any) -> str:  # type: ignore[override]
        look(self)
        return repr(self._raw)

    def __deepcopy__(self, memo: dict[int, Any]) -> torch.Tensor:
        look(self)
        copy = self._raw.clone()
        memo[id(self)] = copy
        return copy

    def __reduce_ex__(self, protocol: Any) -> Any:
        look(self)
        return self._raw.clone().__reduce_ex__(protocol)


def pinned(raw: torch.Tensor, runtime: Runtime, memory: HostMemory | None = None) -> PinnedTensor:
    """`raw`, whose memory counts as pinned from now on."""
    tensor: PinnedTensor = torch.Tensor._make_subclass(  # noqa: SLF001
        runtime.pinned_class or PinnedTensor, raw
    )
    tensor._raw = raw
    tensor._memory = memory or HostMemory(runtime)
    return tensor


def look(tensor: PinnedTensor) -> None:
    """The host is about to read it."""
    memory = tensor._memory
    if memory.runtime.scheduled and not memory.runtime.over:
        memory.runtime.step("read host memory", reads=(memory,))


from cpugpu.simulate import dispatch, moves  # noqa: E402 - they need the class
