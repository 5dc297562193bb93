"""The Perfetto export, read with Perfetto's own classes: what is in the trace is in the export, once."""

from __future__ import annotations

import builtins
import itertools
import random
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cpugpu.trace import FLAG_MAIN, Counts, Entry, Trace, TraceWriter, export, read
from cpugpu.trace import perfetto as exporter
from tests.e2e.sample import entry, sample

try:
    from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as protos
except ModuleNotFoundError:
    protos = None

needs_perfetto = pytest.mark.skipif(protos is None, reason="the perfetto package is not installed: cpugpu[trace]")
WAITS = ("wait", "synchronize")


class Slice(NamedTuple):
    """A slice or an instant of an export."""

    track: str
    category: str
    name: str
    begin: int
    end: int
    depth: int
    facts: dict[str, Any]
    leaving: list[int]
    arriving: list[int]


def written(path: Path, entries: list[Entry], **meta: str | int) -> Trace:
    trace_writer = TraceWriter(path / "t", limit=1 << 30, meta=meta)
    trace_writer.write(entries)
    trace_writer.close()
    return read(path / "t")


def parse(path: Path) -> tuple[list[Slice], list[Slice]]:
    """The slices and the instants of an export. Asserts that what begins ends, inside what is around it."""
    packets = protos.Trace.FromString(path.read_bytes()).packet
    tables: dict[str, dict[int, Any]] = defaultdict(dict)
    tracks: dict[int, str] = {}
    events = []
    for packet in packets:
        assert packet.trusted_packet_sequence_id == 1
        for field, values in packet.interned_data.ListFields():
            tables[field.name].update({value.iid: getattr(value, "name", "") or value.str.decode() for value in values})
        if packet.HasField("track_descriptor"):
            track = packet.track_descriptor
            assert track.uuid not in tracks
            tracks[track.uuid] = track.thread.thread_name or track.name or track.process.process_name
        if packet.HasField("track_event"):
            assert packet.track_event.track_uuid in tracks, "a track is described before it is used"
            events.append((packet.timestamp, packet.track_event))
    slices, instants = [], []
    around: dict[int, list[Slice]] = defaultdict(list)
    for time, event in sorted(events, key=lambda pair: pair[0]):  # as Perfetto does: stable, by time
        stack = around[event.track_uuid]
        if event.type == event.TYPE_SLICE_END:
            slices.append(stack.pop()._replace(end=time))
            continue
        facts = {}
        for annotation in event.debug_annotations:
            which = annotation.WhichOneof("value")
            value = getattr(annotation, which)
            name = tables["debug_annotation_names"][annotation.name_iid]
            interned = tables["debug_annotation_string_values"]
            facts[name] = interned[value] if which == "string_value_iid" else value
        (category,) = (tables["event_categories"][number] for number in event.category_iids)
        found = Slice(tracks[event.track_uuid], category, event.name, time, time, len(stack), facts,
                      list(event.flow_ids), list(event.terminating_flow_ids))  # fmt: skip
        if event.type == event.TYPE_INSTANT:
            instants.append(found)
        else:
            assert event.type == event.TYPE_SLICE_BEGIN
            stack.append(found)
    assert not any(around.values()), "each slice ends"
    return sorted(slices, key=lambda one: one.begin), instants


def exported(path: Path, entries: list[Entry], **meta: str | int) -> tuple[Counts, list[Slice], list[Slice]]:
    counts = export(written(path, entries, **meta), path / "out")
    return counts, *parse(path / "out")


@needs_perfetto
def test_every_operation_is_a_slice_on_the_track_of_its_thread(tmp_path: Path) -> None:
    entries = sample()
    counts, slices, _ = exported(tmp_path, entries)
    wanted = Counter((one.thread_name, one.kind) for one in entries)
    wanted.update((one.thread_name, "driver") for one in entries if one.ready_ns)
    assert Counter((one.track, one.category) for one in slices) == wanted
    assert counts.slices == len(slices)


@needs_perfetto
def test_a_slice_tells_what_the_entry_does(tmp_path: Path) -> None:
    one = entry("wait", begin_ns=10, ready_ns=15, end_ns=30, generation=3, error="RuntimeError", detail="more")
    _, slices, _ = exported(tmp_path, [one])
    wait, driver = slices
    assert wait[:6] == ("producer", "wait", "wait ready g3", 10, 30, 0)
    assert wait.facts == {
        "event": "ready",
        "generation": 3,
        "stream": "cuda:0 stream 1",
        "device": "cuda:0",
        "place": "app.py:12",
        "error": "RuntimeError",
        "detail": "more",
    }
    assert driver[:6] == ("producer", "driver", "driver ready g3", 15, 30, 1)


