"""Programs about the hand-off itself. In each, `p` is the producer's thread and `c` the consumer's."""

from __future__ import annotations

import contextlib

from cpugpu import annotate
from cpugpu.debug.examples.pairs import clean, violates
from cpugpu.debug.examples.stage import FailingDevice, Stage
from cpugpu.errors import DeviceError, HandoffClosed


class Payload:
    """A batch, say."""


@violates("double-record")
def records_twice(stage: Stage) -> None:
    ready, (p,) = stage.event(), stage.actors("p")
    p(ready.record)
    p(ready.record)


@clean("double-record")
def records_when_consumed(stage: Stage) -> None:
    ready, (p, c) = stage.event(), stage.actors("p", "c")
    p(ready.record)
    c(ready.wait)
    p(ready.record)
    c(ready.wait)


@violates("record-on-other-stream")
def replaces_the_fence(stage: Stage) -> None:
    device = FailingDevice()
    ready, (p, c) = stage.event(device), stage.actors("p", "c")
    one, other = device.stream(), device.stream()
    p(ready.record, one)
    device.failures = 1
    with contextlib.suppress(DeviceError):
        c(ready.wait)  # which leaves the record where it was
    p(ready.record, other)
    c(ready.wait)


@clean("record-on-other-stream")
def one_stream_after_the_other(stage: Stage) -> None:
    ready, (p, c) = stage.event(stage.sim), stage.actors("p", "c")
    for stream in (stage.sim.stream(), stage.sim.stream()):
        p(ready.record, stream)
        c(ready.wait, stage.sim.stream())


@violates("stale-generation")
def a_batch_behind(stage: Stage) -> None:
    ready, (p, c) = stage.event(), stage.actors("p", "c")
    for batch in (1, 2):
        p(ready.record)
        if batch == 2:
            c(annotate.expect, ready, 3)
        c(ready.wait)


@clean("stale-generation")
def batch_by_batch(stage: Stage) -> None:
    ready, (p, c) = stage.event(), stage.actors("p", "c")
    for batch in (1, 2):
        p(ready.record)
        c(annotate.expect, ready, batch)
        c(ready.wait)


@violates("second-producer")
def two_producers(stage: Stage) -> None:
    ready, (p, q, c) = stage.event(), stage.actors("p", "q", "c")
    p(ready.record)
    c(ready.wait)
    q(ready.record)
    c(ready.wait)


@clean("second-producer")
def a_new_producer(stage: Stage) -> None:
    ready, (p, q, c) = stage.event(), stage.actors("p", "q", "c")
    p(ready.record)
    c(ready.wait)
    p.end()
    q(ready.record)
    c(ready.wait)


@violates("second-consumer")
def two_consumers(stage: Stage) -> None:
    ready, (p, c, d) = stage.event(), stage.actors("p", "c", "d")
    for consumer in (c, d):
        p(ready.record)
        consumer(ready.wait)


@clean("second-consumer")
def a_new_consumer(stage: Stage) -> None:
    ready, (p, c, d) = stage.event(), stage.actors("p", "c", "d")
    for consumer in (c, d):
        p(ready.record)
        consumer(ready.wait)
        consumer.end()


@violates("self-wait")
def waits_for_itself(stage: Stage) -> None:
    ready, (p,) = stage.event(), stage.actors("p")
    p(ready.record)
    p(ready.wait)


@clean("self-wait")
def waits_for_another(stage: Stage) -> None:
    ready, (p, c) = stage.event(), stage.actors("p", "c")
    p(ready.record)
    c(ready.wait)


@violates("wait-after-close")
def overhears_the_end(stage: Stage) -> None:
    ready, (p, c) = stage.event(), stage.actors("p", "c")
    p(ready.close)
    for _ in range(2):
        with contextlib.suppress(HandoffClosed):
            c(ready.wait)


@clean("wait-after-close")
def ends_with_the_event(stage: Stage) -> None:
    ready, (p, c) = stage.event(), stage.actors("p", "c")
    stage.blocks(c, ready, ready.wait)
    p(ready.close)
    with contextlib.suppress(HandoffClosed):
        c.result()


@violates("record-after-close")
def produces_for_nobody(stage: Stage) -> None:
    ready, (p, c) = stage.event(), stage.actors("p", "c")
    c(ready.close)
    for _ in range(2):
        with contextlib.suppress(HandoffClosed):
            p(ready.record)


@clean("record-after-close")
def produces_until_the_end(stage: Stage) -> None:
    ready, (p, c) = stage.event(), stage.actors("p", "c")
    p(ready.record)
    c(ready.wait)
    c(ready.close)
    with contextlib.suppress(HandoffClosed):
        p(ready.record)


@violates("poisoned-wait")
def retries_for_ever(stage: Stage) -> None:
    device = FailingDevice()
    ready, (p, c) = stage.event(device), stage.actors("p", "c")
    p(ready.record)
    device.failures = 3
    for _ in range(3):
        with contextlib.suppress(DeviceError):
            c(ready.wait)
    c(ready.wait)


@clean("poisoned-wait")
def retries_once(stage: Stage) -> None:
    device = FailingDevice()
    ready, (p, c) = stage.event(device), stage.actors("p", "c")
    p(ready.record)
    device.failures = 1
    with contextlib.suppress(DeviceError):
        c(ready.wait)
    c(ready.wait)


@violates("never-consumed")
def drops_a_record(stage: Stage) -> None:
    ready, (p,) = stage.event(), stage.actors("p")
    p(ready.record)
    stage.drop(ready)


@clean("never-consumed")
def consumes_the_last_one(stage: Stage) -> None:
    ready, (p, c) = stage.event(), stage.actors("p", "c")
    p(ready.record)
    c(ready.wait)
    stage.drop(ready)


@violates("payload-generation")
def hands_the_old_batch_over(stage: Stage) -> None:
    ready, (p, c) = stage.event(), stage.actors("p", "c")
    batch = Payload()
    for filled in (True, False):  # the second time filling it raises, and somebody swallows that
        if filled:
            p(annotate.stamp, ready, batch)
        p(ready.record)
        c(ready.wait)
        c(annotate.use, ready, batch)


@clean("payload-generation")
def hands_each_batch_over(stage: Stage) -> None:
    ready, (p, c) = stage.event(), stage.actors("p", "c")
    batch = Payload()
    for _ in range(2):
        p(annotate.stamp, ready, batch)
        p(ready.record)
        c(ready.wait)
        c(annotate.use, ready, batch)
