"""Rules of life and death: somebody must be there to record, and the end must come in order."""

from __future__ import annotations

from cpugpu.deaths import alive
from cpugpu.debug.operation import Kind, Operation
from cpugpu.debug.rules.registry import Moment, rule
from cpugpu.debug.state import EventState
from cpugpu.debug.waits import describe_cycle

_WAITS = (Kind.WAIT, Kind.SYNCHRONIZE)


@rule(
    "producer-died",
    hazards=[32],
    at=Moment.BLOCKED,
    on=_WAITS,
    bugs="vllm-project/vllm#57883, NVIDIA/DALI#429, bytedance-iaas/sglang#646",
    fix="Produce inside `with event.recording():`: the consumer gets the exception; close the event at the end.",
)
def producer_died(state: EventState, operation: Operation) -> str | None:
    """A wait needs somebody who may still record.

    The thread that used to record was ended by an exception, or has ended and nobody has taken its place for
    CPUGPU_STALL_SECONDS; nothing is recorded, and the wait has no timeout: it would last for ever.
    """
    producer = state.who_records
    if operation.timeout is not None:
        return None
    if operation.ready_ns or state.held or state.closed or producer is None or alive(producer):
        return None
    if not state.died(producer) and not operation.overdue:
        return None  # another thread may be about to take the part over
    last = state.last_record
    made = f", generation {last.generation} at {last.place}" if last is not None else ", and has recorded nothing"
    return (
        f"{operation.thread_name} waits for {state.name!r}, whose producer {producer.name} {state.end(producer)}{made}"
    )


@rule(
    "consumer-died",
    hazards=[32, 34],
    at=Moment.STANDING,
    on=[Kind.RECORD],
    bugs="vllm-project/vllm#46370 (a dead worker is never replaced, and the main thread goes on)",
    fix="Catch in the consumer, close the event there, and let the producer end on HandoffClosed.",
)
def consumer_died(state: EventState, operation: Operation) -> str | None:
    """A record needs somebody who will wait.

    The thread that used to wait was ended by an exception, or has ended long ago, and a record has been standing since.
    """
    consumer = state.consumer
    if not state.held or state.closed or consumer is None or alive(consumer):
        return None
    if not state.died(consumer) and not operation.overdue:
        return None  # another thread may be about to take the part over
    return (
        f"nobody will consume generation {operation.generation} of {state.name!r}, recorded at {operation.place} by"
        f" {operation.thread_name}: its consumer {consumer.name} {state.end(consumer)}"
    )


@rule(
    "cross-thread-cycle",
    hazards=[4, 39],
    at=Moment.BLOCKED,
    on=_WAITS,
    bugs="vllm-project/vllm#53960, vllm-project/vllm#32418, ray-project/ray#45594",
    fix="Let one of the threads record before it waits.",
)
def cross_thread_cycle(state: EventState, operation: Operation) -> str | None:
    """Threads must not wait for each other in a circle.

    Each waits, without a timeout, for an event that the next one is to record. Who is to record is who did so far, or
    who was declared (`annotate.declare(event, producer_thread=thread)`). Where that is not known, it is a deadlock when
    every thread of the process waits so, or joins one that does.
    """
    return f"deadlock: {describe_cycle(operation.cycle)} [{state.name!r}]" if operation.cycle else None


@rule(
    "sync-too-long",
    hazards=[31],
    at=Moment.BLOCKED,
    on=[Kind.SYNCHRONIZE],
    bugs="vllm-project/vllm#52247, vllm-project/vllm#42897",
    fix="Give synchronize() a timeout, and look for a kernel on the recorded stream that never ends.",
    advice=True,
)
def sync_too_long(state: EventState, operation: Operation) -> str | None:
    """The device has not reached a record for longer than CPUGPU_STALL_SECONDS.

    The CPU side is in order; a kernel on the recorded stream, or what it waits for, does not end.
    """
    if not operation.ready_ns or not operation.overdue:
        return None
    handed = operation.handed
    where = f", recorded on {handed.stream!r} at {handed.place}" if handed is not None else ""
    return (
        f"{operation.thread_name} synchronises with generation {operation.generation} of {state.name!r}{where}, and the"
        " device does not get there"
    )


@rule(
    "waiting-at-exit",
    hazards=[46],
    at=Moment.BLOCKED,
    on=_WAITS,
    bugs="python/cpython#87135 (daemon threads that block while the interpreter ends)",
    fix="Close the event and join the thread before the main thread ends.",
    advice=True,
)
def waiting_at_exit(state: EventState, operation: Operation) -> str | None:
    """When the interpreter ends, nobody may still wait.

    A daemon thread that waits is frozen in the middle of it. (One that is no daemon keeps the process from ending,
    which is a stall, or a deadlock.)
    """
    if not operation.exiting:
        return None
    return f"the interpreter ends, and {operation.thread_name} still waits for {state.name!r} at {operation.place}"


@rule(
    "teardown-while-waiting",
    hazards=[45],
    at=Moment.BEGIN,
    on=[Kind.TEARDOWN],
    bugs="vllm-project/vllm#56854 (a worker not stopped before destroy_process_group())",
    fix="Close the event and join the thread that waits, then destroy.",
)
def teardown_while_waiting(state: EventState, operation: Operation) -> str | None:
    """What an event hands over must not be destroyed while a thread waits for it.

    `annotate.teardown(*events)` marks the place where that is about to happen.
    """
    if not operation.detail:
        return None
    return f"{operation.thread_name} destroys what {state.name!r} hands over, while {operation.detail} waits for it"


@rule(
    "used-after-fork",
    hazards=[47],
    at=Moment.FORKED,
    on=[Kind.RECORD, *_WAITS, Kind.FAIL, Kind.CLOSE],
    bugs="pytorch/pytorch#130610, vllm-project/vllm#12754",
    fix="Make the event in the process that uses it; start workers with spawn.",
)
def used_after_fork(state: EventState, operation: Operation) -> str:
    """An event is for the threads of the process that made it.

    In a forked child the other thread does not exist, a lock may be held for ever, and CUDA cannot be used.
    """
    return f"{operation.thread_name} uses {state.name!r} in a forked child; it was made in the parent"
