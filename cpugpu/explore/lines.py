"""Lines as steps: `traced(classes)` shows races on plain attributes, which have no stand-in.

The functions of the classes run with a call before each line (`instrument.py`). If the line touches something that
another thread may touch too (`attributes.py`), it is a step.

A line with an operation in it is more than one step: `self.taken = self.lock.acquire(False)` stores after the
operation, within that one's step. So every step that a thread takes while lines of it are under way touches what those
lines touch.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import CodeType, FrameType, FunctionType
from typing import Any, TypeVar

import greenlet

from cpugpu.explore.attributes import BARE, Known, World, is_modelled
from cpugpu.explore.execution import Execution, OutsideExploration, Thread, current
from cpugpu.explore.instrument import PROBES, Source, code_for, instrument
from cpugpu.explore.operation import Footprint, Operation
from cpugpu.explore.touches import Site, Touch

T = TypeVar("T")

_STANDARD = os.path.dirname(os.path.abspath(os.__file__)) + os.sep
#: Files that are none: functions that data classes, named tuples and attrs have made.
_GENERATED = ("<string>", "<attrs generated", "<lambda>", "<namedtuple")
_active = False


@contextmanager
def traced(classes: Sequence[type]) -> Iterator[None]:
    """Within it, each line of the methods of `classes`, and of their bases, is a step where an exploration runs.

    `ValueError` for a class that has no source: one that is written in C, or was typed in.
    """
    global _active
    if not classes:
        yield
        return
    if _active:
        raise RuntimeError("traced() is active already; name all classes in one call")
    probes = _Probes(classes)
    _active = True
    saved: list[tuple[FunctionType, CodeType]] = []
    namespaces: list[dict[str, Any]] = []
    try:
        for function, code in probes.codes():
            if PROBES not in function.__globals__:
                function.__globals__[PROBES] = probes
                namespaces.append(function.__globals__)
            saved.append((function, function.__code__))
            function.__code__ = code
        yield
    finally:
        for function, original in reversed(saved):
            function.__code__ = original
        for namespace in namespaces:
            namespace.pop(PROBES, None)
        _active = False


# -- the functions of a class ----------------------------------------------------------------------------------------


def _bases(classes: Sequence[type]) -> list[type]:
    """The classes and their bases, without what is modelled or not the user's."""
    found: dict[type, None] = {}
    for each in classes:
        for base in each.__mro__:
            if base is each or not (base in BARE or is_modelled(base) or _is_standard(base)):
                found[base] = None
    return list(found)


def _is_standard(kind: type) -> bool:
    module = sys.modules.get(kind.__module__)
    path = getattr(module, "__file__", None)
    if path is None:
        return kind.__module__ in sys.builtin_module_names
    return _is_of_python(path)


def _is_of_python(filename: str) -> bool:
    path = os.path.abspath(filename)
    return filename.startswith("<frozen ") or (path.startswith(_STANDARD) and "site-packages" not in path)


def _functions(kind: type) -> Iterator[FunctionType]:
    """The functions that are written in a class."""
    for value in vars(kind).values():
        for function in _within(value, f"{kind.__qualname__}."):
            name = function.__code__.co_filename
            if not name.startswith(_GENERATED) and (_is_standard(kind) or not _is_of_python(name)):
                yield function


def _within(value: object, prefix: str) -> Iterator[FunctionType]:
    if isinstance(value, property):
        parts: list[object] = [value.fget, value.fset, value.fdel]
    elif isinstance(value, (staticmethod, classmethod)):
        parts = [value.__func__]
    elif isinstance(value, (functools.cached_property, functools.partialmethod)):
        parts = [value.func]
    elif isinstance(value, functools.singledispatchmethod):
        parts = [value.func, *value.dispatcher.registry.values()]
    elif callable(value) and hasattr(value, "__wrapped__"):
        parts = [inspect.unwrap(value)]
    elif isinstance(value, FunctionType):
        if value.__qualname__.startswith(prefix):
            yield value
            return
        parts = [cell.cell_contents for cell in value.__closure__ or () if _is_inner(cell, prefix)]  # of a decorator
        if not parts and "<locals>" not in value.__qualname__:
            yield value  # a function that is used as a method
    else:
        return
    for part in parts:
        yield from _within(part, prefix)


