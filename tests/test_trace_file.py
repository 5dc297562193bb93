"""The trace file: what is written is read again, in bounded space, and what is no trace is refused in one line."""

from __future__ import annotations

import errno
import os
import struct
import tempfile
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpugpu.trace import Entry, Trace, TraceError, TraceWriter, read, writer
from cpugpu.trace.format import BLOCK_HEADER, BLOCK_MAGIC, FILE_HEADER, META, NAMES, OPERATIONS, ROW, VERSION
from tests.e2e.sample import entry, sample


def write(path: Path, *batches: list[Entry], limit: int = 1 << 30, **meta: str | int) -> Path:
    """A trace of these writes."""
    trace_writer = TraceWriter(path, limit=limit, meta=meta)
    for batch in batches:
        trace_writer.write(batch)
    trace_writer.close()
    return path


def problem(path: Path) -> str:
    """What the reader says about a file that it refuses."""
    with pytest.raises(TraceError) as refused:
        read(path)
    text = str(refused.value)
    assert "\n" not in text
    assert text.startswith(str(path))
    return text.removeprefix(f"{path}: ")


# -- what is written is read ---------------------------------------------------------------------------------------

natural = st.integers(0, 2**63 - 1)
index = st.integers(-1, 2**31)
words = st.sampled_from(["", "record", "wait", "ready", "ein Wörtchen", "a\nb"]) | st.text()


def some_entries(end_ns: st.SearchStrategy[int]) -> st.SearchStrategy[Entry]:
    return st.builds(
        Entry, words, words, natural, st.sampled_from([1, 2]) | natural, words, words, words, words, index, index,
        natural, natural, st.sampled_from([1, 2]) | natural, natural, end_ns, natural, natural, natural, words, words,
        words, st.lists(st.tuples(words, words), max_size=2).map(tuple),
    )  # fmt: skip


@pytest.mark.parametrize("times", [40, pytest.param(200, marks=pytest.mark.slow)])
def test_every_entry_comes_back_as_it_was(times: int) -> None:
    settings(max_examples=times, deadline=None)(given(BATCHES)(comes_back))()


BATCHES = st.lists(st.lists(some_entries(st.integers(1, 2**63 - 1)), max_size=5), max_size=5)


def comes_back(batches: list[list[Entry]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        trace = read(write(Path(folder, "t"), *batches))
        assert list(trace) == [entry for batch in batches for entry in batch]
        assert all(type(entry) is Entry for entry in trace)
        assert trace.rows == sum(map(len, batches))


def key(entry: Entry) -> tuple[Any, ...]:
    return entry.thread, entry.event_id, entry.kind, entry.begin_ns


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 2), st.integers(1, 2), st.integers(0, 2)), max_size=12))
@settings(max_examples=200, deadline=None)
def test_an_unfinished_entry_stays_only_if_none_of_the_same_call_follows(
    calls: list[tuple[str, int, int, int]],
) -> None:
    entries = [
        entry(kind, thread=thread, begin_ns=begin, end_ns=end, detail=str(number))
        for number, (kind, thread, begin, end) in enumerate(calls)
    ]
    left = [
        one
        for number, one in enumerate(entries)
        if one.end_ns or key(one) not in {key(later) for later in entries[number + 1 :]}
    ]
    with tempfile.TemporaryDirectory() as folder:
        found = list(read(write(Path(folder, "t"), entries)))
    assert Counter(found) == Counter(left)
    assert [one for one in found if one.end_ns] == [one for one in entries if one.end_ns]


def test_the_end_of_a_call_may_come_in_a_later_file(tmp_path: Path) -> None:
    begun = entry("wait", begin_ns=5, end_ns=0)
    done = begun._replace(end_ns=9, generation=1)
    others = [entry(begin_ns=10, detail="x" * 100) for _ in range(10)]
    trace = read(write(tmp_path / "t", [begun], others, [done], limit=2_000))
    assert len(trace.parts) == 2
    assert list(trace) == [*others, done]


def test_the_meta_comes_back(tmp_path: Path) -> None:
    meta: dict[str, str | int] = {"pid": 4242, "argv": "train.py --größe", "empty": ""}
    assert read(write(tmp_path / "t", [], **meta)).meta == meta


def test_a_name_that_is_no_unicode_is_written_with_question_marks(tmp_path: Path) -> None:
    trace = read(write(tmp_path / "t", [entry(thread_name="bad \udcff name")], argv="\ud800"))
    assert [one.thread_name for one in trace] == ["bad ? name"]
    assert trace.meta == {"argv": "?"}


