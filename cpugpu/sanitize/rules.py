"""The rules of device events, and of whose memory it is."""

from __future__ import annotations

from cpugpu.sanitize.events import Call, Kind, Version
from cpugpu.sanitize.findings import Side
from cpugpu.sanitize.places import place_of
from cpugpu.sanitize.registry import Broken, Launch, Reuse, calls, launches, reuses

_WAITS = (Kind.WAIT, Kind.SYNCHRONIZE, Kind.QUERY)


@calls.rule("unrecorded-wait", hazards=[1], on=[Kind.WAIT])
def unrecorded_wait(call: Call) -> Broken | None:
    """A stream's wait needs a record that came before it. On an event that nobody has recorded it is a silent no-op.

    The stream goes on at once, whatever the event was to protect.
    """
    return _unrecorded(call, "the wait is a no-op")


@calls.rule("unrecorded-synchronize", hazards=[2], on=[Kind.SYNCHRONIZE])
def unrecorded_synchronize(call: Call) -> Broken | None:
    """To synchronize with an event that nobody has recorded returns at once: it stands for an empty set of work."""
    return _unrecorded(call, "it returns at once")


@calls.rule("unrecorded-query", hazards=[2], on=[Kind.QUERY])
def unrecorded_query(call: Call) -> Broken | None:
    """An event that nobody has recorded says that it is done: `query()` is True. A poll for it ends too early."""
    return _unrecorded(call, "it is True")


def _unrecorded(call: Call, effect: str) -> Broken | None:
    if call.version is not None:
        return None
    return Broken(
        f"nothing has recorded {call.event.name} before this {call.kind.value}: {effect}",
        None,
        f"record {call.event.name} first, and let thread {call.thread.name} know that it was: a flag, queue or lock"
        " that is set after the record and seen before this call",
    )


def _lost(call: Call) -> Version | None:
    """The capture that the caller was told of, if the one that it gets does not cover it."""
    current = call.version
    if current is None or current.known_to(call.thread):
        return None
    told = call.told_of
    return told if told is not None and not current.covers(told) else None


def _is_unordered(call: Call) -> bool:
    """Is the call neither after its record, nor after one that its own record covers?"""
    current = call.version
    if current is None or current.known_to(call.thread):
        return False
    return call.told_of is None and call.is_sure


def _is_signalled_early(call: Call) -> bool:
    current = call.version
    return (
        current is not None
        and current.signal is not None
        and call.thread.knows(current.thread, current.signal.count)
    )  # fmt: skip


@calls.rule("flag-before-record", hazards=[1, 34], on=_WAITS)
def flag_before_record(call: Call) -> Broken | None:
    """What tells a consumer to go on is set after the record, not before it.

    The consumer may wait in between, and then gets an older capture or none. It is reported also when the record came
    first in this run, for nothing but luck saw to that.
    """
    current = call.version
    if current is None or not _is_unordered(call) or not _is_signalled_early(call):
        return None
    signal = current.signal
    assert signal is not None
    return Broken(
        f"nothing orders {call.thread.name}'s {call.kind.value} after {current.thread.name}'s record:"
        f" {signal.what}, which tells it to go on, comes before the record ({place_of(signal.place)})",
        current.side(f"record of {call.event.name}"),
        f"record {call.event.name} first, then {signal.what}",
    )


@calls.rule("wait-not-ordered-after-record", hazards=[1, 6], on=_WAITS)
def wait_not_ordered_after_record(call: Call) -> Broken | None:
    """A wait comes after its record by an edge between the two threads, not by luck.

    In this run the record came first. In another one the wait may bind an older capture, or none, and is a no-op then.
    """
    current = call.version
    if current is None or not _is_unordered(call) or _is_signalled_early(call):
        return None
    known = call.thread.clock.get(current.thread.number, 0)
    why = (
        f"what {call.thread.name} last knows of {current.thread.name} is older than the record"
        if known
        else f"{call.thread.name} knows of nothing that {current.thread.name} has done"
    )
    return Broken(
        f"nothing orders {call.thread.name}'s {call.kind.value} after {current.thread.name}'s record: {why}",
        current.side(f"record of {call.event.name}"),
        f"after the record let thread {current.thread.name} set a flag, or put to a queue, that thread"
        f" {call.thread.name} waits for before this {call.kind.value}",
    )


