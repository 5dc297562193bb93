"""Doubles under the names of others: put in place all at once, and taken out again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_MISSING = object()

#: Where a name is (a module or a class), the name, and what takes its place.
Patch = tuple[Any, str, Any]


class Patches:
    """The doubles in place. `undo` puts back what was there, in the opposite order."""

    def __init__(self) -> None:
        self._before: list[Patch] = []

    def apply(self, patches: Iterable[Patch]) -> None:
        """All or none. A name that its owner neither has nor annotates is left out: other versions have other names."""
        try:
            for owner, name, value in list(patches):
                if not (hasattr(owner, name) or name in getattr(owner, "__annotations__", ())):
                    continue
                self._before.append((owner, name, vars(owner).get(name, _MISSING)))
                setattr(owner, name, value)
        except BaseException:
            self.undo()
            raise

    def undo(self) -> None:
        """As it was."""
        while self._before:
            owner, name, value = self._before.pop()
            if value is _MISSING:
                delattr(owner, name)
            else:
                setattr(owner, name, value)