def _is_inner(cell: types.CellType, prefix: str) -> bool:
    try:
        value = cell.cell_contents
    except ValueError:  # empty
        return False
    return isinstance(value, FunctionType) and value.__qualname__.startswith(prefix)


# -- what is called before a line ------------------------------------------------------------------------------------


class _Open:
    """A line under way. `before`: what it touched when it began, for it may go on with that. `now`: when last asked."""

    __slots__ = ("before", "frame", "now", "site")

    def __init__(self, frame: FrameType, site: Site) -> None:
        self.frame = frame
        self.site = site
        self.before: Footprint = ()
        self.now: Footprint = ()


class _Within(Operation):
    """An operation in a line, or the beginning of one: it touches what the lines under way touch, too."""

    __slots__ = ("_known", "_lines", "_operation", "_world")

    def __init__(self, operation: Operation, lines: Sequence[_Open], world: World) -> None:
        self.label = operation.label
        self.enabled = operation.enabled
        self.timeout = operation.timeout
        self.rests = operation.rests
        self._operation = operation
        self._lines = lines
        self._world = world
        self._known: tuple[int, Footprint] = (-1, ())

    @property
    def footprint(self) -> Footprint:  # type: ignore[override]
        """Looked up when it is asked for: others may have changed what the names in the line stand for."""
        number = len(self._world.execution.steps)
        if self._known[0] != number:
            found = dict.fromkeys(self._operation.footprint)
            for line in self._lines:
                line.now = self._world.footprint(line.site, line.frame)
                found.update(dict.fromkeys((*line.before, *line.now)))
            self._known = (number, tuple(found))
        return self._known[1]


class _Probes:
    """What instrumented code calls. Where no thread of an exploration runs, it does nothing."""

    def __init__(self, classes: Sequence[type]) -> None:
        self.classes = _bases(classes)
        self.functions: dict[FunctionType, Source] = {}
        self._sites: list[Site] = []
        self._world: World | None = None
        sources: dict[str, Source | None] = {}
        for kind in self.classes:
            functions = list(_functions(kind))
            for function in functions:
                name = function.__code__.co_filename
                if name not in sources:
                    sources[name] = instrument(name, function.__globals__, self._sites)
                source = sources[name]
                if source is None:
                    raise _no_source(kind)
                self.functions[function] = source
            if not functions and kind in classes:  # then it has none to trace, or none that could be
                try:
                    inspect.getsourcelines(kind)
                except (OSError, TypeError):
                    raise _no_source(kind) from None
        touches = list(self._touches())
        stored = {touch.attribute for touch in touches if touch.stores}
        self.known = Known(
            classes=self.classes,
            functions=self.functions,
            stored=stored,
            declared={name for source in sources.values() if source is not None for name in source.declared},
            anybodys={
                touch.attribute
                for touch in touches
                if touch.attribute
                and not touch.root
                and (touch.stores or not touch.called or touch.attribute in stored)
            },
        )

    def codes(self) -> Iterator[tuple[FunctionType, CodeType]]:
        """The functions, and the code that they are to run."""
        for function, source in self.functions.items():
            code = code_for(function, source)
            if code is None:
                where = f"{function.__module__}.{function.__qualname__}"
                raise ValueError(
                    f"trace: the source of {where} does not fit what runs; it was changed after it was imported,"
                    " or two functions of one name begin on one line"
                )
            yield function, code

    def _touches(self) -> Iterator[Touch]:
        """What the functions touch, as it is written."""
        for function, source in self.functions.items():
            begin, end = source.spans.get((function.__code__.co_name, function.__code__.co_firstlineno), (0, 0))
            for site in self._sites[begin:end]:
                yield from site.touches

    # -- called by the instrumented code -----------------------------------------------------------------------------

    def line(self, number: int) -> bool:
        """A line begins. Always true."""
        try:
            execution = current()
        except OutsideExploration:
            return True
        if not execution.over:
            self._begin(execution, self._sites[number], sys._getframe(1))  # noqa: SLF001
        return True

    def clear(self) -> None:
        """The line that is under way is over."""
        thread = _thread()
        if thread is not None and isinstance(thread.within, _Lines):
            thread.within.close(sys._getframe(1))  # noqa: SLF001

    def resumed(self, number: int, value: T) -> T:
        """A line that has yielded goes on, in the step of whoever lets it."""
        thread = _thread()
        if thread is not None:
            frame, site = sys._getframe(1), self._sites[number]  # noqa: SLF001
            world = self._the_world(current())
            touched = world.footprint(site, frame)
            _lines(thread, world).open(frame, site).before = touched
            world.execution.touch(*touched)
        return value

    def each(self, number: int, iterable: Any) -> Iterator[Any]:
        """Iterate; each time is a line."""
        return _Each(iterable, lambda frame: self._iterate(frame, self._sites[number]))

    def drawn(self, number: int, iterable: Any) -> Iterator[Any]:
        """Iterate somewhere else, later; each time is a line."""
        thread = _thread()
        if thread is None:
            return iter(iterable)
        touched = self._the_world(current()).footprint(self._sites[number], sys._getframe(1))  # noqa: SLF001
        if not touched:
            return iter(iterable)
        operation = Operation(self._sites[number].label, touched)

        def draw(_: FrameType) -> None:
            execution = current()
            if not execution.over:
                execution.step(operation)

        return _Each(iterable, draw)

    def born(self, thing: object) -> None:
        """The `__init__` of an object begins."""
        thread = _thread()
        if thread is not None:
            self._the_world(current()).name(thing, thread)

    def _iterate(self, frame: FrameType, site: Site) -> None:
        try:
            execution = current()
        except OutsideExploration:
            return
        if not execution.over:
            self._begin(execution, site, frame)

    def _begin(self, execution: Execution, site: Site, frame: FrameType) -> None:
        world = self._the_world(execution)
        thread = execution.me()
        if thread is None:  # a predicate, of which somebody may want to know what it looks at
            execution.step(Operation(site.label, world.footprint(site, frame)))
            return
        if not site.touches or not world.footprint(site, frame):
            if isinstance(thread.within, _Lines):
                thread.within.close(frame)
            return
        line = _lines(thread, world).open(frame, site)
        execution.step(Operation(site.label, ()))
        line.before = line.now

    def _the_world(self, execution: Execution) -> World:
        if self._world is None or self._world.execution is not execution:
            self._world = World(execution, self.known)
        return self._world


