"""Rules of the hand-off itself: who may record and wait, when, and which record a wait is for."""

from __future__ import annotations

from cpugpu.deaths import alive
from cpugpu.debug.operation import Kind, Operation
from cpugpu.debug.rules.registry import Moment, rule
from cpugpu.debug.state import EventState, ThreadLike
from cpugpu.errors import HandoffClosed

_WAITS = (Kind.WAIT, Kind.SYNCHRONIZE)
#: A wait may be tried again after a failure; so many failures of one hand-off are a loop.
_HOT_LOOP = 3


def _other(bound: ThreadLike | None, operation: Operation) -> bool:
    """Does the part belong to another thread, which is still there to play it?"""
    return bound is not None and bound is not operation.thread and alive(bound)


@rule(
    "double-record",
    hazards=[3, 38],
    at=Moment.BEGIN,
    on=[Kind.RECORD],
    bugs="vllm-project/vllm#39115 (waited for too much); vllm-ascend's `_DeferredConsumedEvent` checks it by hand",
    fix="Let the consumer wait before the next record, or have a second event by which it tells that it has.",
)
def double_record(state: EventState, operation: Operation) -> str | None:
    """A record needs the last one to be consumed.

    Recording again would replace the record that the consumer is going to wait for. The production class refuses it,
    too; here the message says where the unconsumed record was made and what became of the consumer.
    """
    if not state.pending or state.closed:
        return None
    last, consumer = state.last_record, state.consumer
    made = f", recorded at {last.place} by {last.thread_name}" if last is not None and last.place else ""
    gone = f"; {consumer.name}, its consumer, {state.end(consumer)}" if consumer and not alive(consumer) else ""
    return (
        f"{operation.thread_name} calls record() on {state.name!r} before the previous event was consumed by wait()"
        f" (generation {state.generation}{made}{gone})"
    )


@rule(
    "record-on-other-stream",
    hazards=[5],
    at=Moment.BEGIN,
    on=[Kind.RECORD],
    bugs="sgl-project/sglang#30435, torch/cutorch#222",
    fix="One event a stream, or wait for the first record before the second one is made.",
)
def record_on_other_stream(state: EventState, operation: Operation) -> str | None:
    """A record that nobody has consumed must not be replaced by one on another stream.

    A device event holds a single capture point: the fence on the first stream would be gone. It happens where a
    double record goes through, and where a record replaces one whose wait has raised.
    """
    last = state.last_record
    if not state.held or last is None or last.stream is None or operation.stream in (None, last.stream):
        return None
    return (
        f"{operation.thread_name} records {state.name!r} on {operation.stream!r}; generation {last.generation},"
        f" recorded on {last.stream!r}, was not consumed, and its fence would be lost"
    )


@rule(
    "stale-generation",
    hazards=[6],
    at=Moment.HANDED,
    on=_WAITS,
    bugs="sgl-project/sglang#5788 (event of the wrong batch), kvcache-ai/Mooncake#1863 (fixed by a sequence number)",
    fix="Find the batch whose hand-off was skipped or consumed twice; each batch needs one record and one wait.",
)
def stale_generation(state: EventState, operation: Operation) -> str | None:
    """A wait must get the hand-off that it is for.

    `annotate.expect(event, generation)` says which one that is. Without it a wait for batch n-1 succeeds, and the
    consumer reads wrong data without an error.
    """
    expected = state.expected.get(operation.thread)
    if expected is not None and operation.generation != expected:
        return (
            f"{operation.thread_name} waits for generation {expected} of {state.name!r} and got generation"
            f" {operation.generation}"
        )
    return None


@rule(
    "second-producer",
    hazards=[36],
    at=Moment.BEGIN,
    on=[Kind.RECORD],
    bugs="vllm-project/vllm#37601 (the class says: undefined behaviour)",
    fix="Give each producer an event of its own.",
)
def second_producer(state: EventState, operation: Operation) -> str | None:
    """A hand-off has one producer.

    A second thread that records may find the event free by chance, or be refused by chance: the consumer cannot tell
    whose work it has waited for. The part is free again when the thread that had it has ended.
    """
    if state.producer is not None and _other(state.producer, operation):
        return f"{operation.thread_name} records {state.name!r}, which {state.producer.name} produces"
    return None


@rule(
    "second-consumer",
    hazards=[36],
    at=Moment.BEGIN,
    on=_WAITS,
    bugs="vllm-project/vllm#37601 (the class says: undefined behaviour)",
    fix="Give each consumer an event of its own, and let the producer record all of them.",
)
def second_consumer(state: EventState, operation: Operation) -> str | None:
    """A hand-off has one consumer.

    Two threads that wait share the records between them in an order that nobody decides. The part is free again when
    the thread that had it has ended.
    """
    if state.consumer is not None and _other(state.consumer, operation):
        return f"{operation.thread_name} waits for {state.name!r}, which {state.consumer.name} consumes"
    return None


