"""Rules of streams and devices: work is ordered only on the stream that is recorded, or that waits."""

from __future__ import annotations

from cpugpu.debug.operation import Kind, Operation
from cpugpu.debug.rules.registry import Moment, rule
from cpugpu.debug.state import EventState

_ON_A_STREAM = (Kind.RECORD, Kind.WAIT)


@rule(
    "wrong-declared-stream",
    hazards=[8],
    at=Moment.STREAM,
    on=_ON_A_STREAM,
    bugs="deepspeedai/DeepSpeed#7898, pytorch/pytorch#45787 (synchronised with the default stream, not the producer's)",
    fix="Pass the declared stream, or declare the one that the work is on.",
)
def wrong_declared_stream(state: EventState, operation: Operation) -> str | None:
    """A role that has a declared stream uses that stream.

    `annotate.declare(event, producer=stream, consumer=stream)` says where the work is. A record elsewhere orders
    nothing, a wait elsewhere holds back the wrong work.
    """
    if not state.declared_streams:
        return None
    declared = state.declared_streams.get(operation.role)
    if declared is not None and operation.stream is not None and operation.stream != declared:
        verb = "records" if operation.kind is Kind.RECORD else "waits for"
        return (
            f"{operation.thread_name} {verb} {state.name!r} on {operation.stream!r}, and {declared!r} is declared for"
            f" its {operation.role}"
        )
    return None


@rule(
    "implicit-stream-in-helper-thread",
    hazards=[9],
    at=Moment.STREAM,
    on=_ON_A_STREAM,
    bugs="ROCm/pytorch#1053 (worker threads do not inherit the current stream)",
    fix="Pass the stream to the thread and to the call, or enter `with torch.cuda.stream(s):` in the thread itself.",
    advice=True,
)
def implicit_stream_in_helper_thread(state: EventState, operation: Operation) -> str | None:
    """A new thread starts on the default stream, whatever stream its parent is on.

    Reported when the event was made under a side stream, and another thread, which is on the default stream, uses it
    without naming a stream: what that thread records there orders nothing of the side stream's work.
    """
    sight = operation.sight
    if not operation.implicit or sight is None or not sight.default or state.creator_default:
        return None
    if operation.thread is state.creator:
        return None
    return (
        f"{operation.thread_name} gives no stream for {state.name!r} and is on the default one, {sight.stream!r}; the"
        f" event was made on {state.creator_stream!r}, which a new thread does not inherit"
    )


@rule(
    "stale-cached-stream",
    hazards=[10],
    at=Moment.STREAM,
    on=_ON_A_STREAM,
    bugs="huggingface/trl#7195 (the current stream, cached in the constructor)",
    fix="Ask for the current stream where it is used, or give none: then the event does.",
    advice=True,
)
def stale_cached_stream(state: EventState, operation: Operation) -> str | None:
    """The current stream of yesterday is not the current stream.

    Reported when the stream that is given was the current one where the event was made, and the thread is now on
    another stream than the default one: its work is there.
    """
    sight = operation.sight
    if operation.implicit or sight is None or sight.default or sight.stream != state.creator_stream:
        return None
    if sight.current == sight.stream:
        return None
    return (
        f"{operation.thread_name} uses {state.name!r} with {sight.stream!r}, the current stream when the event was"
        f" made; its current stream is {sight.current!r} by now"
    )


@rule(
    "thread-on-wrong-device",
    hazards=[11],
    at=Moment.STREAM,
    on=_ON_A_STREAM,
    bugs="pytorch/pytorch#58626, sgl-project/sglang#5778, facebookresearch/fairseq#3560 (all work on device 0)",
    fix="Call `torch.accelerator.set_device_index(i)` first thing in the thread.",
    advice=True,
)
def thread_on_wrong_device(state: EventState, operation: Operation) -> str | None:
    """A new thread starts on device 0: what it launches goes there, whatever the event's device is.

    Reported when the stream is of another device than the thread's current one, and either the thread gave no stream or
    it is on device 0, where threads are by default.
    """
    sight = operation.sight
    if sight is None or sight.device_index == sight.current_index or sight.device_index < 0:
        return None
    if not operation.implicit and (sight.current_index != 0 or operation.thread is state.creator):
        return None
    return (
        f"{operation.thread_name} uses {state.name!r} on device {sight.device_index} ({sight.stream!r}), while its"
        f" current device is {sight.current_index}"
    )


