"""local: attributes that each thread has of its own."""

from __future__ import annotations

from typing import Any

from cpugpu.explore.execution import Thread
from cpugpu.explore.standins.steps import me

_get, _set = object.__getattribute__, object.__setattr__


class local:  # noqa: N801
    """Stands in for `threading.local`.

    Whoever gets at an attribute has put the dictionary of the calling thread in place first. No step comes between, so
    no other thread does.
    """

    __slots__ = ("__dict__", "__weakref__", "_arguments", "_dictionaries")

    def __new__(cls, /, *args: Any, **kwargs: Any) -> local:  # noqa: D102
        if (args or kwargs) and cls.__init__ is object.__init__:
            raise TypeError("Initialization arguments are not supported")
        self = object.__new__(cls)
        _set(self, "_arguments", (args, kwargs))
        # Python calls __init__ for the thread that makes it.
        _set(self, "_dictionaries", {me(): _get(self, "__dict__")})
        return self

    def __getattribute__(self, name: str) -> Any:
        _mine(self)
        return _get(self, name)

    def __setattr__(self, name: str, value: object) -> None:
        _no_dictionary(self, name)
        _mine(self)
        _set(self, name, value)

    def __delattr__(self, name: str) -> None:
        _no_dictionary(self, name)
        _mine(self)
        object.__delattr__(self, name)


def _mine(self: local) -> None:
    """Put the calling thread's dictionary in place."""
    dictionaries: dict[Thread | int, dict[str, Any]] = _get(self, "_dictionaries")
    caller = me()
    own = dictionaries.get(caller)
    if own is not None:
        _set(self, "__dict__", own)
        return
    own = dictionaries[caller] = {}
    _set(self, "__dict__", own)
    cls = type(self)
    if cls.__init__ is not object.__init__:
        args, kwargs = _get(self, "_arguments")
        cls.__init__(self, *args, **kwargs)
        _set(self, "__dict__", own)  # another thread may have come between


def _no_dictionary(self: local, name: str) -> None:
    if name == "__dict__":
        raise AttributeError(f"{type(self).__name__!r} object attribute '__dict__' is read-only")
