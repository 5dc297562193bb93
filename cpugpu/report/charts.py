"""Where the marks of the drawings go. The template draws them; everything here is in the units of its viewBox."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from cpugpu.hammer import Latencies, Step
from cpugpu.report.machine import PERCENTILES
from cpugpu.report.words import duration, unit_of

WIDTH = 880.0
LEFT, RIGHT = 16.0, 864.0
#: The width of a character of the labels, about.
_CHARACTER = 6.3
_GAP = 6.0
_LABEL = 48
#: The height of a row of bars, and how many rows a lane may take so that labels do not overlap.
_ROW, _ROWS = 22.0, 8
_LANES_LEFT = 120.0
_TOP = 26.0
#: Of the histogram: the height of its bars, and of a row of the labels above them.
_BARS_HEIGHT, _MARK_ROW = 126.0, 14


class Tick(NamedTuple):
    """A line across, with its label."""

    x: float
    label: str


class Bar(NamedTuple):
    """A bucket of the histogram."""

    x: float
    y: float
    width: float
    height: float
    title: str


class Mark(NamedTuple):
    """A percentile. `row`: how far down its label goes, so that it does not overlap another."""

    x: float
    row: int
    label: str
    anchor: str


@dataclass(frozen=True)
class Histogram:
    """Latencies on a logarithmic axis of whole decades. `top` and `bottom` are those of the bars."""

    bars: list[Bar]
    ticks: list[Tick]
    marks: list[Mark]
    top: float
    bottom: float


class Span(NamedTuple):
    """A step as a bar. `label` is empty where there is no room; `title` is always there."""

    x: float
    y: float
    width: float
    title: str
    label: str
    label_x: float
    anchor: str
    inside: bool
    unfinished: bool


@dataclass
class Lane:
    """What a thread did, or a stream ran."""

    name: str
    kind: str
    y: float = 0.0
    height: float = 0.0
    spans: list[Span] = field(default_factory=list)


@dataclass(frozen=True)
class Timeline:
    """Lanes below each other on a linear axis from the start of the execution. Threads come first."""

    lanes: list[Lane]
    ticks: list[Tick]
    height: float
    unfinished: int


def histogram(latencies: Latencies) -> Histogram:
    """The drawing of latencies; there must be some."""
    buckets = list(latencies.buckets())
    (narrow, _), (wide, _) = Latencies({0: 1, 1: 1}).buckets()
    ratio = wide / narrow  # of the upper ends of neighbours
    first = math.floor(math.log10(buckets[0][0] / ratio) + 1e-9)
    last = max(first + 1, math.ceil(math.log10(buckets[-1][0]) - 1e-9))

    def x_of(seconds: float) -> float:
        return LEFT + (math.log10(seconds) - first) / (last - first) * (RIGHT - LEFT)

    marks = _marks(latencies, x_of)
    top = 12 + _MARK_ROW * (1 + max(mark.row for mark in marks))
    bottom = top + _BARS_HEIGHT
    bars = []
    most = max(times for _, times in buckets)
    for upper, times in buckets:
        left, right = x_of(upper / ratio), x_of(upper)
        height = max(1.5, _BARS_HEIGHT * times / most)
        title = f"{duration(upper / ratio)} to {duration(upper)}: {times:,}"
        bars.append(Bar(left, bottom - height, max(1.0, right - left - 1), height, title))
    return Histogram(bars, [_decade(power, x_of) for power in range(first, last + 1)], marks, top, bottom)


def timeline(steps: Sequence[Step]) -> Timeline:
    """The drawing of a failure; there must be steps."""
    unfinished = sum(step.ended is None for step in steps)
    last = max(max(step.began, step.ended or 0.0) for step in steps) or 1e-6
    end = last * (1.12 if unfinished else 1.0)

    def x_of(seconds: float) -> float:
        return _LANES_LEFT + max(0.0, seconds) / end * (RIGHT - _LANES_LEFT)

    lanes: dict[tuple[str, str], list[Step]] = {}
    for step in sorted(steps, key=lambda step: step.kind != "thread"):
        lanes.setdefault((step.kind, step.where), []).append(step)
    y, drawn = _TOP, []
    for (kind, name), mine in lanes.items():
        lane = _lane(name, kind, sorted(mine, key=lambda step: step.began), y, x_of)
        drawn.append(lane)
        y += lane.height
    return Timeline(drawn, _ticks(last, x_of), y + 8, unfinished)


def _marks(latencies: Latencies, x_of: Callable[[float], float]) -> list[Mark]:
    marks, ends = [], list[float]()
    for name, percent in PERCENTILES.items():
        value = latencies.percentile(percent)
        label, x = f"{name} {duration(value)}", x_of(value)
        length = len(label) * _CHARACTER + _GAP
        anchor = "start" if x + length < RIGHT else "end"
        begin = x if anchor == "start" else x - length
        row = next((number for number, end in enumerate(ends) if end <= begin), len(ends))
        ends[row : row + 1] = [begin + length]
        marks.append(Mark(x, row, label, anchor))
    return marks


def _lane(name: str, kind: str, steps: Sequence[Step], y: float, x_of: Callable[[float], float]) -> Lane:
    lane = Lane(name, kind, y)
    ends: list[float] = []
    for step in steps:
        begin, end = x_of(step.began), RIGHT if step.ended is None else x_of(step.ended)
        width = max(2.0, end - begin)
        label = step.what if len(step.what) <= _LABEL else step.what[: _LABEL - 1] + "…"
        length = len(label) * _CHARACTER + _GAP
        inside = length + _GAP <= width
        after = begin + width + length <= RIGHT
        left = begin if inside or after else begin - length
        right = begin + width + (length if after and not inside else 0.0)
        row = next((number for number, taken in enumerate(ends) if taken <= left), len(ends))
        if row >= _ROWS:  # no room for its label: the bar alone, where there is room for that
            label, right = "", begin + width
            row = next((number for number, taken in enumerate(ends) if taken <= begin), _ROWS - 1)
        ends[row : row + 1] = [max([right + 2, *ends[row : row + 1]])]
        label_x = begin + _GAP if inside else begin + width + 4 if after else begin - 4
        anchor = "start" if inside or after else "end"
        when = (
            f"began {duration(step.began)}, never ended"
            if step.ended is None
            else f"{duration(step.began)} to {duration(step.ended)}, took {duration(step.ended - step.began)}"
        )
        title = f"{step.what}: {when}"
        top = y + 4 + row * _ROW
        lane.spans.append(Span(begin, top, width, title, label, label_x, anchor, inside, step.ended is None))
    lane.height = max(1, len(ends)) * _ROW + 8
    return lane


def _decade(power: int, x_of: Callable[[float], float]) -> Tick:
    size, unit = unit_of(10.0**power)
    return Tick(x_of(10.0**power), f"{10.0**power / size:g} {unit}")


def _ticks(last: float, x_of: Callable[[float], float]) -> list[Tick]:
    """Six or so, at round numbers."""
    size, unit = unit_of(last)
    rough = last / size / 6
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if rough <= power * factor)
    count = math.floor(last / size / step + 1e-9)
    return [Tick(x_of(number * step * size), f"{number * step:g} {unit}") for number in range(count + 1)]
