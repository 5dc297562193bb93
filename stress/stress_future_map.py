"""Two streams publish, and one event is to stand for both.

SGLang's overlap scheduler keeps a map of values that the forward pass has still to compute. `publish` writes on the
forward stream and records `publish_ready`; who resolves values waits for that. Requests that arrive with a finished
prefill have no forward pass: the scheduler published those on its own stream, with the same event. "A CUDA event holds
a single capture point": the second record took it off the forward stream, and the fence on a forward pass that was
still running was gone, with no error anywhere (sgl#30435).

`future_map` has an event for each publisher. `future_map_of_one_event` does what SGLang did, and is told: the second
record is refused until the first was consumed.

    $ cpugpu stress stress/stress_future_map.py --stress-seconds=6
    future_map[CpuGpuEvent]: passed (501 executions in 1.9 s)
        outcome  times   share  grade     meaning
        fresh      501  100.0%  accepted  what either stream had published was there
    future_map_of_one_event[CpuGpuEvent]: passed (442 executions in 1.9 s)
        outcome  times   share  grade     meaning
        told       442  100.0%  accepted  the second record was refused until the first was consumed
"""

from __future__ import annotations

from cpugpu import CpuGpuEvent, scenario
from cpugpu.rig import Rig

SIZE, SLOW = 8, 6


@scenario(
    accept={"fresh": "what either stream had published was there"},
    forbid={"stale": "a value was resolved before it was published"},
)
def future_map(rig: Rig, make_event: type[CpuGpuEvent] = CpuGpuEvent) -> str:
    """An event for each publisher; the resolver waits for both."""
    by_forward, by_scheduler, wrong = make_event(), make_event(), rig.buffer(0)
    computed, seeded = rig.buffer(0, SIZE), rig.buffer(0, SIZE)

    def scheduler() -> None:
        forward, schedule = rig.stream(), rig.stream()
        rig.fill(computed, 1, forward)
        by_forward.record(forward)
        rig.fill(seeded, 1, schedule)
        by_scheduler.record(schedule)

    def resolver() -> None:
        stream = rig.stream()
        for event, values in ((by_forward, computed), (by_scheduler, seeded)):
            event.wait(stream)
            rig.check(values, 1, wrong, stream)

    rig.run(scheduler, resolver)
    return "fresh" if rig.read(wrong) == 0 else "stale"


@scenario(
    accept={"told": "the second record was refused until the first was consumed"},
    forbid={
        "stale": "the second record took the fence off the forward stream",
        "silent": "the second record went through; by luck the forward pass was over",
    },
    breaks=("double-record", "record-on-other-stream"),
)
def future_map_of_one_event(rig: Rig, make_event: type[CpuGpuEvent] = CpuGpuEvent) -> str:
    """One event; the resolver comes when both streams have tried to publish."""
    published, wrong = make_event(), rig.buffer(0)
    computed, seeded = rig.buffer(0, SIZE), rig.buffer(0, SIZE)
    tried, refused, resolved = rig.cell(False), rig.cell(False), rig.cell(False)

    def scheduler() -> None:
        forward, schedule = rig.stream(), rig.stream()
        for value in range(SLOW, 0, -1):  # the forward pass takes its time
            rig.fill(computed, value, forward)
        published.record(forward)
        rig.fill(seeded, 1, schedule)
        try:
            published.record(schedule)
        except RuntimeError:
            refused.set(True)
        tried.set(True)
        if refused.get():
            rig.until(resolved.get, resolved)
            published.record(schedule)

    def resolver() -> None:
        stream = rig.stream()
        rig.until(tried.get, tried)
        published.wait(stream)
        resolved.set(True)
        rig.check(computed, 1, wrong, stream)
        if refused.get():
            published.wait(stream)
        rig.check(seeded, 1, wrong, stream)

    rig.run(scheduler, resolver)
    if rig.read(wrong) != 0:
        return "stale"
    return "told" if refused.get() else "silent"
