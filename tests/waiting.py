"""Waiting without a clock."""

from __future__ import annotations

import time
from collections.abc import Callable


def eventually(condition: Callable[[], object]) -> None:
    """Block until `condition()` holds. If it never does, pytest-timeout ends the test: nothing here is timed."""
    while not condition():
        time.sleep(0)