@calls.rule("record-over-unconsumed", hazards=[5, 6], on=[*_WAITS, Kind.RECORD])
def record_over_unconsumed(call: Call) -> Broken | None:
    """A record overwrites the one before. Who still waits for that one has to have waited by then.

    It is harmless where the new capture covers the old one, as on one stream: then a wait that comes late waits for too
    much. Otherwise it does not wait for what it was told of.
    """
    event = call.event
    if call.kind is not Kind.RECORD:
        told = _lost(call)
        if told is None or call.version is None:
            return None
        return Broken(
            f"nothing orders {call.version.thread.name}'s record on {call.version.stream.name} after"
            f" {call.thread.name}'s {call.kind.value}, which was told of the record on {told.stream.name}"
            f" ({place_of(told.place)}) and does not wait for it",
            call.version.side(f"record of {event.name}"),
            f"use another event for {call.version.stream.name}, or record only after the {call.kind.value}",
        )
    old, new = call.version, call.made
    if old is None or new is None or new.covers(old):
        return None
    for waiter in old.waiters.values():
        if not call.thread.knows(waiter.thread, waiter.epoch):
            return Broken(
                f"nothing orders {call.thread.name}'s record on {new.stream.name} after {waiter.thread.name}'s wait:"
                f" had it come first, the wait would not wait for {old.stream.name}",
                waiter.side,
                f"use another event for {new.stream.name}, or let {call.thread.name} know of the wait before it"
                " records again",
            )
    return None


@calls.rule("device-mismatch", hazards=[12], on=[Kind.RECORD])
def device_mismatch(call: Call) -> Broken | None:
    """An event belongs to the device of its first record. Streams of other devices may wait for it, not record it."""
    stream = call.stream
    if stream is None or not call.event.device or stream.device == call.event.device:
        return None
    return Broken(
        f"{call.event.name} belongs to {call.event.device}, for it was recorded there first",
        call.version.side(f"record of {call.event.name}") if call.version else None,
        f"use an event of its own for {stream.device}",
    )


@calls.rule("captured-event-outside", hazards=[28, 29], on=_WAITS)
def captured_event_outside(call: Call) -> Broken | None:
    """What was recorded into a graph did not happen: outside of the capture there is nothing to wait for.

    CUDA answers with cudaErrorCapturedEvent to a query or a synchronize, and a wait of another stream joins the capture
    or, when it has ended, is an error.
    """
    version = call.version
    if version is None or version.capture is None:
        return None
    if call.stream is not None and (call.stream.capture is version.capture or _is_open(version.capture)):
        return None
    return Broken(
        f"the record of {call.event.name} went into a graph, and the {call.kind.value} does not",
        version.side(f"record of {call.event.name}, captured"),
        f"record {call.event.name} again outside of the capture, or make it with external=True",
    )


@calls.rule("uncaptured-event-inside", hazards=[29], on=[Kind.WAIT])
def uncaptured_event_inside(call: Call) -> Broken | None:
    """A captured stream cannot wait for work outside of its graph: cudaErrorStreamCaptureIsolation."""
    version, stream = call.version, call.stream
    if version is None or stream is None or stream.capture is None or version.capture is stream.capture:
        return None
    return Broken(
        f"{stream.name} is captured, and the record of {call.event.name} is not in that graph",
        version.side(f"record of {call.event.name}"),
        "wait before the capture begins, or make the event with external=True",
    )


