"""Thread and Timer, and what tells which threads there are.

A thread that nobody has started as a `Thread`, the first one and those of a rig, gets a stand-in when it is asked for.
"""

from __future__ import annotations

import threading as real
from collections.abc import Callable, Iterable, Mapping
from contextvars import Context
from typing import Any

from greenlet import GreenletExit

from cpugpu.explore.execution import OutsideExploration, current
from cpugpu.explore.execution import Thread as Actor
from cpugpu.explore.operation import AFTER, READ, WRITE, Footprint, Operation
from cpugpu.explore.standins.events import Event
from cpugpu.explore.standins.steps import deprecated, ending, logical, resource, stable_hash, take
from cpugpu.explore.standins.world import world
from cpugpu.explore.unmodelled import Unmodelled

_get_ident, _get_native_id = real.get_ident, real.get_native_id
_current_thread, _main_thread = real.current_thread, real.main_thread
_enumerate, _active_count = real.enumerate, real.active_count


class Thread:
    """Stands in for `threading.Thread`. `actor` is the logical thread, once it is started."""

    _initialized = False
    actor: Actor | None = None
    idle = False  # it waits for what may never come, and is sent away when the program ends: a worker of a pool

    def __init__(
        self,
        group: None = None,
        target: Callable[..., object] | None = None,
        name: str | None = None,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        daemon: bool | None = None,
        context: Context | None = None,  # as of Python 3.14
    ) -> None:
        assert group is None, "group argument must be None for now"
        self._target = target
        self._name = str(name) if name else _default_name(target)
        self._args = args
        self._kwargs = {} if kwargs is None else kwargs
        self._daemonic = current_thread().daemon if daemon is None else daemon
        self._context = context
        self.resource = resource("thread")
        self._initialized = True

    def start(self) -> None:
        """Let it run."""
        if not self._initialized:
            raise RuntimeError("thread.__init__() not called")
        if logical() is None:
            raise OutsideExploration(f"{self._name} cannot be started where no thread of an exploration runs")
        take(Operation(f"start {self._name}", ((self.resource, WRITE), (world().roster, WRITE))))
        if self.actor is not None:
            raise RuntimeError("threads can only be started once")
        launch(self)

    def run(self) -> None:
        """What the thread does. A subclass may do something else."""
        try:
            if self._target is not None:
                self._target(*self._args, **self._kwargs)
        finally:
            del self._target, self._args, self._kwargs

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended."""
        if not self._initialized:
            raise RuntimeError("Thread.__init__() not called")
        if self.actor is None:
            take(Operation(f"join {self._name}", ((self.resource, READ),)))
        actor = self.actor
        if actor is None:
            if not ending():
                raise RuntimeError("cannot join thread before it is started")
            return
        if actor is logical():
            raise RuntimeError("cannot join current thread")
        label = f"join {self._name}"
        if timeout is None:
            take(Operation(label, ((actor.end, AFTER),), lambda: not actor.alive))
        elif timeout <= 0:
            take(Operation(label, ((actor.end, READ),)))
        else:
            take(Operation(label, ((actor.end, READ),), lambda: not actor.alive, timeout=timeout))

    def is_alive(self) -> bool:
        """Was it started, and has not ended yet?"""
        assert self._initialized, "Thread.__init__() not called"
        before = self.actor
        looks: Footprint = ((self.resource, READ),) if before is None else ((before.end, READ),)
        take(Operation(f"look whether {self._name} lives", looks))
        actor = self.actor
        if actor is None:
            return False
        if before is None:
            current().touch((actor.end, READ))
        return actor.alive

    @property
    def name(self) -> str:
        """For people."""
        assert self._initialized, "Thread.__init__() not called"
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        assert self._initialized, "Thread.__init__() not called"
        self._name = str(name)

    @property
    def ident(self) -> int | None:
        """Its number, None before it was started. No two threads of an execution have the same."""
        assert self._initialized, "Thread.__init__() not called"
        return None if self.actor is None else _number(self.actor)

    @property
    def native_id(self) -> int | None:
        """Here the same as `ident`."""
        return self.ident

    @property
    def daemon(self) -> bool:
        """Does the program end without waiting for it?"""
        assert self._initialized, "Thread.__init__() not called"
        return self._daemonic

    @daemon.setter
    def daemon(self, daemonic: bool) -> None:
        if not self._initialized:
            raise RuntimeError("Thread.__init__() not called")
        if self.actor is not None:
            raise RuntimeError("cannot set daemon status of active thread")
        self._daemonic = daemonic

    def isDaemon(self) -> bool:  # noqa: N802
        """The old form of `daemon`."""
        deprecated("isDaemon()", "get the daemon attribute")
        return self.daemon

    def setDaemon(self, daemonic: bool) -> None:  # noqa: N802
        """The old form of `daemon`."""
        deprecated("setDaemon()", "set the daemon attribute")
        self.daemon = daemonic

    def getName(self) -> str:  # noqa: N802
        """The old form of `name`."""
        deprecated("getName()", "get the name attribute")
        return self.name

    def setName(self, name: str) -> None:  # noqa: N802
        """The old form of `name`."""
        deprecated("setName()", "set the name attribute")
        self.name = name

    def __hash__(self) -> int:
        return stable_hash(self.resource)

    def __repr__(self) -> str:
        assert self._initialized, "Thread.__init__() was not called"
        status = "initial" if self.actor is None else "started" if self.actor.alive else "stopped"
        return f"<{type(self).__name__}({self._name}, {status}{' daemon' if self._daemonic else ''})>"


class Timer(Thread):
    """Stands in for `threading.Timer`."""

    def __init__(
        self,
        interval: float,
        function: Callable[..., object],
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.interval = interval
        self.function = function
        self.args = [] if args is None else args
        self.kwargs = {} if kwargs is None else kwargs
        self.finished = Event()

    def cancel(self) -> None:
        """Do not call the function, if it is not too late."""
        self.finished.set()

    def run(self) -> None:
        """Call the function when it is time."""
        self.finished.wait(self.interval)
        if not self.finished.is_set():
            self.function(*self.args, **self.kwargs)
        self.finished.set()


def launch(thread: Any) -> None:
    """Start it within the current step."""
    thread.actor = current().spawn(thread.name, lambda: _run(thread))
    world().thread_of[thread.actor] = thread


def _run(thread: Any) -> None:
    try:
        context: Context | None = thread._context  # noqa: SLF001
        if context is None:
            thread.run()
        else:
            context.run(thread.run)
    except (GreenletExit, Unmodelled):
        raise
    except BaseException as exception:
        hook: Callable[[Any], object] | None = real.excepthook
        (hook or excepthook)(real.ExceptHookArgs((type(exception), exception, exception.__traceback__, thread)))


class _Adopted(Thread):
    """Stands for a logical thread that was not started as a `Thread`."""

    def __init__(self, actor: Actor, name: str) -> None:
        # Not as a Thread is made: that it was asked for is nothing that the thread which asks has done.
        self._target = None
        self._name = name
        self._daemonic = False
        self.resource = actor.begin
        self.actor = actor
        self._initialized = True


class MainThread(_Adopted):
    """Stands in for `threading._MainThread`."""


def excepthook(arguments: Any, /) -> None:
    """Stands in for `threading.excepthook`: a thread that raises has ended with that exception, for the explorer."""
    if arguments.exc_type is not SystemExit:
        raise arguments.exc_value


def thread_of(actor: Actor) -> Thread:
    """The stand-in of a logical thread."""
    threads = world().thread_of
    thread = threads.get(actor)
    if thread is None:
        thread = MainThread(actor, "MainThread") if actor is _first() else _Adopted(actor, actor.name)
        threads[actor] = thread
    return thread


def expendable(actor: Actor) -> bool:
    """Would the program end without this thread, as it stands now? Then it is no deadlock that it waits."""
    thread = world().thread_of.get(actor)
    return thread is not None and (thread.daemon or thread.idle)


def get_ident() -> int:
    """Stands in for `threading.get_ident`."""
    actor = logical()
    return _get_ident() if actor is None else _number(actor)


def get_native_id() -> int:
    """Stands in for `threading.get_native_id`."""
    actor = logical()
    return _get_native_id() if actor is None else _number(actor)


def current_thread() -> Any:
    """Stands in for `threading.current_thread`."""
    actor = logical()
    return _current_thread() if actor is None else thread_of(actor)


def main_thread() -> Any:
    """Stands in for `threading.main_thread`: the thread that was there first."""
    return _main_thread() if logical() is None else thread_of(_first())


def enumerate() -> list[Any]:  # noqa: A001
    """Stands in for `threading.enumerate`."""
    if logical() is None:
        return _enumerate()
    execution = current()
    take(Operation("look at all threads", ((world().roster, READ), *_ends())))
    execution.touch(*_ends())
    return [thread_of(actor) for actor in execution.actors if isinstance(actor, Actor) and actor.alive]


def active_count() -> int:
    """Stands in for `threading.active_count`."""
    return _active_count() if logical() is None else len(enumerate())


def _ends() -> Footprint:
    return tuple((actor.end, READ) for actor in current().actors if isinstance(actor, Actor))


def _first() -> Actor:
    return next(actor for actor in current().actors if isinstance(actor, Actor))


def _number(actor: Actor) -> int:
    number = 0  # of the key, which is the same in every execution
    for part in actor.key:
        assert isinstance(part, int)
        number = (number << 20) + part + 1
    return number


def _default_name(target: object) -> str:
    if logical() is None:
        return "Thread"
    name = f"Thread-{world().number('thread', 1)}"
    return f"{name} ({target.__name__})" if hasattr(target, "__name__") else name
