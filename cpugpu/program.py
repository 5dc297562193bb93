"""A program in this process, as `python` would run it: a script, a folder or archive with a `__main__.py`, a module.

It sees its arguments, its folder first on `sys.path`, and a `__main__` of its own that stays to the end. What it raises
is printed as Python prints it, by its own `sys.excepthook`, without the frames that are ours. The end is Python's too:
first its threads are waited for, then come the functions that it has given to `atexit`, and only then is `run` over.
"""

from __future__ import annotations

import atexit
import builtins
import importlib.util
import pkgutil
import runpy
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import SourceFileLoader, SourcelessFileLoader
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from cpugpu.errors import BadInput
from cpugpu.patches import Patches

ALLOWED = "allowed are SCRIPT, a folder or archive with a __main__.py, and -m MODULE, each with its own arguments"
#: Frames of these files come before the program's own.
_OURS = (__file__, runpy.__file__, "<frozen runpy>", "<frozen zipimport>")
_LOADING = "<frozen importlib."


class Program:
    """What is to be run. `interrupted`: it has been ended by Ctrl-C."""

    def __init__(self, name: str, arguments: list[str], *, module: bool) -> None:
        """`BadInput` for what is not there or cannot be read."""
        self.name = name
        self.interrupted = False
        self._arguments = arguments
        self._module = module
        self._path = str(Path.cwd() / name)
        self._archive = False
        self._source = b""
        if module:
            if not name or name.startswith("."):
                raise BadInput(f"-m {name!r} is no module's name; {ALLOWED}")
        else:
            self._read()

    def _read(self) -> None:
        path = Path(self._path)
        try:
            if not path.exists():
                raise BadInput(f"there is no script {self.name}; {ALLOWED}")
            if path.is_dir() and not any((path / f"__main__{suffix}").exists() for suffix in (".py", ".pyc")):
                raise BadInput(f"the folder {self.name} has no __main__.py; {ALLOWED}")
            self._archive = pkgutil.get_importer(self._path) is not None
            if not self._archive:
                self._source = path.read_bytes()
        except OSError as error:
            raise BadInput(f"{self.name} cannot be read: {error.strerror or error}; {ALLOWED}") from error

    def run(self) -> int:
        """To its very end. Gives back its exit status. `BadInput` if there is no such module."""
        main = ModuleType("__main__")
        main.__dict__.update(__builtins__=builtins, __annotations__={})
        sys.modules["__main__"] = main
        sys.argv[:] = [self.name, *self._arguments]
        first = Path.cwd() if self._module else Path(self._path) if self._archive else Path(self._path).resolve().parent
        sys.path.insert(0, str(first))
        if self._module and importlib.util.find_spec(self.name.partition(".")[0]) is None:
            raise BadInput(f"there is no module {self.name}; {ALLOWED}")
        before = set(threading.enumerate())
        with _collected() as functions:
            status = self._status(main)
            self._wait(before)
            _call(functions)
        return status

    def _status(self, main: ModuleType) -> int:
        try:
            self._execute(main)
        except SystemExit as end:
            return _code(end)
        except BaseException as error:
            raised = error
        else:
            return 0
        # Not within `except`: what the hook raises would have it as its context.
        self.interrupted = isinstance(raised, KeyboardInterrupt)
        status = _shown(raised)
        return 128 + signal.SIGINT if self.interrupted else status

    def _execute(self, main: ModuleType) -> None:
        if self._module or self._archive:
            # What `python -m` and `python FOLDER` call; it has no public name, and `run_module` takes `__main__` away
            # before threads and `atexit` have done with it.
            run: Any = runpy._run_module_as_main  # type: ignore[attr-defined]  # noqa: SLF001
            run(self.name if self._module else "__main__", alter_argv=self._module)
            return
        kind = SourcelessFileLoader if self._path.endswith(".pyc") else SourceFileLoader
        loader: Any = kind("__main__", self._path)
        main.__dict__.update(__file__=self._path, __loader__=loader, __package__=None, __spec__=None, __cached__=None)
        if kind is SourceFileLoader:
            code = loader.source_to_code(self._source, self._path)
        else:
            code = loader.get_code("__main__")
        exec(code, main.__dict__)

    def _wait(self, before: set[threading.Thread]) -> None:
        """For the threads that are no daemons. Executors are told first, or theirs would wait for work for ever."""
        try:
            while left := _left(before):
                for tell in reversed(getattr(threading, "_threading_atexits", ())):
                    tell()
                for thread in left:
                    thread.join()
        except KeyboardInterrupt:
            self.interrupted = True


def _left(before: set[threading.Thread]) -> list[threading.Thread]:
    return [
        each
        for each in threading.enumerate()
        if not each.daemon and each not in before and each is not threading.current_thread()
    ]


@contextmanager
def _collected() -> Iterator[list[Callable[[], object]]]:
    """What is given to `atexit` meanwhile, in its order."""
    found: list[Callable[[], object]] = []
    unregister = atexit.unregister

    def register(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        if not callable(function):
            raise TypeError("the first argument must be callable")

        def call() -> None:
            function(*args, **kwargs)

        call.__wrapped__ = function  # type: ignore[attr-defined]
        found.append(call)
        return function

    def forget(function: Callable[..., Any]) -> None:
        found[:] = [each for each in found if each.__wrapped__ != function]  # type: ignore[attr-defined]
        unregister(function)

    patches = Patches()
    patches.apply([(atexit, "register", register), (atexit, "unregister", forget)])
    try:
        yield found
    finally:
        patches.undo()


def _call(functions: list[Callable[[], object]]) -> None:
    """The last one first, as `atexit` does; what one raises is printed, and the others follow."""
    while functions:
        function: Any = functions.pop()
        try:
            function()
        except SystemExit:
            pass
        except BaseException as error:
            print(f"Exception ignored in atexit callback: {function.__wrapped__!r}", file=sys.stderr)
            traceback.print_exception(type(error), error, _own(error.__traceback__))


def _code(end: SystemExit) -> int:
    """The exit status that Python makes of it. What is no number is printed."""
    if end.code is None or isinstance(end.code, int):
        return end.code or 0
    print(end.code, file=sys.stderr)
    return 1


def _shown(error: BaseException) -> int:
    """Let the program's `sys.excepthook` print it. Gives back the exit status."""
    own = _own(error.__traceback__)
    try:
        sys.excepthook(type(error), error.with_traceback(own), own)
    except SystemExit as end:
        return _code(end)
    except BaseException as second:
        print("Error in sys.excepthook:", file=sys.stderr)
        traceback.print_exception(type(second), second, _own(second.__traceback__))
        print("\nOriginal exception was:", file=sys.stderr)
        traceback.print_exception(type(error), error, own)
    return 1


def _own(frames: TracebackType | None) -> TracebackType | None:
    """The part of a traceback that begins in the program: none, where its text cannot be compiled."""
    while frames is not None and _is_ours(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    return frames


def _is_ours(file: str) -> bool:
    return file in _OURS or file.startswith(_LOADING)
