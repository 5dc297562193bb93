"""How a stand-in takes its steps: in the execution that runs, or, where none does, at once."""

from __future__ import annotations

import itertools
import warnings
from _thread import get_ident

from cpugpu.explore.execution import OutsideExploration, Thread, current
from cpugpu.explore.operation import Access, Operation, Resource

_outside = itertools.count()


def take(operation: Operation) -> bool:
    """Wait for one's turn to do `operation`; False if its timeout ended the wait.

    Where no exploration runs, it is done at once, or not at all: `OutsideExploration` if it would block.
    """
    try:
        execution = current()
    except OutsideExploration:
        if operation.enabled is None or operation.enabled():
            return True
        if operation.timeout is not None:
            return False
        raise OutsideExploration(f"{operation.label} would block, and no exploration runs") from None
    return execution.step(operation)


def taken() -> int:
    """How many steps so far. What goes on after somebody else's code may be within another step than it began in."""
    try:
        return len(current().steps)
    except OutsideExploration:
        return 0


def touch(*footprint: tuple[Resource, Access]) -> None:
    """The current step touches these too."""
    try:
        current().touch(*footprint)
    except OutsideExploration:
        return


def resource(kind: str) -> Resource:
    """A resource of the calling thread. One that is made before any exploration has the same key in all of them."""
    try:
        return current().resource(kind)
    except OutsideExploration:
        number = next(_outside)
        return Resource(("before", number, kind), f"{kind} {number} from before")


def stable_hash(of: Resource) -> int:
    """Of what is in no run at the same address: so that sets are gone through in the same order in all of them."""
    return hash(of.key[:-1]) if isinstance(of.key[0], int) else hash(of)


def logical() -> Thread | None:
    """The logical thread that calls, if one does."""
    try:
        return current().me()
    except OutsideExploration:
        return None


def me() -> Thread | int:
    """Who calls: a logical thread, or the number of a real one."""
    thread = logical()
    return get_ident() if thread is None else thread


def ending() -> bool:
    """Is the execution over? Then its threads only unwind, wherever they stood: what they find is not their fault."""
    try:
        return current().over
    except OutsideExploration:
        return False


def misuse(message: str) -> None:
    """Raise a `RuntimeError`, but not to a thread that unwinds."""
    if not ending():
        raise RuntimeError(message)


def deprecated(old: str, new: str) -> None:
    """Warn whoever called the method that calls this."""
    warnings.warn(f"{old} is deprecated, {new} instead", DeprecationWarning, stacklevel=3)