class _Each:
    """An iterator that says so before it goes on."""

    __slots__ = ("_before", "_iterator")

    def __init__(self, iterable: Any, before: Callable[[FrameType], None]) -> None:
        self._iterator = iter(iterable)
        self._before = before

    def __iter__(self) -> _Each:
        return self

    def __next__(self) -> Any:
        self._before(sys._getframe(1))  # noqa: SLF001
        return next(self._iterator)


class _Lines:
    """The lines of a thread that are under way, one a function. Called with an operation, it puts that into them."""

    def __init__(self, thread: Thread, world: World) -> None:
        self._thread = thread
        self._world = world
        self._lines: list[_Open] = []

    def open(self, frame: FrameType, site: Site) -> _Open:
        """Another line of this function begins."""
        self.close(frame)
        line = _Open(frame, site)
        self._lines.append(line)
        return line

    def close(self, frame: FrameType) -> None:
        """The line of this function is over."""
        self._lines = [each for each in self._lines if each.frame is not frame]

    def __call__(self, operation: Operation) -> Operation:
        """The operation, within the lines. Functions that have returned, or that are suspended, have none under way."""
        if self._lines and self._world.execution.me() is self._thread:
            running: set[FrameType] = set()
            frame: FrameType | None = sys._getframe(1)  # noqa: SLF001
            while frame is not None:
                running.add(frame)
                frame = frame.f_back
            self._lines = [each for each in self._lines if each.frame in running]
        return _Within(operation, self._lines, self._world) if self._lines else operation


def _lines(thread: Thread, world: World) -> _Lines:
    """The lines of a thread."""
    if not isinstance(thread.within, _Lines):
        thread.within = _Lines(thread, world)
    return thread.within


def _thread() -> Thread | None:
    """The thread of an exploration that calls. None where none does, or where it only unwinds."""
    try:
        execution = current()
    except OutsideExploration:
        return None
    return None if execution.over else execution.thread_of.get(greenlet.getcurrent())


def _no_source(kind: type) -> ValueError:
    return ValueError(
        f"trace: {kind.__module__}.{kind.__qualname__} has no source; a class can be traced if it is written in Python,"
        " in a file"
    )