@needs_perfetto
def test_each_hand_off_has_one_arrow_from_its_record_into_its_wait(tmp_path: Path) -> None:
    entries = sample()
    counts, slices, _ = exported(tmp_path, entries)
    records = {(one.event, one.generation) for one in entries if one.kind == "record"}
    waits = [(one.event, one.generation) for one in entries if one.kind in WAITS and one.generation]
    assert counts.flows == len(records) == len(waits)
    leaving = {number: one for one in slices for number in one.leaving}
    arriving = {number: one for one in slices for number in one.arriving}
    assert len(leaving) == sum(len(one.leaving) for one in slices) == counts.flows
    assert leaving.keys() == arriving.keys()
    for number, record in leaving.items():
        wait = arriving[number]
        assert (record.category, wait.category) == ("record", "driver")
        assert record.name.removeprefix("record ") == wait.name.removeprefix("driver ")
        assert record.begin < wait.begin, "Perfetto turns an arrow round that goes back in time"


@needs_perfetto
@pytest.mark.parametrize(
    ("change", "flows"),
    [
        ({}, 1),
        ({"event_id": 2}, 0),
        ({"generation": 2}, 0),
        ({"generation": 0}, 0),
        ({"error": "RuntimeError"}, 0),
        ({"ready_ns": 0}, 1),  # it began after the record
        ({"ready_ns": 0, "begin_ns": 50}, 0),
        ({"ready_ns": 90, "begin_ns": 50}, 0),  # it did not wait for this record
        ({"kind": "use"}, 0),
    ],
    ids=str,
)
def test_an_arrow_needs_both_ends(tmp_path: Path, change: dict[str, Any], flows: int) -> None:
    record = entry("record", begin_ns=100, end_ns=110)
    wait = entry("wait", thread=2, thread_name="consumer", begin_ns=105, ready_ns=115, end_ns=120)._replace(**change)
    counts, slices, _ = exported(tmp_path, [wait, record])
    assert counts.flows == flows
    assert sum(len(one.leaving) for one in slices) == sum(len(one.arriving) for one in slices) == flows


@needs_perfetto
def test_two_waits_for_one_record_get_one_arrow(tmp_path: Path) -> None:
    wait = entry("wait", thread=2, thread_name="consumer", begin_ns=105, ready_ns=215, end_ns=220)
    counts, slices, _ = exported(tmp_path, [entry("record"), wait, wait._replace(thread=3, thread_name="late")])
    assert counts.flows == 1
    assert sum(len(one.arriving) for one in slices) == 1


@needs_perfetto
def test_a_broken_rule_is_an_instant_in_the_slice_that_broke_it(tmp_path: Path) -> None:
    entries = sample()
    _, _, instants = exported(tmp_path, entries)
    found = sorted(
        (one.track, one.name, one.facts["message"], one.begin, one.depth)
        for one in instants
        if one.category == "violation"
    )
    assert found == sorted((one.thread_name, *broken, one.begin_ns, 1) for one in entries for broken in one.violations)


@needs_perfetto
def test_a_stream_has_an_instant_where_the_device_came_to_it_or_the_driver_call_returned(tmp_path: Path) -> None:
    entries = sample()
    counts, _, instants = exported(tmp_path, entries)
    found = Counter((one.track, one.name, one.begin) for one in instants if one.category == "stream")
    assert found == Counter(
        (one.stream, f"{one.kind} {one.event} g{one.generation}", one.device_ns or one.end_ns)
        for one in entries
        if one.stream and one.end_ns and not one.error and one.kind in ("record", *WAITS)
    )
    assert counts.instants == len(instants)


@needs_perfetto
def test_an_unfinished_wait_is_a_slice_up_to_the_end_of_the_trace(tmp_path: Path) -> None:
    open_wait = entry("wait", thread=2, thread_name="consumer", begin_ns=50, end_ns=0, generation=0)
    stuck = entry("synchronize", thread=3, thread_name="stuck", begin_ns=60, ready_ns=70, end_ns=0)
    _, slices, instants = exported(tmp_path, [open_wait, stuck, entry("record", begin_ns=65, end_ns=900)])
    unfinished = [(one.category, one.begin, one.end) for one in slices if one.facts.get("unfinished")]
    assert unfinished == [("wait", 50, 900), ("synchronize", 60, 900), ("driver", 70, 900)]
    assert [one.category for one in instants] == ["stream"]


@needs_perfetto
def test_an_unfinished_call_leaves_its_mark_on_no_other(tmp_path: Path) -> None:
    calls = [entry("use", begin_ns=begin, end_ns=end) for begin, end in ((10, 20), (30, 0), (40, 50))]
    _, slices, _ = exported(tmp_path, calls)
    assert [(one.begin, one.facts.get("unfinished", False)) for one in slices] == [(10, False), (30, True), (40, False)]


