"""What a program under exploration must not do: start something that runs beside the explorer, or block for real."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from types import FrameType

#: Frames of these folders are not the user's: this package, and the standard library but for what is installed in it.
_OURS = os.path.dirname(os.path.abspath(__file__)) + os.sep
_STANDARD = os.path.dirname(os.path.abspath(os.__file__)) + os.sep
_INSTALLED = tuple(os.path.join(_STANDARD, name) + os.sep for name in ("site-packages", "dist-packages"))


#: Called with each one: a program that catches everything shall not go unnoticed.
noted: Callable[[Unmodelled], None] | None = None


#: The place of what no code of the user's has called: the function was handed to a thread as it is.
UNKNOWN = "unknown"


class Unmodelled(BaseException):
    """A program under exploration did something that the explorer has no model of.

    No `Exception`, so that the program does not take it for an error of its own. `what` was done, and where: `place` is
    "file:line" of the innermost frame that is the user's.
    """

    def __init__(self, what: str, advice: str) -> None:
        self.what = what
        self.advice = advice
        self.place = _place()
        if noted is not None:
            noted(self)
        super().__init__(f"{self.place}: {what} cannot be explored: {advice}")

    def __reduce__(self) -> tuple[object, ...]:
        return _restored, (self.what, self.advice, self.place)


def _restored(what: str, advice: str, place: str) -> Unmodelled:
    error = Unmodelled(what, advice)
    error.place = place
    error.args = (f"{place}: {what} cannot be explored: {advice}",)
    return error


def _place() -> str:
    return place_of(sys._getframe(1)) or UNKNOWN  # noqa: SLF001


def place_of(frame: FrameType | None) -> str:
    """The innermost frame that is the user's, as "file:line"; empty if there is none."""
    while frame is not None and not is_users(frame.f_code.co_filename):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else ""


def is_users(filename: str) -> bool:
    """Is that file neither of this package nor of Python?"""
    if filename.startswith("<frozen "):
        return False
    path = os.path.abspath(filename)
    if path.startswith(_OURS):
        return False
    return not path.startswith(_STANDARD) or path.startswith(_INSTALLED)
