"""What a line touches, from its syntax and from what its names stand for at that moment.

Loading an attribute reads it, and writes it where the value can be changed through it, as a list can; what has steps of
its own (a lock, a stream, an object of a traced class) cannot. A load that changes nothing, of an attribute that no
traced function stores, is left out: it can conflict with nothing.

Attributes are those of an object of a traced class, named when its `__init__` begins: that name is the same in every
schedule. All other objects of one class share a name, for who sees them first depends on the schedule.

A variable of a function may stand for what an attribute holds: `items = self.items`, and later `items.append(…)`. The
line touches the attributes that hold it then, or that hold what holds it; `holders.py` finds them.
"""

from __future__ import annotations

import enum
import functools
import types
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import FrameType, FunctionType, ModuleType
from typing import Any, Generic, Protocol

from cpugpu.explore.execution import Execution, Thread
from cpugpu.explore.holders import aliases, holding, holds
from cpugpu.explore.operation import READ, WRITE, Access, Footprint, Resource
from cpugpu.explore.touches import Site, Touch

_ABSENT = object()
_CONTAINERS = (list, dict, set, bytearray, deque)
_IMMUTABLE = (
    *(type(None), bool, int, float, complex, str, bytes, range, type(...), type(NotImplemented)),
    *(BaseException, type, ModuleType, enum.Enum, property),
    *(FunctionType, types.MethodType, types.MethodDescriptorType, types.WrapperDescriptorType),
    *(types.MethodWrapperType, types.ClassMethodDescriptorType, staticmethod, classmethod),
)
#: What is defined in these has steps of its own.
_MODELLED = ("cpugpu.explore.", "cpugpu.device.simulated.")
_SEEN = ("abc", "threading")  # and these are replaced, or add nothing
BARE = (object, Generic, Protocol)


@functools.lru_cache(1024)
def is_modelled(kind: type) -> bool:
    """Have its objects steps of their own?"""
    return kind.__module__.startswith(_MODELLED)


@dataclass
class Known:
    """What is known of the traced classes. `functions`: theirs.

    `stored`: the attributes that they store somewhere. `declared`: variables that are `global` or `nonlocal`.
    `anybodys`: attributes of objects that the code does not name: who touches one of that name touches all.
    """

    classes: Sequence[type]
    functions: Mapping[Any, object]
    stored: set[str]
    declared: set[str]
    anybodys: set[str]


