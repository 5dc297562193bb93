"""A helper thread records for the thread that has launched the work.

The current stream belongs to a thread: a new one starts on the default stream, whatever `with stream` block its parent
is in. `record()` without a stream records on the current stream *of the calling thread*. Called in a helper thread it
captures the default stream, which holds nothing, and torch's streams do not synchronise with that one: the hand-off
orders nothing, and no call fails. `parallel_apply` forgot this when it moved work into threads (ROCm/pytorch#1053,
pytorch#78824); it is hazard H9 of the catalogue.

Two ways to do it right take turns here: pass the stream, or make it the helper's current stream as well.

    $ cpugpu stress stress/stress_helper_thread.py --stress-seconds=2
    helper_thread[CpuGpuEvent]: passed (257 executions in 2.0 s)
        outcome  times   share  grade     meaning
        fresh      257  100.0%  accepted  every copy came after its fill
"""

from __future__ import annotations

from cpugpu import CpuGpuEvent, scenario
from cpugpu.rig import Rig

SIZE, GENERATIONS, SLOW = 8, 4, 4
FRESH = {"fresh": "every copy came after its fill"}
STALE = {"stale": "the record was made on another stream than the fill"}


@scenario(accept=FRESH, forbid=STALE)
def helper_thread(rig: Rig, make_event: type[CpuGpuEvent] = CpuGpuEvent) -> str:
    """The helper is told the stream, or shares it."""
    return hand_off_by_helper(rig, make_event, knows_stream=True)


def hand_off_by_helper(rig: Rig, make_event: type[CpuGpuEvent], *, knows_stream: bool) -> str:
    """The parent launches on its current stream and leaves the record to a helper."""
    ready, wrong = make_event(), rig.buffer(0)
    cells = [rig.buffer(0, SIZE) for _ in range(GENERATIONS)]
    stream_of_parent = rig.stream()
    launched, consumed = rig.cell(0), rig.cell(0)

    def parent() -> None:
        with rig.on(stream_of_parent):
            for cell in cells:
                for value in range(SLOW, 0, -1):
                    rig.fill(cell, value, stream_of_parent)
                launched.update(lambda times: times + 1)

    def helper() -> None:
        for number in range(GENERATIONS):
            rig.until(lambda: launched.get() > number and consumed.get() == number, launched, consumed)
            if not knows_stream:
                ready.record()
            elif number % 2:
                ready.record(stream_of_parent)
            else:
                with rig.on(stream_of_parent):
                    ready.record()

    def consumer() -> None:
        stream = rig.stream()
        for cell in cells:
            ready.wait(stream)
            consumed.update(lambda times: times + 1)
            rig.check(cell, 1, wrong, stream)

    rig.run(parent, helper, consumer)
    return "fresh" if rig.read(wrong) == 0 else "stale"
