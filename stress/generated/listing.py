"""A program for people: a column a thread, in an order in which it could have been called."""

from __future__ import annotations

from collections.abc import Mapping

from stress.generated.legal import schedule
from stress.generated.program import Place, Program, initial


def listing(program: Program, remarks: Mapping[Place, str] | None = None) -> str:
    """One operation a line, with remarks to the right of some."""
    remarks = remarks or {}
    order = schedule(program)
    columns = [
        max([len(f"thread {number}"), *(len(str(operation)) for operation in body)])
        for number, body in enumerate(program.threads)
    ]
    header = "".join(f"  {f'thread {number}':{width}}" for number, width in enumerate(columns))
    lines = [f"    {header}".rstrip()]
    for number, place in enumerate(order, start=1):
        cells = ["" if thread != place[0] else str(program[place]) for thread in range(len(columns))]
        row = "".join(f"  {cell:{width}}" for cell, width in zip(cells, columns, strict=True))
        lines.append(f"{number:4}{row}  {remarks.get(place, '')}".rstrip())
    buffers = max(map(program.count, ("buffer", "source", "target")))
    lines.append("      at first " + ", ".join(f"b{buffer} holds {initial(buffer)}" for buffer in range(buffers)))
    return "\n".join(lines)
