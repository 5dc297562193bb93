"""What a scenario uses that was made before the exploration: real locks, events, queues in its variables.

They have no model. Held across a step, a real lock would block the one thread that the explorer has; an RLock lets all
logical threads in, for it takes them for one; and all keep their state from one execution to the next. Found by what
the code names, without running it: global variables, those of enclosing functions, and attributes of the objects,
classes and functions there, if these are the user's: libraries, this one too, have locks that they hold for a moment.
What is not found so blocks, and the watchdog names it.
"""

from __future__ import annotations

import _thread
import contextlib
import dis
import os
import queue
import threading
from collections.abc import Iterator
from types import CodeType, FunctionType, MethodType
from typing import Any

from cpugpu.explore.unmodelled import is_users

_LOCK, _RLOCK = type(_thread.allocate_lock()), type(_thread.RLock())
_KINDS = (
    *(_LOCK, _RLOCK, threading.Condition, threading.Event, threading.Semaphore, threading.Barrier),
    *(queue.Queue, queue.SimpleQueue),
)
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_INSTALLED = tuple(f"{os.sep}{name}{os.sep}" for name in ("site-packages", "dist-packages"))
#: So many functions are looked into.
_MOST = 500


def made_before(function: Any) -> str:
    """The first such object that a scenario's function uses, and where it is named; empty if there is none."""
    todo: list[Any] = [function]
    seen: set[int] = set()
    while todo and len(seen) < _MOST:
        each = todo.pop(0)
        if isinstance(each, MethodType):
            each = each.__func__
        if not isinstance(each, FunctionType) or id(each) in seen or not _is_written_by_the_user(each):
            continue
        seen.add(id(each))
        for name, value, place in _used(each):
            for path, part in _parts(name, value):
                thing = getattr(part, "__self__", part)  # of a bound method
                if isinstance(thing, _KINDS):
                    what = f"{path} ({type(thing).__name__}), which was made before"
                    return f"{place}: {what}, cannot be explored: make it within the scenario"
                todo.append(part)
    return ""


def _used(function: FunctionType) -> Iterator[tuple[str, Any, str]]:
    """The global variables and those of enclosing functions that it names, what they stand for, and where."""
    cells: dict[str, Any] = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # it has no value yet
            cells[name] = cell.cell_contents
    for code in _codes(function.__code__):
        for name, line in _names(code):
            if name in cells:
                yield name, cells[name], f"{code.co_filename}:{line}"
            elif name in function.__globals__ and name in code.co_names:
                yield name, function.__globals__[name], f"{code.co_filename}:{line}"


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _names(code: CodeType) -> Iterator[tuple[str, int]]:
    """The variables that a function names, with the lines."""
    line = code.co_firstlineno
    starts = dict(dis.findlinestarts(code))
    for instruction in dis.get_instructions(code):
        line = starts.get(instruction.offset) or line
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_CLASSDEREF"):
            yield str(instruction.argval), line


def _parts(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """It, and what is in it where it is the user's: the attributes of an object, and those of a class."""
    yield name, value
    kind = value if isinstance(value, type) else type(value)
    if isinstance(value, (FunctionType, MethodType)) or not _is_of_a_user(kind):
        return
    holders = [value] if isinstance(value, type) else [value, kind]
    for holder in holders:
        for attribute, part in list(getattr(holder, "__dict__", {}).items()):
            yield f"{name}.{attribute}", getattr(part, "__func__", part)


def _is_of_a_user(kind: type) -> bool:
    return any(isinstance(part, FunctionType) and _is_written_by_the_user(part) for part in list(vars(kind).values()))


def _is_written_by_the_user(function: FunctionType) -> bool:
    path = os.path.abspath(function.__code__.co_filename)
    return (
        is_users(function.__code__.co_filename)
        and not path.startswith(_PACKAGE)
        and not any(part in path for part in _INSTALLED)
    )
