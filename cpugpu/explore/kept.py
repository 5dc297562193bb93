"""Failing schedules that are kept from one exploration to the next, in the folder `.cpugpu/schedules`."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from cpugpu.rig import Scenario

FOLDER = Path(".cpugpu") / "schedules"
_MOST = 10


class Kept:
    """The schedules of one scenario. A folder that cannot be written keeps nothing, and that is no error."""

    def __init__(self, scenario: Scenario) -> None:
        name = re.sub(r"[^\w.\[\]-]", "_", f"{scenario.module}.{scenario.title}")
        self._path = FOLDER / f"{name}.txt"

    def texts(self) -> list[str]:
        """The latest first."""
        try:
            return self._path.read_text(encoding="utf-8").split()
        except (OSError, UnicodeError):
            return []

    def keep(self, text: str) -> None:
        """Put a schedule first."""
        self._write([text, *(other for other in self.texts() if other != text)][:_MOST])

    def forget(self, text: str) -> None:
        """It does not fail any more, or belongs to code that was changed."""
        self._write([other for other in self.texts() if other != text])

    def _write(self, texts: list[str]) -> None:
        with contextlib.suppress(OSError):
            if texts:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._path.write_text("\n".join(texts) + "\n", encoding="utf-8")
            else:
                self._path.unlink(missing_ok=True)
