"""A trace as a file for the Perfetto UI (https://ui.perfetto.dev).

Each thread is a track, and each operation a slice on it. Inside a wait that had its record, a slice `driver` begins at
that moment, and the arrow from the record leads there: Perfetto draws arrows forward in time only, and the wait itself
may have begun before the record.

Each stream is a track with an instant where a record or a wait took its place in it: at the time of the device where
that is known, else when the driver call returned.

Perfetto wants thread ids of 31 bits, which idents are not: the threads are numbered from the process id on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple

from cpugpu.trace.format import FLAG_MAIN, HEAD, TAIL, WAITS, Entry
from cpugpu.trace.reader import Trace

_SEQUENCE = 1  # every packet is of one sequence, which shares the interned strings
_PROCESS_TRACK = 1
_DRIVER = "driver"  # the kind of what is inside a wait
_BUFFER = 1 << 20
_TEMPLATES_KEPT = 1024

#: An entry as short as can be: begin, end, generation, time on the device, and the number of an entry that is the same
#: in everything else. Plain integers in a plain tuple: the garbage collector does not go through a million of them.
Operation = tuple[int, int, int, int, int]


@dataclass(frozen=True)
class Counts:
    """How many slices, arrows and instants were written. An instant is a violation or an operation on a stream."""

    slices: int
    flows: int
    instants: int


def export(trace: Trace, out_path: str | os.PathLike[str]) -> Counts:
    """Write `trace` to `out_path` in Perfetto's format, and replace what was there.

    A call that was under way at the end of the trace is a slice up to there, marked `unfinished`. Raises OSError if the
    file cannot be written, ValueError if it is the trace itself, and ModuleNotFoundError without the perfetto package.
    """
    try:
        from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as protos
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("the export needs the perfetto package: pip install 'cpugpu[trace]'") from error
    if os.path.exists(out_path) and any(os.path.samefile(out_path, part.path) for part in trace.parts):
        raise ValueError(f"{os.fspath(out_path)} is the trace itself: write the export to another file")
    operations = _Operations(trace)
    arrows = _Arrows(operations)
    with open(out_path, "wb", buffering=_BUFFER) as file:
        tracks = _Tracks(protos, file.write, trace.meta, operations, arrows)
        for thread in operations.threads.values():
            tracks.add_thread(thread)
    return Counts(tracks.slices, len(arrows.leaving), tracks.instants)


class _Operations:
    """The entries of a trace, by thread."""

    def __init__(self, trace: Trace) -> None:
        self.models: list[Entry] = []  # an operation has all but its numbers from one of these
        self.threads: dict[tuple[int, str], list[Operation]] = {}
        self.last_ns = 0
        numbers: dict[tuple[Any, ...], tuple[int, list[Operation]]] = {}  # the number of a model, and its thread
        last_ns = 0
        for entry in trace:
            common = entry[:HEAD] + entry[TAIL:]
            known = numbers.get(common)
            if known is None:
                known = numbers[common] = self._add_model(entry)
            number, thread = known
            begin_ns, ready_ns, end_ns, generation = entry.begin_ns, entry.ready_ns, entry.end_ns, entry.generation
            thread.append((begin_ns, end_ns, generation, entry.device_ns, number))
            if ready_ns and entry.kind in WAITS:
                thread.append((ready_ns, end_ns, generation, 0, number + 1))
            if end_ns > last_ns or begin_ns > last_ns or ready_ns > last_ns:
                last_ns = max(begin_ns, ready_ns, end_ns)
        self.last_ns = last_ns

    def _add_model(self, entry: Entry) -> tuple[int, list[Operation]]:
        self.models.append(entry)
        if entry.kind in WAITS:
            self.models.append(entry._replace(kind=_DRIVER, violations=()))
        number = len(self.models) - 1 - (entry.kind in WAITS)
        return number, self.threads.setdefault((entry.thread, entry.thread_name), [])


class _Arrows:
    """The numbers of the arrows, by the `id()` of the operation that they leave from, and of the one they arrive at.

    Each hand-off has one: from its record to the first wait that is there, if that had the record after it began.
    """

    def __init__(self, operations: _Operations) -> None:
        self.leaving: dict[int, int] = {}
        self.arriving: dict[int, int] = {}
        records: dict[int, dict[int, Operation]] = {model.event_id: {} for model in operations.models}
        numbers = count(1)
        for kinds in (("record",), (_DRIVER,), WAITS):
            events = [
                records[model.event_id] if model.kind in kinds and not model.error else None
                for model in operations.models
            ]
            for thread in operations.threads.values():
                for operation in thread:
                    recorded, generation = events[operation[4]], operation[2]
                    if recorded is None or not generation:
                        continue
                    if kinds == ("record",):
                        recorded[generation] = operation
                    elif generation in recorded and recorded[generation][0] < operation[0]:
                        record = recorded.pop(generation)
                        self.leaving[id(record)] = self.arriving[id(operation)] = next(numbers)


def _nested(thread: list[Operation], last_ns: int) -> Iterator[tuple[int, Operation, bool]]:
    """Yield the time, the operation and True where one begins, and with False where it ends, by time.

    They nest: what ends after the one around it is cut there. What ends when another one begins is written first. Puts
    the list in order.
    """
    thread.sort(key=lambda operation: operation[1] or last_ns, reverse=True)
    thread.sort(key=lambda operation: operation[0])  # stable: of those that begin together, the longest is first
    around: list[tuple[int, Operation, bool]] = []
    for operation in thread:
        begin_ns = operation[0]
        while around and around[-1][0] <= begin_ns:
            yield around.pop()
        end_ns = operation[1] or last_ns
        if around and around[-1][0] < end_ns:
            end_ns = around[-1][0]
        around.append((max(begin_ns, end_ns), operation, False))
        yield begin_ns, operation, True
    while around:
        yield around.pop()


class _Look(NamedTuple):
    """How the operations of one model are written."""

    name: str
    slice: _Packet
    instant: _Packet | None  # on the track of the stream
    violations: tuple[tuple[str, str], ...]


class _Tracks:
    """Writes the packets, and counts them."""

    def __init__(
        self,
        protos: Any,
        write: Callable[[bytes], object],
        meta: dict[str, str | int],
        operations: _Operations,
        arrows: _Arrows,
    ) -> None:
        self._protos, self._write = protos, write
        self._operations, self._arrows = operations, arrows
        self._types = protos.TrackEvent
        self._interned: dict[tuple[str, str], int] = {}
        self._looks: dict[int, _Look] = {}
        self._streams: dict[tuple[str, int], int] = {}
        self._track_numbers = count(_PROCESS_TRACK + 1)
        pid = meta.get("pid")
        self._pid = pid if isinstance(pid, int) and 0 < pid < 1 << 30 else 1
        self._tids = count(self._pid + 1)
        self.slices = self.instants = 0
        first = protos.TracePacket(sequence_flags=protos.TracePacket.SEQ_INCREMENTAL_STATE_CLEARED)
        first.track_descriptor.uuid = _PROCESS_TRACK
        first.track_descriptor.process.pid = self._pid
        first.track_descriptor.process.process_name = str(meta.get("argv", "python"))
        self._add(first)

    def add_thread(self, thread: list[Operation]) -> None:
        """A track with a slice an operation, and what the operations mean for the streams."""
        write, leaving, arriving = self._write, self._arrows.leaving, self._arrows.arriving
        track = self._thread_track(self._operations.models[thread[0][4]])
        end = _Packet(self._protos, track, self._types.TYPE_SLICE_END)
        for time, operation, begins in _nested(thread, self._operations.last_ns):
            if not begins:
                write(end.at(time))
                continue
            _, end_ns, generation, device_ns, model = operation
            look = self._looks.get(model) if end_ns else None
            if look is None:
                look = self._look(track, model, end_ns == 0)
            name = f"{look.name} g{generation}" if generation else look.name
            key = id(operation)
            write(look.slice.at(time, name, generation, leaving.get(key), arriving.get(key)))
            if look.instant is not None:
                write(look.instant.at(device_ns or end_ns, name, generation))
                self.instants += 1
            if look.violations:
                self._add_violations(track, time, look.violations)
        self.slices += len(thread)

    def _look(self, track: int, number: int, unfinished: bool) -> _Look:
        """Make the packets for a model. Those of an unfinished operation are used once."""
        model = self._operations.models[number]
        begin = _Packet(self._protos, track, self._types.TYPE_SLICE_BEGIN)
        facts = () if model.kind == _DRIVER else ("event", "stream", "device", "place", "error", "detail")
        self._describe(begin, model.kind, model, facts)
        if facts:
            begin.generation = self._annotate(begin, "generation")
        if unfinished:
            self._annotate(begin, "unfinished").bool_value = True
        instant = None
        if model.stream and not unfinished and not model.error and (model.kind == "record" or model.kind in WAITS):
            instant = _Packet(self._protos, self._stream_track(model), self._types.TYPE_INSTANT)
            self._describe(instant, "stream", model, ("thread_name", "place"))
        look = _Look(f"{model.kind} {model.event}".rstrip(), begin, instant, model.violations)
        if not unfinished:
            if len(self._looks) >= _TEMPLATES_KEPT:
                self._looks.clear()
            self._looks[number] = look
        return look

    def _describe(self, packet: _Packet, category: str, model: Entry, facts: Iterable[str]) -> None:
        packet.event.category_iids.append(self._intern("event_categories", category))
        for field in facts:
            if value := getattr(model, field):
                annotation = self._annotate(packet, field.removesuffix("_name"))
                annotation.string_value_iid = self._intern("debug_annotation_string_values", value)

    def _annotate(self, packet: _Packet, name: str) -> Any:
        return packet.event.debug_annotations.add(name_iid=self._intern("debug_annotation_names", name))

    def _intern(self, table: str, text: str) -> int:
        """The number of a string in one of the tables of the sequence."""
        number = self._interned.get((table, text))
        if number is None:
            number = self._interned[table, text] = len(self._interned) + 1
            packet = self._protos.TracePacket(sequence_flags=self._protos.TracePacket.SEQ_NEEDS_INCREMENTAL_STATE)
            value = {"str": text.encode()} if table == "debug_annotation_string_values" else {"name": text}
            getattr(packet.interned_data, table).add(iid=number, **value)
            self._add(packet)
        return number

    def _add_violations(self, track: int, time: int, violations: Iterable[tuple[str, str]]) -> None:
        for rule, message in violations:
            packet = _Packet(self._protos, track, self._types.TYPE_INSTANT)
            packet.event.category_iids.append(self._intern("event_categories", "violation"))
            self._annotate(packet, "message").string_value = message
            self._write(packet.at(time, rule))
            self.instants += 1

    def _thread_track(self, model: Entry) -> int:
        number = next(self._track_numbers)
        packet = self._protos.TracePacket()
        packet.track_descriptor.uuid = number
        packet.track_descriptor.parent_uuid = _PROCESS_TRACK
        packet.track_descriptor.thread.pid = self._pid
        packet.track_descriptor.thread.tid = self._pid if model.flags & FLAG_MAIN else next(self._tids)
        packet.track_descriptor.thread.thread_name = model.thread_name
        self._add(packet)
        return number

    def _stream_track(self, model: Entry) -> int:
        key = model.stream, model.device_index
        number = self._streams.get(key)
        if number is None:
            number = self._streams[key] = next(self._track_numbers)
            packet = self._protos.TracePacket()
            packet.track_descriptor.uuid = number
            packet.track_descriptor.parent_uuid = _PROCESS_TRACK
            packet.track_descriptor.name = model.stream
            self._add(packet)
        return number

    def _add(self, packet: Any) -> None:
        packet.trusted_packet_sequence_id = _SEQUENCE
        self._write(self._protos.Trace(packet=[packet]).SerializeToString())


class _Packet:
    """A Perfetto trace of one packet, which is changed and written again: such traces can be put one after another."""

    __slots__ = ("_arriving", "_leaving", "_packet", "_serialize", "event", "generation")

    def __init__(self, protos: Any, track: int, event_type: int) -> None:
        trace = protos.Trace()
        self._serialize: Callable[[], bytes] = trace.SerializeToString
        self._packet = trace.packet.add(
            trusted_packet_sequence_id=_SEQUENCE,
            sequence_flags=protos.TracePacket.SEQ_NEEDS_INCREMENTAL_STATE,
        )
        self.event = self._packet.track_event
        self.event.type = event_type
        self.event.track_uuid = track
        self.generation: Any = None  # its annotation
        self._leaving, self._arriving = self.event.flow_ids, self.event.terminating_flow_ids

    def at(
        self, time: int, name: str = "", generation: int = 0, leaving: int | None = None, arriving: int | None = None
    ) -> bytes:
        """The packet with these values; the last two are numbers of arrows."""
        self._packet.timestamp = time
        if name:
            self.event.name = name
            if self.generation is not None:
                self.generation.int_value = generation
        if leaving is None and arriving is None:
            return self._serialize()
        arrows, number = (self._arriving, arriving) if leaving is None else (self._leaving, leaving)
        arrows.append(number)
        data = self._serialize()
        del arrows[:]
        return data
