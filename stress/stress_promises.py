"""What the documentation of `CpuGpuEvent` promises, and the programs of the catalogue do not happen to need.

A wait that raises has consumed nothing. A record that raises hands nothing over, tells its consumer once, and may be
made again. After `synchronize()` the CPU may look at the results. `close()` wakes everybody. Each record satisfies one
wait, also where two threads consume, against the rules, and the driver fails for one of them.

    $ cpugpu stress stress/stress_promises.py --stress-seconds=6
    repeated_wait[CpuGpuEvent]: passed (82 executions in 0.4 s)
        outcome  times   share  grade     meaning
        fresh       82  100.0%  accepted  the second attempt got the record that the first one had left
    repeated_record[CpuGpuEvent]: passed (100 executions in 0.3 s)
        outcome   times  share  grade     meaning
        told         66  66.0%  accepted  the consumer was told once, and then got the next record
        replaced     34  34.0%  accepted  the next record came before the consumer had seen the failure
    synchronized_results[CpuGpuEvent]: passed (224 executions in 0.7 s)
        outcome  times   share  grade     meaning
        seen       224  100.0%  accepted  the CPU saw what the device had written
    close_wakes_all[CpuGpuEvent]: passed (657 executions in 0.7 s)
        outcome  times   share  grade     meaning
        told       657  100.0%  accepted  both threads that waited were told of the end, or that they break the rules
    failing_consumer[CpuGpuEvent]: passed (234 executions in 0.7 s)
        outcome  times   share  grade     meaning
        own        234  100.0%  accepted  two records, and no wait returned but those that had one of them
    interrupted_wait[CpuGpuEvent]: passed (354 executions in 0.6 s)
        outcome  times   share  grade     meaning
        whole      354  100.0%  accepted  the record was there still, or it was consumed
"""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import Any

from cpugpu import CpuGpuEvent, HandoffClosed, HandoffTimeout, ProducerFailed, ProtocolViolation, scenario
from cpugpu.device import resolve
from cpugpu.errors import DeviceError
from cpugpu.rig import HANG, Rig

SIZE, SLOW = 8, 4
BLOCKED_SECONDS = 1e-3
#: The main thread cannot be given up, so it must not hang.
LONG_SECONDS = 5.0


@scenario(
    accept={"fresh": "the second attempt got the record that the first one had left"},
    forbid={
        "stale": "the second attempt did not wait for the record",
        HANG: "the first attempt has consumed the record",
    },
)
def repeated_wait(rig: Rig, make_event: type[CpuGpuEvent] = CpuGpuEvent) -> str:
    """The driver fails in the consumer's wait; the consumer tries again."""
    ready, cell, wrong = make_event(), rig.buffer(0, SIZE), rig.buffer(0)

    def producer() -> None:
        stream = rig.stream()
        for value in range(SLOW, 0, -1):
            rig.fill(cell, value, stream)
        ready.record(stream)

    def consumer() -> None:
        stream = rig.stream()
        rig.break_driver()
        try:
            ready.wait(stream)
        except DeviceError:
            ready.wait(stream)
        rig.check(cell, 1, wrong, stream)

    rig.run(producer, consumer)
    return "fresh" if rig.read(wrong) == 0 else "stale"


@scenario(
    accept={
        "replaced": "the next record came before the consumer had seen the failure",
        "told": "the consumer was told once, and then got the next record",
    },
    forbid={
        "stale": "a wait returned without its record",
        "refused": "the next record was refused, because of the one that had failed",
        "told twice": "the consumer was told again",
        "left over": "a wait has returned without its record, which is there still",
        "miscounted": "a hand-off did not count as one",
    },
    needs=("fail", "generation"),
)
def repeated_record(rig: Rig, make_event: type[CpuGpuEvent] = CpuGpuEvent) -> str:
    """The driver fails in the producer's second record; the producer says so, as it may, and tries again."""
    ready, wrong, outcome = make_event(), rig.buffer(0), rig.cell("replaced")
    cells = [rig.buffer(0, SIZE), rig.buffer(0, SIZE)]
    consumed, over = rig.cell(0), rig.cell(False)

    def producer() -> None:
        stream = rig.stream()
        rig.fill(cells[0], 1, stream)
        ready.record(stream)
        rig.until(lambda: consumed.get() == 1, consumed)
        rig.break_driver()
        try:
            ready.record(stream)
        except DeviceError as error:
            ready.fail(error)  # which record() has told already
        rig.fill(cells[1], 1, stream)
        try:
            ready.record(stream)
        except RuntimeError:
            outcome.set("refused")
            ready.close()
        over.set(True)

    def got_a_record(stream: Any) -> bool:
        try:
            ready.wait(stream)
        except ProducerFailed:
            outcome.update(lambda before: "told" if before == "replaced" else "told twice")
            return False
        except HandoffClosed:
            return False
        return True

    def consumer() -> None:
        stream = rig.stream()
        while consumed.get() < len(cells) and outcome.get() != "refused":
            if got_a_record(stream):
                rig.check(cells[consumed.get()], 1, wrong, stream)
                consumed.update(lambda times: times + 1)
        rig.until(over.get, over)
        try:
            ready.wait(stream, timeout=0)
            outcome.set("left over")
        except (HandoffTimeout, HandoffClosed):
            return
        except ProducerFailed:
            outcome.set("told twice")

    rig.run(producer, consumer)
    if rig.read(wrong) != 0:
        return "stale"
    told = outcome.get()
    return told if ready.generation == 3 or told not in ("replaced", "told") else "miscounted"


