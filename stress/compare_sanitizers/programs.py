"""The programs: each hazard twice, wrong and right, and what CSAN is wrong about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cpugpu.sanitize import Event
from stress.compare_sanitizers.trace import Trace

#: What it is given: a `Trace`, or a `Performed`.
Body = Callable[[Any], None]


@dataclass
class Program:
    """A hazard, or a harmless thing that looks like one (then there is no `buggy`). `rule`: ours, for it."""

    title: str
    rule: str
    buggy: Body | None
    clean: Body


PROGRAMS: list[Program] = []


def hazard(title: str, rule: str) -> Callable[[Callable[[Trace, bool], None]], Callable[[Trace, bool], None]]:
    """Enter a program whose second argument says whether it is to be right."""

    def enter(body: Callable[[Trace, bool], None]) -> Callable[[Trace, bool], None]:
        PROGRAMS.append(Program(title, rule, lambda trace: body(trace, False), lambda trace: body(trace, True)))
        return body

    return enter


def harmless(title: str) -> Callable[[Body], Body]:
    """Enter a program that is right."""

    def enter(body: Body) -> Body:
        PROGRAMS.append(Program(title, "", None, body))
        return body

    return enter


@hazard("two streams, read after write without a wait", "race")
def read_after_write(t: Trace, right: bool) -> None:
    a, b, x = t.stream(1), t.stream(2), t.tensor("x")
    t.launch(a, writes=[x])
    if right:
        t.wait_stream(b, a)
    t.launch(b, reads=[x])


@hazard("two streams, write after read without a wait", "race")
def write_after_read(t: Trace, right: bool) -> None:
    a, b, x = t.stream(1), t.stream(2), t.tensor("x")
    t.launch(a, reads=[x])
    if right:
        t.wait_stream(b, a)
    t.launch(b, writes=[x])


@hazard("two streams write", "race")
def write_after_write(t: Trace, right: bool) -> None:
    a, b, x = t.stream(1), t.stream(2), t.tensor("x")
    t.launch(a, writes=[x])
    if right:
        t.synchronize_device()
    t.launch(b, writes=[x])


@hazard("the event is recorded before the last kernel", "race")
def record_too_early(t: Trace, right: bool) -> None:
    a, b, x, e = t.stream(1), t.stream(2), t.tensor("x"), Event()
    if not right:
        t.record(e, a)
    t.launch(a, writes=[x])
    if right:
        t.record(e, a)
    t.wait(e, b)
    t.launch(b, reads=[x])


@hazard("the wait is for the event of another stream", "race")
def wrong_stream(t: Trace, right: bool) -> None:
    a, b, c, x, e = t.stream(1), t.stream(2), t.stream(3), t.tensor("x"), Event()
    t.launch(a, writes=[x])
    t.record(e, a if right else c)
    t.wait(e, b)
    t.launch(b, reads=[x])


@hazard("a worker thread launches without a wait", "race")
def worker_thread(t: Trace, right: bool) -> None:
    a, b, x = t.stream(1), t.stream(2), t.tensor("x")
    t.launch(a, writes=[x])
    worker = t.thread("worker")
    if right:
        t.wait_stream(b, a, worker)
    t.launch(b, reads=[x], by=worker)


@hazard("a wait for an event that nobody has recorded, no conflict in this run", "unrecorded-wait")
def unrecorded_wait(t: Trace, right: bool) -> None:
    a, b, x, e = t.stream(1), t.stream(2), t.tensor("x"), Event()
    if right:
        t.record(e, a)
    t.wait(e, b)
    t.launch(b, reads=[x])


@hazard("synchronize with an event that nobody has recorded", "unrecorded-synchronize")
def unrecorded_synchronize(t: Trace, right: bool) -> None:
    a, e = t.stream(1), Event()
    if right:
        t.record(e, a)
    t.synchronize_event(e)


@hazard("poll an event that nobody has recorded", "unrecorded-query")
def unrecorded_query(t: Trace, right: bool) -> None:
    a, e = t.stream(1), Event()
    if right:
        t.record(e, a)
    t.query(e, True)


@hazard("the wait came after the record by luck", "wait-not-ordered-after-record")
def lucky_wait(t: Trace, right: bool) -> None:
    a, b, x, e = t.stream(1), t.stream(2), t.tensor("x"), Event()
    producer, consumer = t.thread("producer"), t.thread("consumer")
    t.launch(a, writes=[x], by=producer)
    t.record(e, a, producer)
    if right:
        t.hand_over(producer, consumer)
    t.wait(e, b, consumer)
    t.launch(b, reads=[x], by=consumer)


@hazard("the flag is set before the record", "flag-before-record")
def flag_before_record(t: Trace, right: bool) -> None:
    a, b, x, e = t.stream(1), t.stream(2), t.tensor("x"), Event()
    producer, consumer = t.thread("producer"), t.thread("consumer")
    t.launch(a, writes=[x], by=producer)
    if right:
        t.record(e, a, producer)
    t.hand_over(producer, consumer, "Event.set")
    if not right:
        t.record(e, a, producer)
    t.wait(e, b, consumer)
    t.launch(b, reads=[x], by=consumer)


@hazard("a record on another stream takes the place of one that is still waited for", "record-over-unconsumed")
def record_over_unconsumed(t: Trace, right: bool) -> None:
    a, b, c, x, e = t.stream(1), t.stream(2), t.stream(3), t.tensor("x"), Event()
    producer, consumer = t.thread("producer"), t.thread("consumer")
    t.launch(a, writes=[x], by=producer)
    t.record(e, a, producer)
    t.hand_over(producer, consumer)
    t.wait(e, b, consumer)  # it is in time here
    t.launch(b, reads=[x], by=consumer)
    if right:
        t.hand_over(consumer, producer)
    t.record(e, c, producer)


@hazard("overlapping views", "race")
def overlapping_views(t: Trace, right: bool) -> None:
    a, b, x = t.stream(1), t.stream(2), t.tensor("x", 64)
    t.launch(a, writes=[t.view(x, 0, [32], [1])])
    if right:
        t.wait_stream(b, a)
    t.launch(b, writes=[t.view(x, 16, [32], [1])])


@hazard("a row and a column of one matrix", "race")
def row_and_column(t: Trace, right: bool) -> None:
    a, b, x = t.stream(1), t.stream(2), t.tensor("x", 64)
    t.launch(a, writes=[t.view(x, 8, [8], [1])])
    t.launch(b, writes=[t.view(x, 3, [8], [8]) if not right else t.view(x, 16, [8], [1])])


@hazard("thread A synchronizes, thread B launches", "race")
def others_synchronize(t: Trace, right: bool) -> None:
    a, b, x = t.stream(1), t.stream(2), t.tensor("x")
    one = t.thread("A")
    t.launch(a, writes=[x])
    t.synchronize_stream(a, one)
    if right:
        t.hand_over(one, t.main)
    t.launch(b, writes=[x])


@hazard("the default streams of two devices", "race")
def two_devices(t: Trace, right: bool) -> None:
    a, b, x = t.stream(0), t.stream(0, device=1), t.tensor("x")
    t.launch(a, writes=[x])
    if right:
        t.wait_stream(b, a)
    t.launch(b, reads=[x])


@hazard("freed while another stream reads, no record_stream", "foreign-use")
def no_record_stream(t: Trace, right: bool) -> None:
    a, b = t.stream(0), t.stream(1)
    x = t.tensor("x", made_on=a)
    t.launch(a, writes=[x])
    t.wait_stream(b, a)
    t.launch(b, reads=[x])
    if right:
        t.record_stream(x, b)
    t.free(x)
    t.launch(a, writes=[t.reused(x, "y")])


@hazard("pinned memory is overwritten during the copy", "host-write-early")
def overwritten_source(t: Trace, right: bool) -> None:
    a, x, host = t.stream(1), t.tensor("x"), t.tensor("host", host=True)
    t.host_writes(host)
    t.copy_to_device(a, host, x)
    if right:
        t.synchronize_stream(a)
    t.host_writes(host)


@hazard("the host reads before the copy is done", "host-read-early")
def early_read(t: Trace, right: bool) -> None:
    a, x, host = t.stream(1), t.tensor("x"), t.tensor("host", host=True)
    t.launch(a, writes=[x])
    t.copy_to_host(a, x, host)
    if right:
        t.synchronize_stream(a)
    t.host_reads(host)


@hazard("a wait between streams where the host has to wait", "host-read-early")
def stream_waits_for_host(t: Trace, right: bool) -> None:
    a, b, x, host, e = t.stream(1), t.stream(2), t.tensor("x"), t.tensor("host", host=True), Event()
    t.copy_to_host(a, x, host)
    t.record(e, a)
    t.wait(e, b)
    if right:
        t.synchronize_event(e)
    t.host_reads(host)


@harmless("`.item()`, then a write on another stream")
def item_then_write(t: Trace) -> None:
    a, b, x = t.stream(1), t.stream(2), t.tensor("x")
    t.launch(a, writes=[x])
    t.item(a, x)
    t.launch(b, writes=[x])


@harmless("a blocking copy to the host, then a write on another stream")
def blocking_copy_then_write(t: Trace) -> None:
    a, b, x, host = t.stream(1), t.stream(2), t.tensor("x"), t.tensor("host", host=True)
    t.launch(a, writes=[x])
    t.copy_to_host(a, x, host, blocking=True)
    t.launch(b, writes=[x])
    t.host_reads(host)


@harmless("spinning on query()")
def spinning(t: Trace) -> None:
    a, b, x, e = t.stream(1), t.stream(2), t.tensor("x"), Event()
    t.launch(a, writes=[x])
    t.record(e, a)
    for done in (False, False, True):
        t.query(e, done)
    t.launch(b, writes=[x])


@harmless("disjoint views: two halves")
def halves(t: Trace) -> None:
    a, b, x = t.stream(1), t.stream(2), t.tensor("x", 64)
    t.launch(a, writes=[t.view(x, 0, [32], [1])])
    t.launch(b, writes=[t.view(x, 32, [32], [1])])


@harmless("disjoint views: even and odd columns")
def columns(t: Trace) -> None:
    a, b, x = t.stream(1), t.stream(2), t.tensor("x", 64)
    t.launch(a, writes=[t.view(x, 0, [8, 4], [8, 2])])
    t.launch(b, writes=[t.view(x, 1, [8, 4], [8, 2])])


@harmless("freed after the pool's stream has waited for the other one")
def freed_in_order(t: Trace) -> None:
    a, b = t.stream(0), t.stream(1)
    x = t.tensor("x", made_on=a)
    t.launch(b, writes=[x])
    t.wait_stream(a, b)
    t.free(x)
    t.launch(a, writes=[t.reused(x, "y")])


@harmless("the same event for every iteration of one stream")
def one_event(t: Trace) -> None:
    a, b, x, e = t.stream(1), t.stream(2), t.tensor("x"), Event()
    for _ in range(3):
        t.launch(a, writes=[x])
        t.record(e, a)
        t.wait(e, b)
        t.launch(b, reads=[x])
        t.wait_stream(a, b)
