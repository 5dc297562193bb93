"""Functions that are easy to get wrong for who instruments them.

They are in no test module: pytest rewrites the asserts there.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

NAMES = """
    generates delegates returns_from_finally catches loops iterates_over_nothing uses_with walrus comprehends matches
    uses_property uses_cached uses_star decorated badly_decorated nests uses_global lambdas unbound asserts deletes
    chains asynchronous recurses reads_back
"""


def shout(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return ("shouted", function(*args, **kwargs))

    return wrapper


def bare(function: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(self: Any) -> Any:
        return ("bare", function(self))

    return wrapper


class Base:
    limit = 3

    def __init__(self, start: int = 1) -> None:
        self.start = start
        self.log: list[Any] = []

    def describe(self) -> str:
        return f"base {self.start}"


class Shy:
    def __init__(self) -> None:
        self.__hidden = 5

    def reveal(self) -> Any:
        def inner() -> int:
            self.__hidden += 1
            return self.__hidden

        return inner(), sorted(vars(self)), getattr(self, "_Shy__hidden")  # noqa: B009


total = 0


class Tricky(Base, ABC):
    """A class with everything."""

    def __init__(self, start: int = 1) -> None:
        """With a docstring."""
        super().__init__(start)
        self.other = self

    def generates(self) -> Any:
        def numbers() -> Iterator[Any]:
            try:
                got = yield self.start
                self.start += 10
                self.log.append((yield got))
            except KeyError as error:
                yield ("caught", str(error), self.start)
            finally:
                self.log.append("closed")

        first = numbers()
        found: list[Any] = [next(first), first.send("sent"), first.throw(KeyError("k")), list(first)]
        second = numbers()
        found.append(next(second))
        second.close()
        return found, self.log, inspect.isgenerator(second)

    def delegates(self) -> Any:
        def inner() -> Iterator[int]:
            self.start += 1
            yield self.start
            return self.start * 2

        def outer() -> Iterator[int]:
            self.log = [(yield from inner())]

        return list(outer()), self.log

    def returns_from_finally(self) -> Any:
        try:
            self.start = 4
            return self.start
        finally:
            self.start = 9
            self.log.append("finally")

    def catches(self) -> Any:
        try:
            self.missing  # type: ignore[attr-defined] # noqa: B018
        except self.error as error:
            return type(error), str(error)
        else:
            return "nothing"

    error = AttributeError

    def loops(self) -> Any:
        found: list[Any] = []
        while self.start < self.limit:
            self.start += 1
            if self.start == 2:
                continue
            found.append(self.start)
        found.append("while-else")
        while self.start:
            self.start -= 1
            if self.start == 1:
                break
        else:
            found.append("never")
        for self.start in (5, 6):
            found.append(self.start)
        found.append("for-else")
        self.log = [1, 2, 3]
        for each in self.log:
            if each == 2:
                break
            self.log.append(each + 10)
        else:
            found.append("never")
        for number, _ in enumerate(self.log):
            if number == 3:
                self.log.clear()
        return found, self.log

    def iterates_over_nothing(self) -> Any:
        for each in self.start:  # type: ignore[attr-defined]
            return each
        return None

    @contextmanager
    def manages(self, name: str) -> Iterator[str]:
        self.log.append(f"enter {name}")
        try:
            yield name + str(self.start)
        except ValueError:
            self.log.append("swallowed")
        finally:
            self.log.append(f"exit {name}")

    def uses_with(self) -> Any:
        with self.manages("a") as first, self.manages("b") as self.second:
            self.log.append((first, self.second))
            raise ValueError
        with self.manages("c"):
            return self.log

    def walrus(self) -> Any:
        if (found := self.start) and (self.log or (found := found + self.limit)):
            return found, [y for x in (1, 2) if (y := x + self.start) > 2], y
        return None

    def comprehends(self) -> Any:
        self.log = [3, 1, 2]
        lazy = (each + self.start for each in self.log if each > self.start)
        self.start = 2
        self.log.append(9)
        nested = [[self.start * x for x in range(y)] for y in self.log if y < self.limit]
        return (
            list(lazy),
            nested,
            dict.fromkeys(self.log, self.start),
            {self.start for _ in self.log},
            max(x for x in self.log for _ in range(self.limit)),
        )

    def matches(self) -> Any:
        found: list[Any] = []
        for subject in (1, [1, 2, 3], {"a": 5}, Base(7), "x", None):
            match subject:
                case self.limit | 1:
                    found.append("one")
                case [first, *rest] if self.start == 1:
                    found.append((first, rest))
                case {"a": value, **others}:
                    found.append((value, others))
                case Base(start=seven):
                    found.append(seven)
                case str() as text:
                    found.append(text)
                case _:
                    found.append("other")
        return found

    @property
    def level(self) -> int:
        """The level."""
        return self.start * 100

    @level.setter
    def level(self, value: int) -> None:
        self.start = value

    @level.deleter
    def level(self) -> None:
        del self.start

    def uses_property(self) -> Any:
        self.level = 6
        found = self.level
        del self.level
        return found, hasattr(self, "start")

    @functools.cached_property
    def cached(self) -> int:
        self.start += 1
        return self.start

    def uses_cached(self) -> Any:
        return self.cached, self.cached

    @staticmethod
    def static(a: int, b: int = 2, /, *rest: int, c: int = 3, **others: int) -> Any:
        return a, b, rest, c, others

    @classmethod
    def made(cls, *args: Any) -> Any:
        cls.limit = 4
        try:
            return cls(*args).start, cls.limit
        finally:
            cls.limit = 3

    def uses_star(self) -> Any:
        return self.static(*self.values(), c=self.start, z=1), self.made(8)

    def values(self, *, default: Callable[[Any], Any] = lambda self: self.start) -> Any:
        return default(self), 5, 6

    @shout
    def decorated(self) -> Any:
        return self.start

    @bare
    def badly_decorated(self) -> Any:
        return self.start

    def nests(self) -> Any:
        total = 0

        def add(amount: int) -> int:
            nonlocal total
            total += amount * self.start
            return total

        class Inner(Base):
            size = self.limit

            def describe(self) -> str:
                return super().describe() + f" inner {self.size} {total}"

        return add(2), add(3), total, Inner(2).describe(), super().describe(), __class__.__name__  # type: ignore[name-defined]

    def uses_global(self) -> Any:
        global total
        total += self.start
        return total

    def lambdas(self) -> Any:
        bump = lambda by, self=self: setattr(self, "start", self.start + by) or self.start  # noqa: E731
        later = lambda: (yield self.start)  # noqa: E731
        return bump(2), later().__next__(), sorted([3, 1], key=lambda each: each * -self.start)

    def unbound(self) -> Any:
        if self.log:
            late = self
        return late.start

    def asserts(self) -> Any:
        assert self.start == 2, f"it is {self.start}"

    def deletes(self) -> Any:
        self.log = [1, 2, 3]
        del self.log[0], self.start
        return self.log, self.start

    def chains(self) -> Any:
        self.other.other.start = self.other.start = 8
        self.other.other.start += 1
        a = self.other if self.start else late.start  # type: ignore[name-defined] # noqa: F821
        return a.start, self.start < self.other.start < 3, vars(self).keys() == {"start", "log", "other"}

    def asynchronous(self) -> Any:
        async def inner() -> int:
            self.start += 1
            await asyncio.sleep(0)
            return self.start

        async def outer() -> Any:
            self.log = [await inner(), await inner()]
            async with Room(self) as room:
                return [each async for each in room.each()], self.log

        return asyncio.run(outer())

    def recurses(self, depth: int = 3) -> int:
        return self.start if not depth else self.recurses(depth - 1) + self.start

    @abstractmethod
    def reads_back(self) -> Any:
        """Something that has a body."""
        return inspect.signature(self.values).parameters.keys(), self.values.__doc__, Tricky.__init__.__doc__


class Room:
    def __init__(self, owner: Any) -> None:
        self.owner = owner

    async def __aenter__(self) -> Room:
        self.owner.log.append("in")
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.owner.log.append("out")

    async def each(self) -> Any:
        yield self.owner.start
        yield self.owner.limit


class Whole(Tricky):
    reads_back = lambda self: super().reads_back()  # noqa: E731