@rule(
    "device-mismatch",
    hazards=[12],
    at=Moment.STREAM,
    on=_ON_A_STREAM,
    bugs="NVIDIA/cuCascade#189, vllm-project/vllm#37670, NVIDIA/apex#646",
    fix="Make the event for the device of the stream that records it (`CpuGpuEvent(stream.device)`).",
    also=ValueError,
)
def device_mismatch(state: EventState, operation: Operation) -> str | None:
    """An event is recorded on streams of its own device.

    CUDA requires event and stream of a record to be of one device; a wait may cross devices, not kinds of device.
    """
    kind, _, text = operation.refusal.partition(": ")
    if kind == "ValueError":
        return f"{operation.thread_name} uses {state.name!r} of {state.device}: {text}"
    sight = operation.sight
    if operation.kind is Kind.RECORD and sight is not None and state.index not in (None, sight.device_index):
        return (
            f"{operation.thread_name} records {state.name!r} of {state.device} on {sight.stream!r} of device"
            f" {sight.device_index}"
        )
    return None


@rule(
    "generic-stream-mix",
    hazards=[13],
    at=Moment.STREAM,
    on=_ON_A_STREAM,
    bugs="pytorch/pytorch#173792 (invalid ordinal; a crash on XPU): torch casts the stream without looking",
    fix="Pass a stream of the event's own library and device type.",
    also=TypeError,
)
def generic_stream_mix(state: EventState, operation: Operation) -> str | None:
    """A stream has the type that the event's device takes.

    torch does not check the type of a stream that its events are given, but reads it as what it expects.
    """
    kind, _, text = operation.refusal.partition(": ")
    return f"{operation.thread_name} uses {state.name!r} of {state.device}: {text}" if kind == "TypeError" else None


@rule(
    "wait-inside-capture",
    hazards=[30],
    at=Moment.STREAM,
    on=_ON_A_STREAM,
    bugs="vllm-project/vllm-ascend#4233, NVIDIA/Megatron-LM#7014",
    fix="Hand over outside the capture: before the graph is replayed, and after.",
)
def wait_inside_capture(state: EventState, operation: Operation) -> str | None:
    """A hand-off inside a graph capture happens once, at capture, and in no replay.

    The CPU side of record and wait is not part of the graph: replays would run unordered.
    """
    if operation.capture:
        verb = "records" if operation.kind is Kind.RECORD else "waits for"
        return f"{operation.thread_name} {verb} {state.name!r} on {operation.stream!r}, which is being captured"
    return None


@rule(
    "captured-event-outside",
    hazards=[29],
    at=Moment.HANDED,
    on=[Kind.WAIT, Kind.SYNCHRONIZE],
    bugs="pytorch/pytorch#192000, pytorch/pytorch#155372",
    fix="Record outside the capture, or use a torch event made with external=True inside it.",
)
def captured_event_outside(state: EventState, operation: Operation) -> str | None:
    """A record that was made in a graph capture exists in that capture only.

    CUDA answers cudaErrorCapturedEvent to whoever waits for it elsewhere, and the capture may be lost.
    """
    handed = operation.handed
    if handed is None or not handed.capture or handed.capture == operation.capture:
        return None
    return (
        f"{operation.thread_name} waits outside for generation {handed.generation} of {state.name!r}, which"
        f" {handed.thread_name} has recorded inside a capture at {handed.place}"
    )


@rule(
    "query-during-capture",
    hazards=[28],
    at=Moment.BEGIN,
    on=[Kind.SYNCHRONIZE],
    bugs="pytorch/pytorch#104487, pytorch/pytorch#148594, pytorch/pytorch#175377 (a watchdog's query ended captures)",
    fix="Synchronise before or after the capture; or capture with capture_error_mode='thread_local'.",
)
def query_during_capture(state: EventState, operation: Operation) -> str | None:
    """No thread may synchronise with an event, or query one, while a graph is captured in the global mode.

    It ends the capture, in whichever thread that is. Known are captures of the thread's current stream and of streams
    that an instrumented event was used with.
    """
    if operation.capture or operation.capture_elsewhere:
        where = "its current stream" if operation.capture else "another stream"
        return f"{operation.thread_name} synchronises with {state.name!r} while {where} is being captured"
    return None
