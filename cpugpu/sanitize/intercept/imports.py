"""Patches of modules that a program may load later, or never: they are put in place when it does."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from cpugpu.patches import Patch, Patches

#: By the name of a module, its patches.
Table = Mapping[str, Callable[[Any], Iterable[Patch]]]


class WhenImported:
    """First among the finders of `sys.meta_path`, but it finds nothing itself: it asks those that come after it."""

    def __init__(self, patches: Patches) -> None:
        self._patches = patches
        self._wanted: dict[str, Callable[[Any], Iterable[Patch]]] = {}

    def start(self, table: Table) -> None:
        """Now, for modules that are there."""
        for name, make in table.items():
            if name in sys.modules:
                self._patches.apply(make(sys.modules[name]))
            else:
                self._wanted[name] = make
        sys.meta_path.insert(0, self)

    def stop(self) -> None:
        """No more."""
        self._wanted.clear()
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """What the others find; a module that is wanted gets its patches as soon as it has been loaded."""
        if name not in self._wanted:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    self._follow(spec.loader, name)
                return spec
        return None

    def _follow(self, loader: Any, name: str) -> None:
        load = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            load(module)
            make = self._wanted.pop(name, None)
            if make is not None:
                self._patches.apply(make(module))

        loader.exec_module = exec_module
