"""A mutant: the real code with one change, for the length of a `with` block.

The change is written as a patch of whole lines of one function. The module's source is compiled with it, and the
function gets the new code object in the place of its own: so whoever holds the function already, a registry or a
subclass, runs the mutant too. A patch that does not fit exactly one place is an error, so that mutants cannot rot.

Its code says that it is of another file, whose text is in `linecache`: who reads the source reads that of the mutant.
"""

from __future__ import annotations

import importlib
import inspect
import linecache
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Literal

Part = Literal["event", "device", "rules", "accelerator"]
#: The parts that a device shows: it cannot show what is wrong with the other one.
PARTS: dict[str, tuple[Part, ...]] = {"sim": ("event", "device", "rules"), "accelerator": ("event", "accelerator")}


#: The name of the sanitizer's engine, which is for the event alone.
SANITIZE = "sanitize"


class PatchError(ValueError):
    """A patch that does not fit the code."""


@dataclass(frozen=True)
class Mutant:
    """One change of the real code.

    `where` is `module:qualified.name` of a function, method or property. `patch` has whole lines of it, indented as
    they are among themselves: those behind `-` go, those behind `+` come, those behind a space stay. `what` says in one
    sentence what is broken by it. `reason`: where an engine does not see it, why that is so. `unexplored`: why the
    explorer cannot.
    """

    name: str
    part: Part
    where: str
    patch: str
    what: str
    reason: str = ""
    unexplored: str = ""

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Run the mutant instead of the original, in all threads of this process. `PatchError` if it does not fit."""
        function = self._function()
        original = function.__code__
        changed = self._source(function)
        code = self._compiled(function, changed)
        text = [f"{line}\n" for line in changed]
        linecache.cache[code.co_filename] = (sum(map(len, text)), None, text, code.co_filename)
        function.__code__ = code
        try:
            yield
        finally:
            function.__code__ = original
            linecache.cache.pop(code.co_filename, None)

    def _function(self) -> FunctionType:
        module_name, _, path = self.where.partition(":")
        found: object = importlib.import_module(module_name)
        for name in path.split("."):
            found = inspect.getattr_static(found, name)
        if isinstance(found, property):
            found = found.fget
        assert callable(found)
        found = inspect.unwrap(found)
        if not isinstance(found, FunctionType):
            raise PatchError(f"{self.name}: {self.where} is no function")
        return found

    def _source(self, function: FunctionType) -> list[str]:
        """The lines of its file, with the change."""
        lines, _ = inspect.findsource(function)
        block, _ = inspect.getsourcelines(function)
        first = function.__code__.co_firstlineno - 1  # counted from 0
        changed = [line.rstrip("\n") for line in lines]
        changed[first : first + len(block)] = self._patched(changed[first : first + len(block)])
        return changed

    def _compiled(self, function: FunctionType, source: Sequence[str]) -> CodeType:
        original = function.__code__
        filename = f"<mutant {self.name} of {original.co_filename}>"
        whole = compile("\n".join(source) + "\n", filename, "exec", dont_inherit=True)
        found = [
            code
            for code in _codes(whole)
            if code.co_name == original.co_name and code.co_firstlineno == original.co_firstlineno
        ]
        if len(found) != 1:
            raise PatchError(f"{self.name}: {self.where} is there {len(found)} times")
        if found[0].co_freevars != original.co_freevars:
            raise PatchError(f"{self.name}: the change uses other variables of the enclosing scope")
        if _same(found[0], original):
            raise PatchError(f"{self.name}: the change makes no difference to {self.where}")
        return found[0]

    def _patched(self, source: Sequence[str]) -> list[str]:
        """The lines of the function with the change."""
        lines = textwrap.dedent(self.patch).strip("\n").splitlines()
        if any(line[:1] not in ("-", "+", " ") for line in lines):
            raise PatchError(f"{self.name}: a line of a patch begins with '-', '+' or a space")
        before = [line[1:] for line in lines if not line.startswith("+")]
        after = [line[1:] for line in lines if not line.startswith("-")]
        places = [place for place in range(len(source)) if _indentation(source[place:], before) is not None]
        if len(places) != 1:
            raise PatchError(f"{self.name}: the patch fits {len(places)} places of {self.where}, not 1")
        place = places[0]
        indentation = _indentation(source[place:], before)
        return [
            *source[:place],
            *(f"{indentation}{line}" for line in after),
            *source[place + len(before) :],
        ]


def _indentation(source: Sequence[str], wanted: Sequence[str]) -> str | None:
    """By what `wanted` has to be indented to be the first lines of `source`. None if it is not."""
    if not source or not wanted or not source[0].endswith(wanted[0]):
        return None
    indentation = source[0].removesuffix(wanted[0])
    same = list(source[: len(wanted)]) == [f"{indentation}{line}" for line in wanted]
    return indentation if same and not indentation.strip() else None


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _same(one: CodeType, other: CodeType) -> bool:
    """Do they do the same? Line numbers do not count."""
    if (one.co_code, one.co_names, one.co_varnames) != (other.co_code, other.co_names, other.co_varnames):
        return False
    return len(one.co_consts) == len(other.co_consts) and all(
        _same(mine, its) if isinstance(mine, CodeType) and isinstance(its, CodeType) else mine == its
        for mine, its in zip(one.co_consts, other.co_consts, strict=True)
    )
