"""Where in the program something was done: the innermost frame that is the program's own.

`here()` walks out of the frames of torch, of this package, and of the library modules that hand work between threads,
and no further, so its cost does not depend on how deep the program is. It keeps the code object and the instruction,
never the frame; the line is looked up when somebody reads it.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType

#: A code object and the offset of an instruction in it.
RawPlace = tuple[CodeType, int]

_PACKAGE = str(Path(__file__).parent.parent) + os.sep
_LIBRARY = str(Path(threading.__file__).parent) + os.sep
_PACKAGES = (_LIBRARY + "site-packages", _LIBRARY + "dist-packages")
_HANDING = tuple(
    _LIBRARY + name
    for name in (
        *("threading.py", "queue.py", "contextlib.py", "_weakrefset.py", "weakref.py"),
        *(f"concurrent{os.sep}", f"asyncio{os.sep}"),
    )
)
#: The program's own modes and subclasses are asked about operations that its other lines have launched.
_HANDLERS = ("__torch_dispatch__", "__torch_function__")
_MADE = ("<frozen ", "<string>")  # importlib's, dataclasses' and namedtuples'
#: Is this file not the program's? By file name: there are not many.
_foreign: dict[str, bool] = {}


def _torch_folder() -> str | None:
    spec = importlib.util.find_spec("torch")
    return None if spec is None or spec.origin is None else str(Path(spec.origin).parent) + os.sep


_prefixes: tuple[str, ...] = ()


def _is_foreign(name: str) -> bool:
    global _prefixes
    if not _prefixes:
        torch = _torch_folder()
        _prefixes = (_PACKAGE, *_HANDING, *_MADE, *((torch,) if torch else ()))
    found = _foreign[name] = name.startswith(_prefixes)
    return found


@dataclass(frozen=True)
class Place:
    """A line of the program."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} in {self.function}" if self.file else "an unknown place"


UNKNOWN = Place("", 0, "")


def here(depth: int = 1) -> RawPlace | None:
    """Where the caller was called from, seen from the program. None: no frame is the program's own."""
    frame: FrameType | None = sys._getframe(depth)  # noqa: SLF001
    handler: RawPlace | None = None
    known = _foreign
    while frame is not None:
        code = frame.f_code
        name = code.co_filename
        if not (known[name] if name in known else _is_foreign(name)):
            if code.co_name not in _HANDLERS:
                return code, frame.f_lasti
            handler = handler or (code, frame.f_lasti)
        frame = frame.f_back
    return handler


def is_librarys(raw: RawPlace) -> bool:
    """Is it a line of Python's own library?"""
    name = raw[0].co_filename
    return name.startswith(_LIBRARY) and not name.startswith(_PACKAGES)


def raised_at(error: BaseException) -> RawPlace | None:
    """The innermost line of the program that an exception has come through."""
    found: RawPlace | None = None
    traceback = error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if not _is_foreign(code.co_filename):
            found = code, traceback.tb_lasti
        traceback = traceback.tb_next
    return found


def place_of(raw: RawPlace | Place | None) -> Place:
    """With its line."""
    if raw is None:
        return UNKNOWN
    if isinstance(raw, Place):
        return raw
    code, instruction = raw
    line = code.co_firstlineno
    for start, stop, number in code.co_lines():
        if start <= instruction < stop and number is not None:
            line = number
            break
    return Place(code.co_filename, line, getattr(code, "co_qualname", code.co_name))
