"""Environment variables, all of them, read here and nowhere else.

Each reader looks at the environment when it is called, so a test may change it, and raises a one-line `ValueError`
that says what was given and what is allowed.

| variable               | values                                  | default |
|------------------------|-----------------------------------------|---------|
| `CPUGPU_DEBUG`         | `off`, `log`, `check` (or `1`), `raise` | `off`   |
| `CPUGPU_DEVICE`        | `auto`, `accelerator`, `host`, `sim`    | `auto`  |
| `CPUGPU_SEED`          | an integer from 0                       | drawn   |
| `CPUGPU_STALL_SECONDS` | seconds, `off` for no warning           | 60      |
"""

from __future__ import annotations

import math
import os
from typing import Literal, get_args

DebugMode = Literal["off", "log", "check", "raise"]
DeviceChoice = Literal["auto", "accelerator", "host", "sim"]

_DEBUG_ALIASES: dict[str, DebugMode] = {"": "off", "0": "off", "1": "check"}


def debug_mode() -> DebugMode:
    """How much `CpuGpuEvent()` watches itself; read each time an event is made."""
    return parse_debug_mode(os.environ.get("CPUGPU_DEBUG", ""), source="CPUGPU_DEBUG")


def parse_debug_mode(text: str, *, source: str = "mode") -> DebugMode:
    """The debug mode that `text` names; `source` is what the error calls it."""
    mode = _DEBUG_ALIASES.get(text.strip(), text.strip())
    for known in get_args(DebugMode):
        if mode == known:
            return known  # type: ignore[no-any-return]
    raise ValueError(f"{source}={text!r} is not one of off (also 0 or unset), log, check (also 1), raise")


def device_choice() -> DeviceChoice:
    """Which device a `CpuGpuEvent(device=None)` uses."""
    text = os.environ.get("CPUGPU_DEVICE", "").strip() or "auto"
    for known in get_args(DeviceChoice):
        if text == known:
            return known  # type: ignore[no-any-return]
    raise ValueError(f"CPUGPU_DEVICE={text!r} is not one of {', '.join(get_args(DeviceChoice))}")


def seed() -> int | None:
    """The seed of every random choice, None where the runner is to draw one (and print it)."""
    text = os.environ.get("CPUGPU_SEED", "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"CPUGPU_SEED={text!r} is not an integer from 0")
    return int(text)


def stall_seconds() -> float | None:
    """How long a wait may block before it warns; None for never."""
    text = os.environ.get("CPUGPU_STALL_SECONDS", "").strip()
    if not text:
        return 60.0
    if text == "off":
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ValueError(f"CPUGPU_STALL_SECONDS={text!r} is neither a number of seconds above 0 nor 'off'")
    return seconds
