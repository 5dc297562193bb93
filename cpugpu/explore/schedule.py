"""A schedule as a short text that can be pasted, and the strategy that repeats it.

What is written down is where the schedule leaves the default, which is to go on with who is running, or else with the
oldest actor that can. With it go a number for the code that it belongs to, the number of steps, and a checksum.
"""

from __future__ import annotations

import base64
import binascii
import inspect
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from cpugpu.explore.execution import Actor, Step
from cpugpu.explore.run import Run
from cpugpu.rig import Scenario

#: Of the text. One of another version is refused.
VERSION = 1
_PREFIX = "cg"


class ScheduleError(ValueError):
    """A text that is no schedule, or one of another version, or of code that has changed."""


def encode(run: Run, scenario: Scenario, trace: Sequence[type] = (), spurious: int = 0) -> str:
    """The schedule of `run` as a text."""
    numbers: list[int] = [len(run.steps)]
    before, since = None, 0
    for step in run.steps:
        chosen = step.enabled.index(step.actor)
        if chosen == _default(step.enabled, before):
            since += 1
        else:
            numbers += (since, chosen)
            since = 0
        before = step.actor
    body = fingerprint(scenario, trace, spurious).to_bytes(3, "big") + b"".join(map(_varint, numbers))
    check = (zlib.crc32(body) & 0xFFFF).to_bytes(2, "big")
    return f"{_PREFIX}{VERSION}-{base64.urlsafe_b64encode(check + body).decode().rstrip('=')}"


def fingerprint(scenario: Scenario, trace: Sequence[type] = (), spurious: int = 0) -> int:
    """A number of 24 bits for what a schedule belongs to: the scenario, its subject, what is traced, the options."""
    parts: list[object] = [scenario.function, *trace]
    if scenario.subject is not None:
        parts.append(scenario.subject)
    text = "\n".join(source for part in parts for source in _sources(part))
    if spurious:
        text += f"\nspurious {spurious}"
    return zlib.crc32(text.encode()) & 0xFFFFFF


class Replay:
    """Takes the steps of a schedule. `ScheduleError` where the program does something else meanwhile."""

    exhaustive = False
    to_the_end = False

    def __init__(self, text: str, scenario: Scenario, trace: Sequence[type] = (), spurious: int = 0) -> None:
        self._text = text
        self._length, self._deviations = _decode(text, fingerprint(scenario, trace, spurious))
        self._begun = False
        self.fits = False

    def begin(self) -> bool:
        """Once."""
        begun, self._begun = self._begun, True
        self._left = list(self._deviations)
        self._since = 0
        return not begun

    def choose(self, enabled: Sequence[Actor], current: Actor | None) -> Actor | None:
        """As the text says; None where what it says cannot be done."""
        if self._left and self._since == self._left[0][0]:
            _, chosen = self._left.pop(0)
            self._since = 0
            return enabled[chosen] if chosen < len(enabled) else None
        self._since += 1
        return enabled[_default(enabled, current)]

    def end(self, run: Run) -> None:
        """Did the program do what it did when the schedule was written down?"""
        self.fits = run.complete and len(run.steps) == self._length and not self._left


def _default(enabled: Sequence[Actor], current: Actor | None) -> int:
    return next((number for number, actor in enumerate(enabled) if actor is current), 0)


def _decode(text: str, expected: int) -> tuple[int, list[tuple[int, int]]]:
    head, dash, tail = text.strip().partition("-")
    if not dash or not head.startswith(_PREFIX) or not head.removeprefix(_PREFIX).isdecimal():
        raise ScheduleError(f"{text!r} is no schedule; one looks like {_PREFIX}{VERSION}-…")
    if head != f"{_PREFIX}{VERSION}":
        raise ScheduleError(f"{text!r} is a schedule of version {head.removeprefix(_PREFIX)}; this is {VERSION}")
    try:
        data = base64.b64decode(tail + "=" * (-len(tail) % 4), altchars=b"-_", validate=True)
        check, body = data[:2], data[2:]
        if len(body) < 4 or (zlib.crc32(body) & 0xFFFF).to_bytes(2, "big") != check:
            raise ScheduleError(f"{text!r} is not whole: its checksum is wrong")
        numbers = list(_numbers(body[3:]))
    except (binascii.Error, UnicodeError) as error:
        raise ScheduleError(f"{text!r} is not whole: {error}") from error
    if int.from_bytes(body[:3], "big") != expected:
        raise ScheduleError(
            f"{text!r} belongs to other code: the scenario, its subject, what is traced (trace=) or the"
            " spurious wake-ups are not what they were"
        )
    return numbers[0], list(zip(numbers[1::2], numbers[2::2], strict=True))


def _varint(number: int) -> bytes:
    data = bytearray()
    while number > 0x7F:
        data.append(number & 0x7F | 0x80)
        number >>= 7
    data.append(number)
    return bytes(data)


def _numbers(data: Iterable[int]) -> Iterator[int]:
    number = shift = 0
    for byte in data:
        number |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            yield number
            number = shift = 0


def _sources(part: object) -> Iterator[str]:
    """The source of a function, or of a class with its bases."""
    for each in part.__mro__ if isinstance(part, type) else (part,):
        yield _source(each)


def _source(part: object) -> str:
    try:
        return inspect.getsource(part)  # type: ignore[arg-type]
    except (OSError, TypeError):  # built in, or made at run time
        return str(getattr(part, "__qualname__", type(part)))


def is_switch(step: Step, before: Actor | None) -> bool:
    """Is this step a preemption: was `before`, who could have gone on, left?"""
    return before is not None and step.actor is not before and before in step.enabled


def reproduce_schedule(text: str) -> Callable[[Scenario], Scenario]:
    """Let `explore` try this schedule of a scenario and no other: to be put above `@scenario` while a bug is mended."""

    def decorate(scenario: Scenario) -> Scenario:
        if not isinstance(scenario, Scenario):
            raise TypeError(f"@reproduce_schedule stands above @scenario, not above {scenario!r}")
        return replace(scenario, schedule=text)

    return decorate
