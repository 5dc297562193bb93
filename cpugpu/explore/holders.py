"""Which attributes hold an object: directly, in a list, in what another object holds. Looked up, running no code."""

from __future__ import annotations

import contextlib
import gc
import types
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

IsFixed = Callable[[object], bool]

_SEQUENCES = (list, tuple, set, frozenset, deque)
_BOUND = (types.BuiltinFunctionType, types.MethodType, types.MethodWrapperType)
#: So deep, and at so many objects. What is held deeper is not found.
_DEPTH, _MOST = 4, 10_000


def aliases(value: object, is_fixed: IsFixed) -> set[int]:
    """The identities of what can be changed through `value`: itself, or what it is a method or an iterator of."""
    if isinstance(value, _BOUND):
        value = value.__self__
    if is_fixed(value):
        return set()
    found = {id(value)}
    if type(value).__module__ == "builtins" and not isinstance(value, (*_SEQUENCES, dict, bytearray)):
        found.update(id(each) for each in gc.get_referents(value) if not is_fixed(each))
    return found


def holding(thing: object, wanted: set[int], is_fixed: IsFixed) -> Iterator[str]:
    """The attributes of `thing` through which one gets at what is `wanted`."""
    for name, value in _attributes(thing):
        if holds(value, wanted, is_fixed):
            yield name


def holds(value: object, wanted: set[int], is_fixed: IsFixed, *, deep: bool = True) -> bool:
    """Does one get from `value` to what is `wanted`? Not `deep`: is it that?"""
    if id(value) in wanted:
        return True
    if not deep or is_fixed(value):
        return False
    level, seen = [value], {id(value)}
    for _ in range(_DEPTH):
        following: list[object] = []
        for each in level:
            for part in _parts(each):
                if id(part) in wanted:
                    return True
                if id(part) not in seen and not is_fixed(part):
                    seen.add(id(part))
                    following.append(part)
            if len(seen) > _MOST:
                return False
        level = following
    return False


def _parts(thing: object) -> Iterator[object]:
    if isinstance(thing, _SEQUENCES):
        yield from thing
    elif isinstance(thing, dict):
        yield from thing.values()
    elif isinstance(thing, _BOUND):
        yield thing.__self__
    elif type(thing).__module__ == "builtins":  # an iterator, a view
        yield from gc.get_referents(thing)
    else:
        yield from (value for _, value in _attributes(thing))


def _attributes(thing: object) -> Iterator[tuple[str, Any]]:
    """What is in the `__dict__` and the slots of an object, or in that of a class."""
    if isinstance(thing, type):
        yield from list(vars(thing).items())
        return
    try:
        variables = object.__getattribute__(thing, "__dict__")
    except AttributeError:
        variables = {}
    if isinstance(variables, dict):
        yield from list(variables.items())
    for kind in type(thing).__mro__:
        for name, slot in vars(kind).items():
            if isinstance(slot, types.MemberDescriptorType):
                with contextlib.suppress(AttributeError):  # it has no value
                    yield name, slot.__get__(thing, type(thing))
