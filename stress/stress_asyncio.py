"""A coroutine consumes: it awaits the hand-off in a thread, and may be cancelled meanwhile.

`wait()` blocks a thread, so a coroutine calls it in an executor. Two things are easy to get wrong.

*Which thread.* `asyncio.to_thread` takes any thread of a shared pool, and an event has one consumer. An executor with
one thread of its own keeps that.

*Cancelling.* Cancelling an await does not stop the thread (cpython#107505): that stays in `wait()`, takes the next
record, and nobody gets it. What was awaited has to be kept, behind `asyncio.shield`, and awaited again. That is
`cancelled_coroutine`, which is impatient and never loses a hand-off. (The other way is `wait(timeout=...)` in a loop:
a wait that gives up consumes nothing. Or `close()`, where the whole consumer is to go.)

    $ cpugpu stress stress/stress_asyncio.py --stress-seconds=6
    coroutine[CpuGpuEvent]: passed (259 executions in 1.8 s)
        outcome  times   share  grade     meaning
        fresh      259  100.0%  accepted  every generation was awaited and ordered
    cancelled_coroutine[CpuGpuEvent]: passed (901 executions in 1.8 s)
        outcome  times   share  grade     meaning
        handed     901  100.0%  accepted  the coroutine got the hand-off
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from cpugpu import CpuGpuEvent, HandoffClosed, scenario
from cpugpu.rig import Rig

SIZE, GENERATIONS = 8, 3


@scenario(
    accept={"fresh": "every generation was awaited and ordered"},
    forbid={"stale": "an await returned before its record"},
    only=("no scheduler",),
)
def coroutine(rig: Rig, make_event: type[CpuGpuEvent] = CpuGpuEvent) -> str:
    """The producer is a thread, the consumer a coroutine; the buffer is handed back through the CPU."""
    ready, cell, wrong = make_event(), rig.buffer(0, SIZE), rig.buffer(0)
    consumed = rig.cell(0)

    def producer() -> None:
        stream = rig.stream()
        for number in range(GENERATIONS):
            rig.until(lambda: consumed.get() == number, consumed)
            rig.fill(cell, number + 1, stream)
            ready.record(stream)

    async def consume() -> None:
        stream = rig.stream()
        with ThreadPoolExecutor(max_workers=1) as executor:
            for number in range(GENERATIONS):
                await asyncio.get_running_loop().run_in_executor(executor, ready.wait, stream)
                rig.check(cell, number + 1, wrong, stream)
                await asyncio.get_running_loop().run_in_executor(executor, stream.synchronize)
                consumed.set(number + 1)

    def consumer() -> None:
        asyncio.run(consume())

    rig.run(producer, consumer)
    return "fresh" if rig.read(wrong) == 0 else "stale"


HANDED = {"handed": "the coroutine got the hand-off"}
LOST = {"lost": "a wait that nobody awaits has consumed it"}


@scenario(accept=HANDED, forbid=LOST, needs=("close",), only=("no scheduler",))
def cancelled_coroutine(rig: Rig, make_event: type[CpuGpuEvent] = CpuGpuEvent) -> str:
    """The first await is cancelled; the second one is of the same wait."""
    return await_twice(rig, make_event, keep=True)


def await_twice(rig: Rig, make_event: type[CpuGpuEvent], *, keep: bool) -> str:
    """Await, be cancelled, await again: the same wait if that was kept, else another one."""
    ready, outcome, returned = make_event(), rig.cell("lost"), rig.cell(False)

    def producer() -> None:
        ready.record(rig.stream())
        rig.until(returned.get, returned)
        ready.close()  # there is no other record

    async def consume() -> None:
        stream = rig.stream()

        def wait_in_thread() -> None:
            ready.wait(stream)
            returned.set(True)

        with ThreadPoolExecutor(max_workers=1) as executor:

            def start() -> asyncio.Future[None]:
                return asyncio.get_running_loop().run_in_executor(executor, wait_in_thread)

            wait = start()
            first = asyncio.shield(wait) if keep else wait
            asyncio.get_running_loop().call_soon(first.cancel)
            try:
                await first
                outcome.set("handed")  # it was quicker
                return
            except asyncio.CancelledError:
                pass
            try:
                await (wait if keep else start())
                outcome.set("handed")
            except HandoffClosed:
                pass

    def consumer() -> None:
        asyncio.run(consume())

    rig.run(producer, consumer)
    return outcome.get()