@calls.rule("wait-during-capture", hazards=[28], on=[Kind.SYNCHRONIZE, Kind.QUERY, Kind.DRAIN])
def wait_during_capture(call: Call) -> Broken | None:
    """While a thread captures in the global mode no thread may query or synchronize: it breaks the capture."""
    if not call.capturing:
        return None
    return Broken(
        f"{call.capturing}, in a mode that forbids this",
        None,
        "capture with capture_error_mode='thread_local', or keep other threads from polling meanwhile",
    )


@calls.rule("unjoined-capture", hazards=[30], on=[Kind.END_CAPTURE])
def unjoined_capture(call: Call) -> Broken | None:
    """A stream that has come into a capture is waited for before the capture ends: cudaErrorStreamCaptureUnjoined."""
    return Broken(
        f"{call.stream.name if call.stream else 'the stream'} does not wait for {call.event.name}, which is captured"
        " too, before the capture ends",
        None,
        f"let the stream on which the capture began wait for {call.event.name} before the end: wait_stream()",
    )


@calls.rule("event-destroyed-early", hazards=[23, 24], on=[Kind.DESTROY])
def event_destroyed_early(call: Call) -> Broken | None:
    """An event whose handle went to another process lives until that one has opened it.

    And one that is used after its end was ended too early.
    """
    exported = call.event.exported
    if exported is None:
        return None
    return Broken(
        f"nothing says that another process has opened the handle of {call.event.name} before it is destroyed",
        exported,
        "keep the event until the other process has answered",
    )


@calls.rule("used-after-destroy", hazards=[24], on=[*_WAITS, Kind.RECORD])
def used_after_destroy(call: Call) -> Broken | None:
    """An event is not used after its end."""
    destroyed = call.event.destroyed
    if destroyed is None:
        return None
    return Broken(
        f"nothing orders the end of {call.event.name} after this {call.kind.value}",
        destroyed,
        "keep the event for as long as anybody uses it",
    )


@reuses.rule("foreign-use", hazards=[21, 22])
def foreign_use(reuse: Reuse) -> Broken | None:
    """A tensor that another stream uses is not freed before that stream is done, or `record_stream` tells of it.

    Its memory goes back to the pool of the stream that made it at once, and the next tensor there may overwrite it.
    """
    freed = reuse.freed
    stream, _, thread, what, place = freed.access
    kind = "writes to" if freed.writes else "reads"
    if freed.by_owner:
        return Broken(
            f"nothing orders the first use of {reuse.storage.name} on {reuse.ticket[0].name} after {stream.name}, which"
            f" {kind} {freed.storage}, the tensor that had this memory before: the allocator keeps the order on"
            f" {stream.name} only",
            Side(f"{what} {kind} {freed.storage}", place_of(place), thread.name, stream.name),
            f"let {reuse.ticket[0].name} wait for {stream.name} after the allocation, or allocate on"
            f" {reuse.ticket[0].name}",
        )
    return Broken(
        f"nothing orders {reuse.ticket[0].name}, whose memory {freed.storage} was, after {stream.name}, which"
        f" {kind} it: thread {freed.thread.name} freed it without waiting ({place_of(freed.place)}), and its memory may"
        f" be {reuse.storage.name}'s now",
        Side(f"{what} {kind} {freed.storage}", place_of(place), thread.name, stream.name),
        f"{freed.storage}.record_stream(<{stream.name}>) after its use there, or wait for {stream.name} before the last"
        " reference goes",
    )


@launches.rule("used-after-fork", hazards=[47])
def used_after_fork(launch: Launch) -> Broken | None:
    """A device that a process has used is not used by a child that was forked from it."""
    return Broken(
        f"{launch.stream.device or 'the device'} was in use before the fork; its driver does not survive one",
        None,
        "start processes with multiprocessing.get_context('spawn'), or fork before the device is used",
    )


def _is_open(capture: object) -> bool:
    return bool(getattr(capture, "open", False))