@scenario(
    accept={"seen": "the CPU saw what the device had written"},
    forbid={"early": "synchronize() returned before the device had reached the record"},
    needs=("synchronize",),
)
def synchronized_results(rig: Rig, make_event: type[CpuGpuEvent] = CpuGpuEvent) -> str:
    """The consumer looks at the buffer right after `synchronize()`, without a stream."""
    ready, cell, outcome = make_event(), rig.buffer(0, SIZE), rig.cell("early")

    def producer() -> None:
        stream = rig.stream()
        for value in range(SLOW, 0, -1):
            rig.fill(cell, value, stream)
        ready.record(stream)

    def consumer() -> None:
        ready.synchronize()
        if set(resolve().read(cell)) == {1}:
            outcome.set("seen")

    rig.run(producer, consumer)
    return outcome.get()


@scenario(
    accept={"told": "both threads that waited were told of the end, or that they break the rules"},
    forbid={"handed": "a wait returned, and nobody had recorded", HANG: "a thread was not told"},
    needs=("close",),
    breaks=("second-consumer",),
)
def close_wakes_all(rig: Rig, make_event: type[CpuGpuEvent] = CpuGpuEvent) -> str:
    """Two threads wait, against the rules, when the event is closed."""
    ready, outcome = make_event(), rig.cell("told")

    def waits() -> None:
        try:
            ready.wait(rig.stream())
            outcome.set("handed")
        except (HandoffClosed, ProtocolViolation):
            return

    def one() -> None:
        waits()

    def other() -> None:
        waits()

    def closer() -> None:
        ready.close()

    rig.run(one, other, closer)
    return outcome.get()


@scenario(
    accept={
        "own": "two records, and no wait returned but those that had one of them",
        "told": "a thread was told that it breaks the rules",
    },
    forbid={"shared": "a third wait returned: one record was consumed twice"},
    needs=("pending",),
    breaks=("second-consumer", "never-consumed"),
)
def failing_consumer(rig: Rig, make_event: type[CpuGpuEvent] = CpuGpuEvent) -> str:
    """One consumer takes the first record, and the driver fails; another one, against the rules, takes the second."""
    ready, outcome = make_event(), rig.cell("own")
    recorded, failed = rig.cell(0), rig.cell(False)

    def producer() -> None:
        stream = rig.stream()
        for number in range(2):
            rig.until(lambda: failed.get() or not ready.pending, failed)  # a failed wait leaves what may be replaced
            ready.record(stream)
            recorded.set(number + 1)

    def unlucky() -> None:
        rig.break_driver()
        try:
            ready.wait(rig.stream())
        except DeviceError:
            failed.set(True)

    def other() -> None:
        rig.until(lambda: recorded.get() == 2, recorded)
        try:
            ready.wait(rig.stream())
        except ProtocolViolation:
            outcome.set("told")

    def third() -> None:
        try:
            ready.wait(rig.stream(), timeout=0)
            outcome.set("shared")
        except (HandoffTimeout, ProtocolViolation):
            return

    rig.run(producer, unlucky, other)
    rig.run(third)
    return outcome.get()


class Interrupted(BaseException):
    """What a signal handler raises, as the one of Ctrl-C does."""


@scenario(
    accept={
        "whole": "the record was there still, or it was consumed",
        "elsewhere": "this is not the main thread, where signals are handled",
    },
    forbid={"lost": "the record was neither there nor consumed"},
    needs=("pending",),
    breaks=("never-consumed",),
    only=("no scheduler",),
)
def interrupted_wait(rig: Rig, make_event: type[CpuGpuEvent] = CpuGpuEvent) -> str:
    """A signal handler raises in the moment in which a blocked wait is let through."""
    main = threading.current_thread()
    if main is not threading.main_thread():
        return "elsewhere"
    ready, stream, seconds = make_event(), rig.stream(), rig.random().random() * BLOCKED_SECONDS

    def wait() -> None:
        ready.wait(stream, timeout=LONG_SECONDS)

    def raises(_: int, frame: FrameType | None) -> None:
        blocks = not isinstance(ready, CpuGpuEvent)  # what ours promises is about the part of a wait that blocks
        while frame is not None and not in_the_driver(frame):
            blocks |= frame.f_code.co_name == "_block"
            if frame.f_code is wait.__code__ and blocks:
                raise Interrupted
            frame = frame.f_back

    def producer() -> None:
        time.sleep(seconds)  # mostly long enough for the wait to block
        ready.record(stream)
        signal.pthread_kill(main.ident or 0, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, raises)
    thread = threading.Thread(target=producer, daemon=True)
    thread.start()
    try:
        wait()
    except Interrupted:
        pass
    finally:
        thread.join()
        signal.signal(signal.SIGUSR1, before)
    if not ready.pending:
        return "whole"
    try:
        ready.wait(stream, timeout=0)
    except HandoffTimeout:
        return "lost"
    return "whole"


def in_the_driver(frame: FrameType) -> bool:
    """A real driver is C, in which no signal is handled; the simulated one must not be torn apart by one either."""
    return str(frame.f_globals.get("__name__")).startswith(("cpugpu.device", "cpugpu.hammer"))
