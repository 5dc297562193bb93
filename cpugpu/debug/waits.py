"""Who waits for whom: the wait-for graph of the threads of this process, and what is proven by it."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from types import FrameType

from cpugpu.deaths import alive
from cpugpu.debug.journal import journal
from cpugpu.debug.operation import Kind, Operation
from cpugpu.stacks import current_frames

#: Where wait() and synchronize() of the instrumented event are. Not the file: a mutant's code is of another one.
_EVENT = "cpugpu.debug.event"
#: Younger waits are believed to be under way. Of older ones the thread's stack is asked.
_YOUNG_NS = 200_000_000


def open_waits(now_ns: int) -> list[Operation]:
    """The waits and synchronisations that are under way.

    Ctrl-C in the wrong moment may leave one that has begun and is not said to have ended; it is ended here.
    """
    found = _begun()
    old = [operation for operation in found if now_ns - operation.begin_ns >= _YOUNG_NS]
    if old:
        frames = current_frames()
        for operation in old:
            if not _stands_in_a_wait(frames.get(operation.thread.ident or 0)):
                operation.error, operation.end_ns = "KeyboardInterrupt", operation.begin_ns
    return [operation for operation in found if not operation.end_ns]


def _stands_in_a_wait(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_name in ("wait", "synchronize") and frame.f_globals.get("__name__") == _EVENT:
            return True
        frame = frame.f_back
    return False


def _begun() -> list[Operation]:
    return [operation for operation in journal.under_way() if operation.kind in (Kind.WAIT, Kind.SYNCHRONIZE)]


def find_cycles(waits: Iterable[Operation], ignored: Sequence[threading.Thread] = ()) -> None:
    """Write into `operation.cycle` of each wait in a deadlock which waits make it up.

    A deadlock is proven by a circle (each wait is for an event that the thread of the next one is to record), or when
    no thread is left that could record: all of them wait so, or join such a thread. A wait with a timeout ends by
    itself, and a thread of `ignored` (the watcher) is none that records.

    The snapshot is not atomic, but a wait that is over does not come back: if all are still there after the look, they
    were there together.
    """
    endless = {id(wait.thread): wait for wait in waits if wait.timeout is None and not wait.ready_ns}
    everybody = _everybody(endless, ignored) if endless else ()
    for wait in endless.values():
        cycle = _cycle_from(wait, endless) or everybody
        if wait in cycle and all(not each.end_ns and not each.ready_ns and not _has_something(each) for each in cycle):
            wait.cycle = cycle


def chain(wait: Operation, waits: Iterable[Operation]) -> str:
    """What `wait` waits for, and what that waits for, and so on, on one line."""
    by_thread = {id(each.thread): each for each in waits}
    text, seen = wait.thread_name, {id(wait.thread)}
    while True:
        producer = wait.state.who_records
        text += f" → {wait.event!r} → {'an unknown producer' if producer is None else producer.name}"
        if producer is None:
            return text
        if id(producer) in seen:
            return f"{text} (a circle)"
        seen.add(id(producer))
        if id(producer) not in by_thread:
            return text if alive(producer) else f"{text} ({wait.state.end(producer)})"
        wait = by_thread[id(producer)]


def describe_cycle(cycle: Sequence[Operation]) -> str:
    """What a deadlock consists of, on one line."""
    names = [f"{each.thread_name} waits for {each.event!r} ({each.place})" for each in cycle]
    following = (*cycle[1:], cycle[0])
    if all(each.state.who_records is other.thread for each, other in zip(cycle, following, strict=True)):
        return f"{', which is for '.join(names)}, which is for {cycle[0].thread_name} to record"
    return f"{' and '.join(names)}, and no other thread is left that could record"


def _cycle_from(wait: Operation, endless: dict[int, Operation]) -> tuple[Operation, ...]:
    path = [wait]
    while True:
        following = endless.get(id(path[-1].state.who_records))
        if following is None:
            return ()
        if following is wait:
            return tuple(path)
        if following in path:
            return ()  # it waits for a circle without being in it
        path.append(following)


def _everybody(endless: dict[int, Operation], ignored: Sequence[threading.Thread]) -> tuple[Operation, ...]:
    """The waits, if no thread does anything but wait for an event or join a thread.

    Waits for a thread that has ended are not among them: those are explained.
    """
    circle = [each for each in endless.values() if each.state.who_records is None or alive(each.state.who_records)]
    others = [thread for thread in threading.enumerate() if id(thread) not in endless and thread not in ignored]
    frames = current_frames()
    known = {thread.ident for thread in threading.enumerate()}
    if not circle or any(ident not in known for ident in frames):  # a thread that threading does not know
        return ()
    waiting = {id(thread) for thread in others} | set(endless)
    if not all(_joins(frames.get(thread.ident or 0), waiting) for thread in others):
        return ()
    return tuple(sorted(circle, key=lambda wait: wait.begin_ns))


def _joins(frame: FrameType | None, waiting: set[int]) -> bool:
    """Is the thread in `join()`, without a timeout, of one of these, or in the join of all at the interpreter's end?"""
    while frame is not None and frame.f_code.co_filename == threading.__file__:
        if frame.f_code.co_name == "_shutdown":
            return True
        if frame.f_code.co_name == "join":
            return frame.f_locals.get("timeout") is None and id(frame.f_locals.get("self")) in waiting
        frame = frame.f_back
    return False


def _has_something(wait: Operation) -> bool:
    event = wait.state.lookup()
    return event is None or event.pending or event.closed
