"""Programs about threads that end too early or never, and about the end of the process."""

from __future__ import annotations

import os
import threading
import warnings

from cpugpu import annotate
from cpugpu.debug.examples.pairs import clean, violates
from cpugpu.debug.examples.stage import Actor, Stage
from cpugpu.errors import HandoffClosed, ProtocolViolation


@violates("producer-died")
def producer_ends_early(stage: Stage) -> None:
    ready, (p, c) = stage.event(), stage.actors("p", "c")
    p(ready.record)
    c(ready.wait)
    stage.blocks(c, ready, ready.wait)
    p.end()
    stage.beat(later=120)
    if stage.mode == "raise":
        c.result()


@clean("producer-died")
def producer_closes_first(stage: Stage) -> None:
    ready, (p, c) = stage.event(), stage.actors("p", "c")
    p(ready.record)
    c(ready.wait)
    stage.blocks(c, ready, ready.wait)
    stage.beat()
    p(ready.close)
    p.end()
    stage.beat()


@violates("consumer-died")
def consumer_ends_early(stage: Stage) -> None:
    ready, (p, c) = stage.event(), stage.actors("p", "c")
    p(ready.record)
    c(ready.wait)
    c.end()
    p(ready.record)
    stage.beat(later=120)
    stage.actors("d")[0](ready.wait)


@clean("consumer-died")
def consumer_is_replaced(stage: Stage) -> None:
    ready, (p, c, d) = stage.event(), stage.actors("p", "c", "d")
    p(ready.record)
    c(ready.wait)
    c.end()
    p(ready.record)
    stage.beat()
    d(ready.wait)
    stage.beat(later=120)


@violates("cross-thread-cycle")
def each_waits_first(stage: Stage) -> None:
    there, back, (a, b) = stage.event(name="there"), stage.event(name="back"), stage.actors("a", "b")
    annotate.declare(there, producer_thread=a.thread)
    annotate.declare(back, producer_thread=b.thread)
    stage.blocks(a, back, back.wait)
    stage.blocks(b, there, there.wait)
    stage.beat()
    if stage.mode == "raise":
        a.result()


@clean("cross-thread-cycle")
def one_records_first(stage: Stage) -> None:
    there, back, (a, b) = stage.event(name="there"), stage.event(name="back"), stage.actors("a", "b")
    annotate.declare(there, producer_thread=a.thread)
    annotate.declare(back, producer_thread=b.thread)
    a(there.record)
    stage.blocks(a, back, back.wait)
    stage.beat()
    b(there.wait)
    b(back.record)
    a.result()


def _synchronizes_behind_a_kernel(stage: Stage) -> tuple[Actor, threading.Event]:
    """A consumer that is in synchronize(), and what ends the kernel that it waits for."""
    ready, (p, c), stream = stage.event(stage.sim), stage.actors("p", "c"), stage.sim.stream()
    end_of_kernel = stage.gate(stream)
    p(ready.record, stream)
    stage.blocks(c, ready, ready.synchronize)
    stage.goes_to_the_driver(ready)
    return c, end_of_kernel


@violates("sync-too-long")
def kernel_that_never_ends(stage: Stage) -> None:
    c, end_of_kernel = _synchronizes_behind_a_kernel(stage)
    stage.beat(later=120)
    end_of_kernel.set()
    c.result()


@clean("sync-too-long")
def kernel_that_ends(stage: Stage) -> None:
    c, end_of_kernel = _synchronizes_behind_a_kernel(stage)
    stage.beat()
    end_of_kernel.set()
    c.result()
    stage.beat(later=120)


@violates("waiting-at-exit")
def left_waiting(stage: Stage) -> None:
    ready, (c,) = stage.event(), stage.actors("c")
    stage.blocks(c, ready, ready.wait)
    stage.beat(exiting=True)


@clean("waiting-at-exit")
def closed_and_joined(stage: Stage) -> None:
    ready, (c,) = stage.event(), stage.actors("c")
    stage.blocks(c, ready, ready.wait)
    stage.beat()
    ready.close()
    c.end()
    stage.beat(exiting=True)


@violates("teardown-while-waiting")
def destroys_under_a_waiter(stage: Stage) -> None:
    ready, (c,) = stage.event(), stage.actors("c")
    stage.blocks(c, ready, ready.wait)
    annotate.teardown(ready)


@clean("teardown-while-waiting")
def destroys_after_the_close(stage: Stage) -> None:
    ready, (c,) = stage.event(), stage.actors("c")
    stage.blocks(c, ready, ready.wait)
    ready.close()
    try:
        c.result()
    except HandoffClosed:
        annotate.teardown(ready)


def _in_a_child(stage: Stage, use_the_old_one: bool) -> None:
    """Fork; the child records an event, and the rules that it breaks are sent back."""
    ready = stage.event()
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that one does not fork with threads is the point
        child = os.fork()
    if child == 0:
        try:
            try:
                (ready if use_the_old_one else stage.event()).record()
                told = ""
            except ProtocolViolation as violation:
                told = violation.rule
            os.write(write, ",".join(sorted({*stage.found, told} - {""})).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        stage.found_elsewhere([rule for rule in pipe.read().split(",") if rule])
    os.waitpid(child, 0)


@violates("used-after-fork")
def event_of_the_parent(stage: Stage) -> None:
    _in_a_child(stage, use_the_old_one=True)


@clean("used-after-fork")
def event_of_the_child(stage: Stage) -> None:
    _in_a_child(stage, use_the_old_one=False)
