"""How often this process was forked off: what was made before belongs to a parent."""

from __future__ import annotations

import os
from collections.abc import Callable

#: The number of forks between the first process and this one.
forks = 0

_after_fork: list[Callable[[], None]] = []


def after_fork(call: Callable[[], None]) -> None:
    """Have `call` called in every forked child, after `forks` was counted up."""
    _after_fork.append(call)


def _forked() -> None:
    global forks
    forks += 1
    for call in _after_fork:
        call()


os.register_at_fork(after_in_child=_forked)
