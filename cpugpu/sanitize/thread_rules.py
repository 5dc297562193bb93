"""The rules of CPU threads alone: on which device one is, and who is told when one dies."""

from __future__ import annotations

from cpugpu.sanitize.findings import Side
from cpugpu.sanitize.places import place_of
from cpugpu.sanitize.registry import Broken, Unanswered, Unplaced, placings, takings


@placings.rule("device-not-set", hazards=[11])
def device_not_set(made: Unplaced) -> Broken | None:
    """A thread that is started from another device than the first sets its own, or names the device that it uses.

    The current device is a thread's own, and that of a new thread is the first one, whichever its starter was on.
    """
    thread, starter = made.thread.name, made.starter
    return Broken(
        f"nothing sets the device of thread {thread}: it is on {made.device}, where threads begin, and was started"
        f" from {starter.name}, which was on {starter.device}",
        Side(f"start of thread {thread}", place_of(starter.place), starter.name),
        f'set_device("{starter.device}") first thing in thread {thread}, or name the device where it is used',
    )


@takings.rule("death-not-told", hazards=[32])
def death_not_told(taking: Unanswered) -> Broken | None:
    """Who takes from a queue is told when the last one to put into it dies of an exception.

    Otherwise it waits until its time is out, or for ever: an exception that ends a thread is printed, and one of a
    pool's task is kept in its future; neither reaches the queue. It is told by an item, by a look at the thread or the
    future, or by anything else that another thread lets it know; a plain attribute is not seen. It is not reported of
    one that dies before its first item, for nobody knows then that it was to put any. Whether anybody was told is known
    in the end: so it is in the report, and never raised.
    """
    waits, producer, work = taking.thread.name, taking.put.thread, taking.put.work
    return Broken(
        f"nothing tells {waits} that the last one to put into the queue has died: {work.error}",
        Side("its death", place_of(work.place), producer.name),
        f"catch it in {producer.name} and put it into the queue, or let {waits} look at the thread or the future"
        " while it waits",
    )