@needs_perfetto
def test_of_two_calls_that_begin_together_the_longer_one_is_around_the_other(tmp_path: Path) -> None:
    calls = [entry("use", event=event, begin_ns=10, end_ns=end) for event, end in (("inner", 20), ("outer", 30))]
    for order in (calls, calls[::-1]):
        _, slices, _ = exported(tmp_path, order)
        assert sorted((one.depth, one.name, one.end) for one in slices) == [
            (0, "use outer g1", 30),
            (1, "use inner g1", 20),
        ]


@needs_perfetto
@pytest.mark.parametrize("seed", range(200))
def test_slices_nest_whatever_the_times(tmp_path: Path, seed: int) -> None:
    """Few times, so that many are equal; also calls that overlap, which no thread can make."""
    draw = random.Random(seed)
    entries = [
        entry(
            draw.choice(("record", "wait", "use")),
            thread=draw.randrange(2),
            begin_ns=(begin := draw.randrange(1, 12)),
            ready_ns=(ready := draw.choice((0, begin + draw.randrange(3)))),
            end_ns=draw.choice((0, max(begin, ready) + draw.randrange(4))),
            event=f"e{number}",
            event_id=number + 1,
        )
        for number in range(draw.randrange(1, 12))
    ]
    counts, slices, _ = exported(tmp_path, entries)
    last = max(max(one.begin_ns, one.ready_ns, one.end_ns) for one in entries)
    wanted = {}
    for one in entries:
        wanted[f"{one.kind} {one.event} g1"] = one.thread, one.begin_ns, one.end_ns or last
        if one.kind == "wait" and one.ready_ns:
            wanted[f"driver {one.event} g1"] = one.thread, one.ready_ns, one.end_ns or last
    assert {one.name: one.begin for one in slices} == {name: begin for name, (_, begin, _) in wanted.items()}
    assert counts.slices == len(slices) == len(wanted)
    for one in slices:
        thread, begin, end = wanted[one.name]
        around = [other for other in slices if wanted[other.name][0] == thread and other.begin <= begin]
        assert one.end == end or one.end in [other.end for other in around if other is not one and one.end < end]


@needs_perfetto
def test_calls_one_after_the_other_do_not_nest(tmp_path: Path) -> None:
    """The end of one is the beginning of the next, and some take no time at all."""
    times = [(1, 5), (5, 5), (5, 9), (9, 9), (9, 12)]
    entries = [
        entry("use", begin_ns=begin, end_ns=end, detail=str(number)) for number, (begin, end) in enumerate(times)
    ]
    for shuffled in itertools.permutations(entries):
        _, slices, _ = exported(tmp_path, list(shuffled))
        assert sorted((one.begin, one.end) for one in slices) == times
        assert [one.depth for one in slices if one.begin != one.end] == [0, 0, 0]


@needs_perfetto
def test_threads_that_share_an_ident_or_a_name_have_tracks_of_their_own(tmp_path: Path) -> None:
    entries = [entry(thread=thread, thread_name=name) for thread in (1, 2) for name in ("a", "b")]
    entries.append(entry(thread=9, thread_name="MainThread", flags=FLAG_MAIN))
    export(written(tmp_path, entries, pid=4242), tmp_path / "out")
    packets = protos.Trace.FromString((tmp_path / "out").read_bytes()).packet
    threads = [packet.track_descriptor.thread for packet in packets if packet.track_descriptor.HasField("thread")]
    assert {thread.pid for thread in threads} == {4242}
    assert sorted((thread.tid, thread.thread_name) for thread in threads) == [
        (4242, "MainThread"), (4243, "a"), (4244, "b"), (4245, "a"), (4246, "b"),
    ]  # fmt: skip


@needs_perfetto
def test_the_cache_of_packets_may_be_of_any_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = exported(tmp_path, sample())
    monkeypatch.setattr(exporter, "_TEMPLATES_KEPT", 1)
    assert exported(tmp_path, sample()) == whole


@needs_perfetto
def test_the_export_does_not_overwrite_its_trace(tmp_path: Path) -> None:
    trace = written(tmp_path, sample())
    with pytest.raises(ValueError, match="is the trace itself"):
        export(trace, tmp_path / "t")
    assert list(trace)


@needs_perfetto
def test_an_export_that_cannot_be_written_is_an_os_error(tmp_path: Path) -> None:
    trace = written(tmp_path, sample())
    with pytest.raises(OSError, match=r"[Nn]o such file or directory"):
        export(trace, tmp_path / "nowhere" / "out")
    with pytest.raises(OSError, match=r"[Ii]s a directory"):
        export(trace, tmp_path)


def test_without_the_package_the_export_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    really = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name.startswith("perfetto"):
            raise ModuleNotFoundError(f"No module named {name!r}")
        return really(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'cpugpu\[trace\]'$"):
        export(written(tmp_path, sample()), tmp_path / "out")
