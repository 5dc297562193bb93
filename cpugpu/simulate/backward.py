"""On which stream an operation goes: the current one, except in a backward pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cpugpu.device.simulated.model import Operation, StreamState
from cpugpu.simulate.runtime import Runtime


def stream(runtime: Runtime, index: int, args: Sequence[Any]) -> StreamState:
    """Where the calling thread's next operation on these goes."""
    return runtime.current(index)


def made(operation: Operation, blocks: Sequence[Any]) -> None:
    """They are filled by `operation`."""
