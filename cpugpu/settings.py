"""Environment variables, all of them, read here and nowhere else.

Each reader looks at the environment when it is called, so a test may change it, and raises a one-line `ValueError`
that says what was given and what is allowed.

| variable               | values                                  | default |
|------------------------|-----------------------------------------|---------|
| `CPUGPU_DEBUG`         | `off`, `log`, `check` (or `1`), `raise` | `off`   |
| `CPUGPU_DEVICE`        | `auto`, `accelerator`, `host`, `sim`    | `auto`  |
| `CPUGPU_SEED`          | an integer from 0                       | drawn   |
| `CPUGPU_STALL_SECONDS` | seconds, `off` for no warning           | 60      |
| `CPUGPU_TRACE`         | a path, `%p` in it is the process's id  | no file |
| `CPUGPU_TRACE_MB`      | megabytes, for both files of a rotation | 512     |
| `CPUGPU_DEVICE_TIME`   | `0`, `1`                                | `0`     |
| `CPUGPU_SANITIZE`      | `off`, `check` (or `1`), `raise`        | `off`   |

Which part of a campaign is this process's comes from whatever has started it: `RANK` and `WORLD_SIZE` (torchrun),
`SLURM_PROCID` and `SLURM_NTASKS`, `BUILDKITE_PARALLEL_JOB` and `BUILDKITE_PARALLEL_JOB_COUNT`, the first pair that is
set. `CI` means that nobody watches the terminal.

`CPUGPU_TRACE` without `CPUGPU_DEBUG` means `CPUGPU_DEBUG=log`.
"""

from __future__ import annotations

import functools
import logging
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, TypeVar, get_args

#: What CPUGPU_STALL_SECONDS is where it is not set, or wrong.
STALL_SECONDS: float | None = 60.0

_T = TypeVar("_T")
DebugMode = Literal["off", "log", "check", "raise"]
DeviceChoice = Literal["auto", "accelerator", "host", "sim"]
SanitizeMode = Literal["off", "check", "raise"]

_DEBUG_ALIASES: dict[str, DebugMode] = {"": "off", "0": "off", "1": "check"}


def debug_mode() -> DebugMode:
    """How much `CpuGpuEvent()` watches itself; read each time an event is made."""
    text = os.environ.get("CPUGPU_DEBUG", "")
    if not text.strip() and trace_path() is not None:
        return "log"
    return parse_debug_mode(text, source="CPUGPU_DEBUG")


def parse_debug_mode(text: str, *, source: str = "mode") -> DebugMode:
    """The debug mode that `text` names; `source` is what the error calls it."""
    mode = _DEBUG_ALIASES.get(text.strip(), text.strip())
    for known in get_args(DebugMode):
        if mode == known:
            return known  # type: ignore[no-any-return]
    raise ValueError(f"{source}={text!r} is not one of off (also 0 or unset), log, check (also 1), raise")


def sanitize_mode() -> SanitizeMode:
    """What `import cpugpu.sanitize` does: nothing, watch and report, watch and raise."""
    text = os.environ.get("CPUGPU_SANITIZE", "").strip()
    mode = {"": "off", "0": "off", "1": "check"}.get(text, text)
    for known in get_args(SanitizeMode):
        if mode == known:
            return known  # type: ignore[no-any-return]
    raise ValueError(f"CPUGPU_SANITIZE={text!r} is not one of off (also 0 or unset), check (also 1), raise")


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


def trace_path() -> str | None:
    """Where to write a trace, None for nowhere. `%p` is replaced by the process's id."""
    text = os.environ.get("CPUGPU_TRACE", "").strip()
    return text.replace("%p", str(os.getpid())) or None


def trace_bytes() -> int:
    """How many bytes of trace to keep on disk, at most."""
    text = os.environ.get("CPUGPU_TRACE_MB", "").strip()
    megabytes = _number(text) if text else 512.0
    if not 0 < megabytes < math.inf:
        raise ValueError(f"CPUGPU_TRACE_MB={text!r} is not a number of megabytes above 0")
    return int(megabytes * 1e6)


def device_time() -> bool:
    """Are device times to be measured, with timing events beside each record and wait?"""
    text = os.environ.get("CPUGPU_DEVICE_TIME", "").strip()
    if text not in ("", "0", "1"):
        raise ValueError(f"CPUGPU_DEVICE_TIME={text!r} is neither 0 nor 1")
    return text == "1"


def stall_seconds() -> float | None:
    """How long a wait may block before it warns; None for never."""
    text = os.environ.get("CPUGPU_STALL_SECONDS", "").strip()
    if not text:
        return STALL_SECONDS
    if text == "off":
        return None
    seconds = _number(text)
    if not 0 < seconds < math.inf:
        raise ValueError(f"CPUGPU_STALL_SECONDS={text!r} is neither a number of seconds above 0 nor 'off'")
    return seconds


@contextmanager
def stalls_by_default_after(seconds: float | None) -> Iterator[None]:
    """Within it, a wait that nobody has set otherwise warns after so many seconds; None for never."""
    global STALL_SECONDS
    before, STALL_SECONDS = STALL_SECONDS, seconds
    try:
        yield
    finally:
        STALL_SECONDS = before


_PARTS = (
    ("RANK", "WORLD_SIZE"),
    ("SLURM_PROCID", "SLURM_NTASKS"),
    ("BUILDKITE_PARALLEL_JOB", "BUILDKITE_PARALLEL_JOB_COUNT"),
)


def part() -> tuple[int, int] | None:
    """Which part of a campaign is this process's, from 0, and of how many; None where nothing says so."""
    for number, of in _PARTS:
        texts = os.environ.get(number, ""), os.environ.get(of, "")
        if not all(texts):
            continue
        if not all(text.isascii() and text.isdigit() for text in texts) or not int(texts[0]) < int(texts[1]):
            raise ValueError(f"{number}={texts[0]!r} and {of}={texts[1]!r} are no number from 0 and a count above it")
        return int(texts[0]), int(texts[1])
    return None


def in_ci() -> bool:
    """Is this a CI job, whose log nobody watches live?"""
    return os.environ.get("CI", "").strip().lower() not in ("", "0", "false")


def tolerate(reader: Callable[[], _T], otherwise: _T) -> _T:
    """What `reader` reads; `otherwise`, and one line in the log, if it raises `ValueError`.

    For what only the instruments need: a wrong setting of theirs must not stop the program that they watch.
    """
    try:
        return reader()
    except ValueError as error:
        _log_once(str(error))
        return otherwise


@functools.lru_cache(maxsize=64)
def _log_once(line: str) -> None:
    logging.getLogger("cpugpu").error("%s; the setting is ignored", line)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
