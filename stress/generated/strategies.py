"""Programs for Hypothesis: any program, and the parts of one that is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from hypothesis import strategies as st

from stress.generated.generator import FEWEST, MOST, Shape, Wish, draw_shape, draw_wish, program_of
from stress.generated.legal import legal, schedule
from stress.generated.program import Program

T = TypeVar("T")

#: Hypothesis rarely draws a low one of so many numbers, and soon shrinks a number to a low one.
_almost_never_low = st.integers(0, 1 << 16)


class HypothesisChoices:
    """Choices that Hypothesis makes, and shrinks."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw

    def integer(self, low: int, high: int) -> int:
        return self._draw(st.integers(low, high))

    def choose(self, options: Sequence[T]) -> T:
        return self._draw(st.sampled_from(options))


@st.composite
def _wishes(draw: st.DrawFn, shape: Shape) -> Wish:
    return draw_wish(HypothesisChoices(draw), shape)


@st.composite
def programs(draw: st.DrawFn, *, until_consumed: bool = True) -> Program:
    """Any legal program. `until_consumed`: has the class under test a property `pending`?"""
    shape = draw_shape(HypothesisChoices(draw), until_consumed=until_consumed)
    return program_of(draw(st.lists(_wishes(shape), min_size=FEWEST, max_size=MOST)))


@st.composite
def parts_of(draw: st.DrawFn, program: Program) -> Program:
    """The program with some operations left out, and some threads, streams and buffers made one.

    What Hypothesis draws is the program itself or nearly so, and what it shrinks towards is the empty program: this is
    how it shrinks a program that somebody else has found.
    """

    def fewer(how_many: int) -> list[int]:
        """For each of them: the one that takes its place."""
        return [min(number, draw(_almost_never_low)) for number in range(how_many)]

    kept = set(program)
    for thread, body in enumerate(program.threads):  # whole ends first, since that takes few steps
        end, start = draw(_almost_never_low), len(body) - draw(_almost_never_low)
        kept -= {(thread, position) for position in range(len(body)) if not start <= position < end}
    threads, streams = fewer(len(program.threads)), fewer(program.count("stream"))
    buffers = fewer(max(map(program.count, ("buffer", "source", "target"))))
    new = {"stream": streams, "buffer": buffers, "source": buffers, "target": buffers}
    wishes: Wish = []
    for place in schedule(program):
        if place in kept and draw(_almost_never_low):
            operation = program[place]
            changes = {name: new[name][getattr(operation, name)] for name in new if hasattr(operation, name)}
            wishes.append((threads[place[0]], replace(operation, **changes)))
    return legal(wishes)