class World:
    """The names of objects in one execution, and what lines touch there."""

    def __init__(self, execution: Execution, known: Known) -> None:
        self.execution = execution
        self._known = known
        self._names: dict[int, tuple[tuple[object, ...], str, object]] = {}  # with the object, so that it stays
        self._resources: dict[tuple[object, ...], Resource] = {}

    def name(self, thing: object, thread: Thread) -> None:
        """Give an object a name: it is made by `thread`."""
        if id(thing) not in self._names:
            key = (*thread.key, thread.made(), "object")
            self._names[id(thing)] = (key, f"{type(thing).__name__} {'.'.join(map(str, key[:-1]))}", thing)

    def footprint(self, site: Site, frame: FrameType) -> Footprint:
        """What a line of `frame` touches now."""
        found: dict[Resource, Access] = {}
        variables, namespace = frame.f_locals, frame.f_globals
        for touch in site.touches:
            if touch.private:
                self._held(found, variables.get(touch.root), frame)
            elif not touch.attribute:
                self._variable(found, touch, frame)
            else:
                self._attribute(found, touch, variables, namespace)
        return tuple(found.items())

    def _variable(self, found: dict[Resource, Access], touch: Touch, frame: FrameType) -> None:
        name, code, namespace = touch.root, frame.f_code, frame.f_globals
        is_global = name not in (*code.co_freevars, *code.co_cellvars, *code.co_varnames)
        value = (namespace if is_global else frame.f_locals).get(name, _ABSENT)
        if touch.stores or name in self._known.declared or issubclass(type(value), _CONTAINERS):
            where = namespace.get("__name__") if is_global else "a function"
            access = WRITE if touch.stores or not self._is_fixed(value) else READ
            _add(found, self._resource(("variable", where, name), name), access)

    def _held(self, found: dict[Resource, Access], value: object, frame: FrameType) -> None:
        """What a variable of a function stands for: the attributes and the global variables that hold it."""
        wanted = aliases(value, self._is_fixed)
        if not wanted:
            return
        for key, who, thing in self._names.values():
            for name in holding(thing, wanted, self._is_fixed):
                _add(found, self._resource((*key, name), f"{who}.{name}"), WRITE)
        for kind in self._known.classes:
            key, who = _name_of_class(kind)
            for name in holding(kind, wanted, self._is_fixed):
                _add(found, self._resource((*key, name), f"{who}.{name}"), WRITE)
        module = frame.f_globals.get("__name__")
        for name, each in frame.f_globals.items():
            if holds(each, wanted, self._is_fixed, deep=False):
                _add(found, self._resource(("variable", module, name), name), WRITE)

    def _attribute(
        self,
        found: dict[Resource, Access],
        touch: Touch,
        variables: Mapping[str, Any],
        namespace: dict[str, Any],
    ) -> None:
        name = touch.attribute
        owner: object = _ABSENT
        if touch.root:
            owner = variables.get(touch.root, namespace.get(touch.root, _ABSENT))
            if owner is _ABSENT:  # it has no value yet, or is a function of Python's
                return
            for step in touch.path:
                if self._has_steps(owner):
                    return
                owner, _ = _look(owner, step)
                if owner is _ABSENT:
                    break
        if owner is _ABSENT:
            if touch.stores or not touch.called or name in self._known.stored:
                self._known.anybodys.add(name)
                access = READ if touch.called and not touch.stores else WRITE
                _add(found, self._resource(("anybody's", name), f"any .{name}"), access)
            return
        if self._has_steps(owner):
            return
        value, holders = _look(owner, name)
        described = holders[-1].__dict__[name] if holders else None
        if isinstance(described, property) and any(
            each in self._known.functions for each in (described.fget, described.fset, described.fdel)
        ):
            return  # which has lines of its own
        if touch.stores or not self._is_fixed(value):
            access = WRITE
        elif name in self._known.stored:
            access = READ
        else:
            return  # nobody whom we see changes it
        if not isinstance(owner, type):
            key, who = self._name_of(owner)
            _add(found, self._resource((*key, name), f"{who}.{name}"), access)
        for holder in holders:
            key, who = _name_of_class(holder)
            _add(found, self._resource((*key, name), f"{who}.{name}"), access)
        if name in self._known.anybodys:
            _add(found, self._resource(("anybody's", name), f"any .{name}"), access)

    def _resource(self, key: tuple[object, ...], name: str) -> Resource:
        found = self._resources.get(key)
        if found is None:
            found = self._resources[key] = Resource(key, name)
        return found

    def _name_of(self, owner: object) -> tuple[tuple[object, ...], str]:
        named = self._names.get(id(owner))
        if named is not None:
            return named[:2]
        if isinstance(owner, ModuleType):
            return ("module", owner.__name__), owner.__name__
        kind = type(owner)
        return ("any", kind.__module__, kind.__qualname__), f"any {kind.__name__}"

    def _is_fixed(self, value: object) -> bool:
        """Can nothing be changed through it that a step of its own would not show?"""
        if value is _ABSENT:
            return False
        kind = type(value)  # an object may lie about its __class__, and run code for that
        if issubclass(kind, (tuple, frozenset)):
            return all(map(self._is_fixed, value))  # type: ignore[call-overload]
        if kind is types.BuiltinFunctionType:
            return self._is_fixed(value.__self__)  # type: ignore[attr-defined]
        return issubclass(kind, _IMMUTABLE) or self._has_steps(value) or self._is_traced(value)

    def _is_traced(self, value: object) -> bool:
        kind = type(value)
        return any(base in self._known.classes for base in kind.__mro__) and all(
            base in self._known.classes or base in BARE or base.__module__ in _SEEN or is_modelled(base)
            for base in kind.__mro__
        )

    def _has_steps(self, value: object) -> bool:
        return is_modelled(type(value))  # type: ignore[arg-type]


def _add(found: dict[Resource, Access], resource: Resource, access: Access) -> None:
    found[resource] = max(access, found.get(resource, READ))


def _name_of_class(kind: type) -> tuple[tuple[object, ...], str]:
    return ("class", kind.__module__, kind.__qualname__), kind.__name__


@functools.lru_cache(1024)
def _makes_up(kind: type) -> bool:
    """May its objects make up attributes?"""
    return any(name in base.__dict__ for base in kind.__mro__[:-1] for name in ("__getattr__", "__getattribute__"))


def _look(owner: object, name: str) -> tuple[object, list[type]]:
    """The value of an attribute, and the classes that were asked for it, the last one has it; without running code.

    `_ABSENT` where it cannot be told: a property, or an object that makes up its attributes.
    """
    kind = owner if isinstance(owner, type) else type(owner)
    holders: list[type] = []
    raw: Any = _ABSENT
    for base in kind.__mro__:
        holders.append(base)
        if name in base.__dict__:
            raw = base.__dict__[name]
            break
    else:
        holders.clear()
    if isinstance(owner, type):
        return raw, holders
    if isinstance(raw, types.MemberDescriptorType):
        try:
            return raw.__get__(owner, kind), []
        except AttributeError:
            return None, []
    if raw is not _ABSENT and hasattr(type(raw), "__set__"):
        return _ABSENT, holders
    try:
        variables = object.__getattribute__(owner, "__dict__")
    except AttributeError:
        variables = {}
    if isinstance(variables, dict) and name in variables:
        return variables[name], []
    if raw is _ABSENT:
        makes_up = not isinstance(owner, ModuleType) and _makes_up(kind)
        return (_ABSENT if makes_up else None), []
    if hasattr(type(raw), "__get__") and not isinstance(raw, _IMMUTABLE):
        return _ABSENT, holders
    return raw, holders
