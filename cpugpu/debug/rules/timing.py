"""Rules of time: calls that take too long, and what the device's clock says about the order."""

from __future__ import annotations

from cpugpu.debug.operation import Kind, Operation
from cpugpu.debug.rules.registry import Moment, rule
from cpugpu.debug.state import EventState

#: A driver call that only enqueues takes microseconds; a preempted thread may take many milliseconds.
_SLOW_NS = 250_000_000
#: Below this a thread may spin on purpose. One that sleeps uses next to none of the time, or wakes up all the time.
_SPIN_NS, _REST_NS = 10_000_000, 1_000_000
#: The heartbeat comes ten times a second.
_STOPPED_NS = 1_000_000_000


@rule(
    "slow-driver-call",
    hazards=[42],
    at=Moment.SLOW,
    on=[Kind.RECORD, Kind.WAIT],
    bugs="kotekan/kotekan#1675, pytorch/pytorch#133053 (a full launch queue makes an asynchronous call block)",
    fix="Keep the queue short: synchronise now and then, and find what the stream is stuck behind.",
    advice=True,
)
def slow_driver_call(state: EventState, operation: Operation) -> str | None:
    """A call that only enqueues must not block.

    Enqueueing takes microseconds. After a quarter of a second the launch queue is full, or the driver's lock is held.
    """
    since = operation.begin_ns if operation.kind is Kind.RECORD else operation.ready_ns
    if not since or operation.end_ns - since < _SLOW_NS:
        return None
    seconds = (operation.end_ns - since) / 1e9
    return f"the driver took {seconds:.2f} s for {operation.kind.value}() of {state.name!r} by {operation.thread_name}"


@rule(
    "unblocking-blocking-event",
    hazards=[14],
    at=Moment.SLOW,
    on=[Kind.SYNCHRONIZE],
    bugs="vllm-project/vllm#47081, pytorch/pytorch#189017 (torch.Event ignores blocking=True)",
    fix="Use torch.cuda.Event(blocking=True), as CpuGpuEvent does on CUDA, or synchronize(timeout=…), which polls.",
    advice=True,
)
def unblocking_blocking_event(state: EventState, operation: Operation) -> str | None:
    """A thread that synchronises sleeps; it does not spin on a core.

    Reported when the thread has burned 10 ms of processor time or more, and has not left the processor of its own
    accord once a millisecond of that: a thread that polls, or that waits for the GIL, does so.
    """
    effort = operation.effort
    if not operation.ready_ns or effort is None or effort.cpu_ns < max(_SPIN_NS, effort.rests * _REST_NS):
        return None
    seconds = (operation.end_ns - operation.ready_ns) / 1e9
    return (
        f"{operation.thread_name} has spun for {effort.cpu_ns / 1e6:.0f} ms of {seconds * 1e3:.0f} ms in synchronize()"
        f" of {state.name!r}"
    )


@rule(
    "gil-held",
    hazards=[25],
    at=Moment.LIFE,
    on=[Kind.STOPPED],
    bugs="pytorch/pytorch#109159, pytorch/pytorch#132520, LMCache/LMCache#3362 (found there with a sampler)",
    fix="Release the GIL around the blocking call: py::call_guard<py::gil_scoped_release>(), Py_BEGIN_ALLOW_THREADS.",
)
def gil_held(state: EventState, operation: Operation) -> str | None:  # noqa: ARG001
    """A blocking call must release the GIL.

    A heartbeat that comes ten times a second was missing for a second or more: no Python thread could run. The process
    may also have been stopped, or the machine overloaded.
    """
    if operation.end_ns - operation.begin_ns < _STOPPED_NS:
        return None
    within = f"; under way were: {operation.detail}" if operation.detail else ""
    return f"no Python thread could run for {(operation.end_ns - operation.begin_ns) / 1e9:.1f} s{within}"


@rule(
    "device-order",
    hazards=[1, 7],
    at=Moment.MEASURED,
    on=[Kind.WAIT],
    bugs="vllm-project/vllm#37601, sgl-project/sglang#38472 (a wait for an event that nobody had recorded)",
    fix="Find who recorded on another stream than the one that the work is on, or waited on one.",
)
def device_order(state: EventState, operation: Operation) -> str | None:
    """On the device, what follows wait(g) comes after record(g).

    Measured with timing events, if CPUGPU_DEVICE_TIME=1. Times of one device are compared within 2 µs, those of two
    devices within the error of both clocks.
    """
    lead, error = operation.lead_ns, operation.lead_error_ns
    if lead is None or -lead <= error:
        return None
    return (
        f"the device went on after wait() of generation {operation.generation} of {state.name!r} {-lead / 1e3:.1f} µs"
        f" (± {error / 1e3:.1f} µs) before it had reached the record"
    )
