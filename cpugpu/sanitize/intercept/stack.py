"""The stack of a thread's dispatch modes, on which the program has its own, and may leave some."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_C: Any = torch._C  # noqa: SLF001


def enter_below(mode: TorchDispatchMode) -> None:
    """Below those that are there: whoever has entered those leaves the topmost one, which has to be its own."""
    above = [_C._pop_torch_dispatch_stack(None) for _ in range(_C._len_torch_dispatch_stack())]  # noqa: SLF001
    mode.__enter__()
    _put_back(above)


def leave(mode: TorchDispatchMode) -> None:
    """Wherever it is. What the program has entered since stays."""
    above: list[Any] = []
    while _C._len_torch_dispatch_stack():  # noqa: SLF001
        top = _C._pop_torch_dispatch_stack(None)  # noqa: SLF001
        if top is mode:
            _put_back([top])
            mode.__exit__(None, None, None)
            break
        above.append(top)
    _put_back(above)


def _put_back(above: list[Any]) -> None:
    for each in reversed(above):
        _C._push_on_torch_dispatch_stack(each)  # noqa: SLF001