@rule(
    "self-wait",
    hazards=[37],
    at=Moment.BEGIN,
    on=[Kind.RECORD, *_WAITS],
    bugs="none filed; tests of such classes do it",
    fix="A stream is ordered after its own work already; between two streams of one thread use a device event.",
)
def self_wait(state: EventState, operation: Operation) -> str | None:
    """A thread must not wait for its own record.

    It needs no event for what it has enqueued itself, and with nothing recorded it waits for ever.
    """
    if operation.kind is Kind.RECORD:
        if state.consumer is operation.thread:
            return f"{operation.thread_name} records {state.name!r}, which it waits for itself"
    elif state.producer is operation.thread:
        return f"{operation.thread_name} waits for {state.name!r}, which it records itself"
    return None


@rule(
    "wait-after-close",
    hazards=[45],
    at=Moment.BEGIN,
    on=_WAITS,
    bugs="vllm-project/vllm#56854",
    fix="End the consumer's loop on HandoffClosed, and close only once.",
    also=HandoffClosed,
)
def wait_after_close(state: EventState, operation: Operation) -> str | None:
    """A closed event hands nothing over: a thread that waits for it again has missed the end.

    The first wait by which a thread learns of the end breaks no rule.
    """
    if state.closed and state.consumer_told is operation.thread:
        return f"{operation.thread_name} waits for {state.name!r}, which is closed, as an earlier wait was told"
    return None


@rule(
    "record-after-close",
    hazards=[45],
    at=Moment.BEGIN,
    on=[Kind.RECORD],
    bugs="vllm-project/vllm#56854",
    fix="End the producer's loop on HandoffClosed.",
    also=HandoffClosed,
)
def record_after_close(state: EventState, operation: Operation) -> str | None:
    """A closed event hands nothing over: a thread that records it again works for nobody.

    The first record by which a thread learns of the end breaks no rule.
    """
    if state.closed and state.producer_told is operation.thread:
        return f"{operation.thread_name} records {state.name!r}, which is closed, as an earlier record was told"
    return None


@rule(
    "poisoned-wait",
    hazards=[34],
    at=Moment.BEGIN,
    on=_WAITS,
    bugs="vllm-project/vllm#46370",
    fix="Look at what the wait raises: the stream or the device is broken. Close the event, or end the thread.",
)
def poisoned_wait(state: EventState, operation: Operation) -> str | None:
    """A wait that fails again and again on the same hand-off is a loop that nothing will end.

    A wait that raises has consumed nothing and may be repeated; the fourth attempt in a row is reported.
    """
    if state.held and state.failed_waits >= _HOT_LOOP and state.failed_generation == state.generation:
        return (
            f"{operation.thread_name} waits for generation {state.generation} of {state.name!r} again, which"
            f" {state.failed_waits} waits in a row have failed to consume"
        )
    return None


@rule(
    "never-consumed",
    hazards=[38],
    at=Moment.LIFE,
    on=[Kind.CLOSE, Kind.COLLECTED, Kind.EXIT],
    bugs='vllm-ascend\'s `_DeferredConsumedEvent` ("did not acknowledge the pending result") checks it by hand',
    fix="Every record needs its wait: look for the consumer that left its loop early.",
)
def never_consumed(state: EventState, operation: Operation) -> str | None:
    """A record that nobody consumes is a hand-off that got lost.

    Checked when the event is closed after its consumer has ended, when it is garbage, and when the interpreter ends. A
    consumer that was told of the close has not missed anything.
    """
    last = state.last_record
    if last is None or last.generation <= state.consumed or state.consumer_told is not None:
        return None
    if operation.kind is Kind.CLOSE and (state.consumer is None or alive(state.consumer)):
        return None  # it may still be told
    when = {Kind.CLOSE: "closed", Kind.COLLECTED: "garbage collected"}.get(operation.kind, "left at exit")
    return (
        f"{state.name!r} was {when} with generation {last.generation} unconsumed, which {last.thread_name} recorded"
        f" at {last.place or 'an unknown place'}"
    )


@rule(
    "payload-generation",
    hazards=[48],
    at=Moment.BEGIN,
    on=[Kind.USE],
    bugs="deepseek-ai/DeepSpec#78 (a prefetch thread died, and training went on with the old batch)",
    fix="Fill and record inside one `with event.recording():`, so that a failure is handed over.",
)
def payload_generation(state: EventState, operation: Operation) -> str | None:
    """What a consumer uses must be the payload of the hand-off that it has waited for.

    `annotate.stamp(event, payload)` by the producer and `annotate.use(event, payload)` by the consumer say what belongs
    together. An exception that is swallowed between filling and recording hands the previous payload over again.
    """
    stamped = operation.detail
    if not operation.generation or stamped == operation.generation:
        return None
    what = f"of generation {stamped}" if stamped else "which nobody has stamped"
    return (
        f"{operation.thread_name} has waited for generation {operation.generation} of {state.name!r} and uses a payload"
        f" {what}"
    )