def test_the_tables_of_the_writer_stay_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program may make an event for each hand-off."""
    monkeypatch.setattr(writer, "NAMES_KEPT", 10)
    batches = [[entry(event_id=1 + 4 * number + n % 4, detail=str(n)) for n in range(8)] for number in range(20)]
    trace_writer = TraceWriter(tmp_path / "t", limit=1 << 30, meta={})
    for batch in batches:
        trace_writer.write(batch)
        assert len(trace_writer._heads) + len(trace_writer._tails) <= 10 + 2 * 8
    trace_writer.close()
    assert list(read(tmp_path / "t")) == [one for batch in batches for one in batch]


def test_a_trace_can_be_read_while_it_grows(tmp_path: Path) -> None:
    trace_writer = TraceWriter(tmp_path / "t", limit=1 << 30, meta={})
    trace_writer.write([entry(begin_ns=1)])
    trace = read(tmp_path / "t")
    trace_writer.write([entry(begin_ns=2)])
    assert [one.begin_ns for one in trace] == [1]
    assert [one.begin_ns for one in read(tmp_path / "t")] == [1, 2]
    trace_writer.close()


def test_a_trace_that_was_replaced_since_is_not_read_on(tmp_path: Path) -> None:
    trace = read(write(tmp_path / "t", [entry()]))
    write(tmp_path / "t", [entry()])
    with pytest.raises(TraceError, match="was replaced while it was read"):
        list(trace)


# -- in bounded space ----------------------------------------------------------------------------------------------


def test_both_files_together_keep_the_limit_and_hold_the_newest_entries(tmp_path: Path) -> None:
    path, limit = tmp_path / "t", 20_000
    entries = [entry(begin_ns=1 + number, place=f"app.py:{number % 50}") for number in range(3_000)]
    trace_writer = TraceWriter(path, limit=limit, meta={"pid": 1})
    for number in range(0, len(entries), 10):
        trace_writer.write(entries[number : number + 10])
        assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= limit
    trace_writer.close()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["t", "t.1"]
    trace = read(path)
    found = list(trace)
    assert found == entries[-len(found) :]
    assert len(found) * ROW.size > limit / 4  # not less than what one full file holds
    assert trace.lost_parts > 10
    assert trace.meta == {"pid": 1}


def test_one_write_of_more_than_half_the_limit_goes_out_whole(tmp_path: Path) -> None:
    entries = [entry(begin_ns=1 + number) for number in range(100)]
    assert list(read(write(tmp_path / "t", entries, limit=100))) == entries


def rotated(path: Path) -> list[Entry]:
    entries = [entry(begin_ns=1 + number) for number in range(100)]
    write(path, *([one] for one in entries), limit=6_000)
    assert Path(f"{path}.1").exists()
    return list(read(path))


def test_a_new_run_removes_both_files_of_the_one_before(tmp_path: Path) -> None:
    rotated(tmp_path / "t")
    write(tmp_path / "t", [entry()])
    assert [file.name for file in tmp_path.iterdir()] == ["t"]


def test_the_older_file_of_another_run_is_left_aside(tmp_path: Path) -> None:
    rotated(tmp_path / "other")
    found = rotated(tmp_path / "t")
    os.replace(tmp_path / "other.1", tmp_path / "t.1")
    trace = read(tmp_path / "t")
    assert len(trace.parts) == 1
    assert list(trace) == found[-trace.rows :]


@pytest.mark.parametrize("left", ["nothing", "an empty file"])
def test_a_program_that_was_killed_between_two_files_leaves_the_older_one(tmp_path: Path, left: str) -> None:
    found = rotated(tmp_path / "t")
    newest = list(read(tmp_path / "t.1"))
    if left == "nothing":
        (tmp_path / "t").unlink()
    else:
        (tmp_path / "t").write_bytes(b"")
    assert list(read(tmp_path / "t")) == newest == found[: len(newest)]


def test_the_older_file_may_not_be_cut(tmp_path: Path) -> None:
    found = rotated(tmp_path / "t")
    older = tmp_path / "t.1"
    older.write_bytes(older.read_bytes()[:-1])
    with pytest.raises(TraceError, match=r"t\.1: byte \d+: a block is cut short, though a further file follows") as no:
        read(tmp_path / "t")
    assert no.value.partial is not None
    rest = list(no.value.partial)
    assert 0 < len(rest) < len(found)
    assert rest == found[: len(rest)]


# -- a disk that fills up ------------------------------------------------------------------------------------------


def test_a_full_disk_ends_the_trace_and_what_was_written_stays_readable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace_writer = TraceWriter(tmp_path / "t", limit=1 << 30, meta={})
    trace_writer.write([entry(begin_ns=1)])
    whole, really, room = (tmp_path / "t").stat().st_size, os.write, [30]

    def nearly_full(file: int, data: Any) -> int:
        if not room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return really(file, data[: room.pop()])

    monkeypatch.setattr(os, "write", nearly_full)
    with pytest.raises(OSError, match="No space left"):
        trace_writer.write([entry(begin_ns=2)])
    monkeypatch.undo()
    with pytest.raises(ValueError, match="is closed"):
        trace_writer.write([entry(begin_ns=3)])
    trace = read(tmp_path / "t")
    assert [one.begin_ns for one in trace] == [1]
    assert trace.cut_at == whole
    assert (tmp_path / "t").stat().st_size == whole + 30


def test_a_device_without_room_is_an_os_error_from_the_start() -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    with pytest.raises(OSError, match="No space left"):
        TraceWriter("/dev/full", limit=1000, meta={})


def test_closing_twice_is_nothing(tmp_path: Path) -> None:
    trace_writer = TraceWriter(tmp_path / "t", limit=1000, meta={})
    trace_writer.close()
    trace_writer.close()


@pytest.mark.parametrize(
    "wrong",
    [{"begin_ns": -1}, {"end_ns": 2**63}, {"generation": "one"}, {"event_id": -1}, {"thread": "one"}, {"place": None}],
)
def test_the_writer_refuses_what_the_reader_would_refuse(tmp_path: Path, wrong: dict[str, Any]) -> None:
    trace_writer = TraceWriter(tmp_path / "t", limit=1 << 30, meta={})
    trace_writer.write([entry()])
    with pytest.raises(ValueError, match=r"\w"):
        trace_writer.write([entry(**wrong)])
    assert list(read(tmp_path / "t")) == [entry()]


# -- what is no trace ----------------------------------------------------------------------------------------------


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    assert problem(tmp_path / "t") == "cannot be read: No such file or directory"


def test_a_directory_is_said_to_be_one(tmp_path: Path) -> None:
    assert problem(tmp_path) == "is a directory"


def test_a_pipe_is_refused_and_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "t")
    assert problem(tmp_path / "t") == "is not a file"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "byte 0: is empty"),
        (b"hello", "byte 0: is not a trace of cpugpu"),
        (b"#!/bin/sh\n" * 100, "byte 0: is not a trace of cpugpu"),
        (FILE_HEADER.pack(b"\x89cpugpu\n", VERSION, 1, b"", 0), "byte 0: the header of the file is damaged"),
        (FILE_HEADER.pack(b"\x89cpugpu\n", 0, 1, b"", 0), "byte 8: the header of the file is damaged"),
        (FILE_HEADER.pack(b"\x89cpugpu\n", VERSION, 1, b"", 0)[:20], "byte 8: the header of the file is damaged"),
    ],
    ids=["empty", "short", "text", "damaged", "version 0", "cut"],
)
def test_what_is_no_trace_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "t").write_bytes(content)
    assert problem(tmp_path / "t") == said


def test_a_newer_format_is_refused_with_both_versions(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(struct.pack("<8sI", b"\x89cpugpu\n", VERSION + 1))
    said = problem(tmp_path / "t")
    assert f"version {VERSION + 1}" in said
    assert f"up to {VERSION}" in said


# -- what has all the right checks, and is wrong all the same ------------------------------------------------------

META_BLOCK = (META, b"{}")
HEAD = '["record","e",1,1,"t","s","c","d",0,0,0,0]'
NAMES_BLOCK = (NAMES, f'[0,0,[{HEAD}],[["p","",""]]]'.encode())
GOOD = (OPERATIONS, ROW.pack(0, 0, 1, 0, 2, 1, 0, 0))


def forge(path: Path, blocks: list[tuple[int, bytes]]) -> Path:
    """A file with these blocks, and checks that hold."""
    header = FILE_HEADER.pack(b"\x89cpugpu\n", VERSION, 1, bytes(16), 0)[:-4]
    check = zlib.crc32(header)
    data = header + struct.pack("<I", check)
    for block_type, payload in blocks:
        start = BLOCK_HEADER.pack(BLOCK_MAGIC, block_type, len(payload), zlib.crc32(payload), 0)[:-4]
        check = zlib.crc32(start, check)
        data += start + struct.pack("<I", check) + payload
    path.write_bytes(data)
    return path


def test_the_forger_can_forge(tmp_path: Path) -> None:
    trace = read(forge(tmp_path / "t", [META_BLOCK, NAMES_BLOCK, GOOD]))
    assert [(one.event, one.end_ns, one.place) for one in trace] == [("e", 2, "p")]


def names(text: str) -> list[tuple[int, bytes]]:
    return [META_BLOCK, (NAMES, text.encode())]


@pytest.mark.parametrize(
    "blocks",
    [
        [NAMES_BLOCK],
        [META_BLOCK, META_BLOCK],
        [(META, b"[]")],
        [(META, b'{"pid": [1]}')],
        [(META, b'{"pid": "\xff"}')],
        [(META, b'{"pid": "\\ud800"}')],
        [(META, b"{")],
        [(META, b'{"pid": ' + b"9" * 5000 + b"}")],
        [META_BLOCK, (99, b"")],
        [META_BLOCK, NAMES_BLOCK, (OPERATIONS, b"")],
        [META_BLOCK, NAMES_BLOCK, (OPERATIONS, GOOD[1][:-1])],
        [META_BLOCK, NAMES_BLOCK, (OPERATIONS, ROW.pack(1, 0, 1, 0, 2, 1, 0, 0))],
        [META_BLOCK, NAMES_BLOCK, (OPERATIONS, ROW.pack(0, 2**32 - 1, 1, 0, 2, 1, 0, 0))],
        [META_BLOCK, NAMES_BLOCK, (OPERATIONS, ROW.pack(0, 0, -1, 0, 2, 1, 0, 0))],
        [META_BLOCK, NAMES_BLOCK, (OPERATIONS, ROW.pack(0, 0, 1, 0, 2, 1, 0, -1))],
        [META_BLOCK, NAMES_BLOCK, NAMES_BLOCK, (OPERATIONS, ROW.pack(1, 0, 1, 0, 2, 1, 0, 0))],
        names("[0,0]"),
        names("[0,0,5,[]]"),
        names('[0,0,["abcdefghijkl"],[]]'),
        names("[0,0,[7],[]]"),
        names("[1,0,[],[]]"),
        names("[0.0,0,[],[]]"),
        names(f"[0,0,[{HEAD.replace('1', 'true', 1)}],[]]"),
        names(f"[0,0,[{HEAD.replace('1', '-1', 1)}],[]]"),
        names(f"[0,0,[{HEAD.replace('1', str(2**63), 1)}],[]]"),
        names(f"[0,0,[{HEAD.replace(',0]', ']')}],[]]"),
        names('[0,0,[],[["p","","","rule"]]]'),
        names('[0,0,[],[["p","",5]]]'),
        names("[0,0,[],[[]]]"),
        names("[" * 100_000),
        names("NaN"),
    ],
    ids=lambda blocks: repr(blocks[-1])[:40],
)
def test_a_wrong_block_is_refused_though_its_checks_hold(tmp_path: Path, blocks: list[tuple[int, bytes]]) -> None:
    said = problem(forge(tmp_path / "t", blocks))
    last = FILE_HEADER.size + sum(BLOCK_HEADER.size + len(payload) for _, payload in blocks[:-1])
    assert said.startswith(f"byte {last}: wrong contents: ")


def test_a_length_that_no_file_has_is_a_cut_and_takes_no_memory(tmp_path: Path) -> None:
    path = forge(tmp_path / "t", [META_BLOCK, NAMES_BLOCK, GOOD])
    start = BLOCK_HEADER.pack(BLOCK_MAGIC, OPERATIONS, 2**32 - 1, 0, 0)[:-4]
    data = path.read_bytes()
    check = struct.unpack_from("<I", data, len(data) - ROW.size - 4)[0]
    path.write_bytes(data + start + struct.pack("<I", zlib.crc32(start, check)) + b"x" * 100)
    trace = read(path)
    assert trace.cut_at == len(data)
    assert trace.rows == 1


def test_a_few_bytes_that_begin_no_block_are_damage_and_not_a_cut(tmp_path: Path) -> None:
    path = write(tmp_path / "t", [entry()])
    data = path.read_bytes()
    path.write_bytes(data + b"\x89bl")
    assert read(path).cut_at == len(data)
    path.write_bytes(data + b"\x89bx")
    assert problem(path) == f"byte {len(data)}: no block begins here"


def test_what_was_readable_before_the_damage_is_there(tmp_path: Path) -> None:
    entries = [entry(begin_ns=1 + number) for number in range(30)]
    path = write(tmp_path / "t", entries[:10], entries[10:20], entries[20:], pid=3)
    data = bytearray(path.read_bytes())
    data[-ROW.size * 15] ^= 1
    path.write_bytes(data)
    with pytest.raises(TraceError) as damaged:
        read(path)
    partial = damaged.value.partial
    assert isinstance(partial, Trace)
    assert list(partial) == entries[:10]
    assert partial.meta == {"pid": 3}
    assert damaged.value.offset == partial.parts[0].end


def test_the_sample_has_one_of_everything(tmp_path: Path) -> None:
    found = list(read(write(tmp_path / "t", sample())))
    assert {one.kind for one in found} >= {"made", "record", "wait", "synchronize", "ended"}
    assert any(one.violations for one in found)
    assert any(one.error for one in found)
    assert [one.end_ns for one in found].count(0) == 1
