"""Numbers and foreign text as a report shows them."""

from __future__ import annotations

import math

_SPARED = {"\t", "\n"}
_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


def clean(text: str) -> str:
    r"""`text` with an escape, `\x1b`, in the place of each character that HTML or XML forbids."""
    return "".join(map(_visible, text))


def duration(seconds: float) -> str:
    """Three digits and a unit: `12.3 µs`. `–` for NaN."""
    if math.isnan(seconds):
        return "–"
    if seconds == 0:
        return "0 s"
    size, unit = unit_of(seconds)
    value = seconds / size
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} {unit}"


def unit_of(seconds: float) -> tuple[float, str]:
    """The largest unit that is not larger than `seconds`, and its name."""
    return next((each for each in _UNITS if abs(seconds) >= each[0] * 0.9995), _UNITS[-1])


def share(times: int, executions: int) -> str:
    """As a percentage, with so many digits that some is never shown as none, nor most as all."""
    if not executions or times in (0, executions):
        return "100.0%" if times else "0.0%"
    percent = 100 * times / executions
    rest = min(percent, 100 - percent)
    digits = 1 if rest >= 0.1 else -math.floor(math.log10(rest))
    return f"{percent:.{digits}f}%"


def paragraphs(text: str) -> list[tuple[bool, str]]:
    """The paragraphs of a docstring; those with indented lines are marked True: they are code or a table."""
    blocks = [block for block in text.strip().split("\n\n") if block.strip()]
    return [(any(line.startswith((" ", "\t")) for line in block.splitlines()), block) for block in blocks]


def _visible(character: str) -> str:
    code = ord(character)
    if character in _SPARED:
        return character
    if code < 0x20 or 0x7F <= code < 0xA0:
        return f"\\x{code:02x}"
    forbidden = 0xD800 <= code < 0xE000 or 0xFDD0 <= code < 0xFDF0 or code & 0xFFFE == 0xFFFE
    return f"\\u{code:04x}" if forbidden else character
