"""Was an execution of a program legal?"""

from __future__ import annotations

from stress.generated.listing import listing
from stress.generated.oracle import sights, wrong
from stress.generated.program import UNSEEN, Program, Seen

ORDERED, UNORDERED = "ordered", "unordered"


def complaint(program: Program, seen: Seen) -> str:
    """Empty if every observation has seen what it may see; else the program, and what was seen instead of what."""
    allowed = sights(program)
    remarks = {}
    for place in wrong(allowed, seen):
        found = sorted(set(seen[place]))
        what = "nothing: its kernel has not run" if found == [UNSEEN] else " and ".join(map(str, found))
        remarks[place] = f"saw {what}; allowed is {allowed[place]}"
    return listing(program, remarks) if remarks else ""
