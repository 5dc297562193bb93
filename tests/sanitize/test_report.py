"""Findings for people and programs, suppressions, places."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cpugpu.errors import BadInput
from cpugpu.sanitize import Event, Model, Storage, here, place_of, report, suppress
from cpugpu.sanitize.places import UNKNOWN


def line() -> int:
    return sys._getframe(1).f_lineno


def early_read(model: Model, times: int = 1) -> tuple[int, int]:
    main, stream, host = model.thread("main"), model.stream("cuda:0", 5), Storage("host", host=True)
    for _ in range(times):
        copied = line() + 1
        model.launch(main, stream, [(host, (0, 8), True)], "copy_", here())
        read = line() + 1
        model.host_access(main, [(host, (0, 8), False)], "tolist", here())
    return copied, read


def test_a_finding_has_both_places_the_edge_the_fix_and_a_count() -> None:
    model = Model()
    copied, read = early_read(model, times=3)
    (finding,) = model.findings
    assert finding.second is not None
    assert (finding.first.place.file, finding.first.place.line) == (__file__, read)
    assert (finding.second.place.line, finding.second.place.function) == (copied, "early_read")
    assert (finding.first.thread, finding.first.stream, finding.second.stream) == ("main", "", "cuda:0 stream 0x5")
    assert finding.missing.startswith("nothing orders main's tolist after copy_ on cuda:0 stream 0x5")
    assert finding.fix.startswith("synchronize with cuda:0 stream 0x5")
    assert finding.count == 3


def test_the_text_is_that_of_a_compiler_and_ends_with_what_to_do() -> None:
    model = Model()
    copied, read = early_read(model, times=2)
    text = report.text(model.findings, {"replay of a graph": 1200})
    lines = text.splitlines()
    assert lines[0] == f"{__file__}:{read}: host-read-early: tolist reads host (2 times)"
    assert f"{__file__}:{copied}" in text
    assert all(len(each) <= 120 or __file__ in each for each in lines)
    assert "  1,200 × replay of a graph" in lines
    assert lines[-2] == "1 finding, seen 2 times. Each needs the edge that its `fix` names."
    assert lines[-1].endswith(f"host-read-early:{__file__}:{read}")


def test_nothing_found_is_one_line() -> None:
    assert report.text(Model().findings) == "no findings"


def test_json_has_the_same() -> None:
    model = Model()
    copied, read = early_read(model)
    found = json.loads(report.as_json(model.findings, {"NCCL": 1}))
    (finding,) = found["findings"]
    assert [place["line"] for place in finding["places"]] == [read, copied]
    assert (finding["rule"], found["blind_spots"]) == ("host-read-early", {"NCCL": 1})


def test_an_early_wait_learns_where_the_record_came() -> None:
    model, event = Model(), Event()
    producer, consumer = model.thread("producer"), model.thread("consumer")
    from cpugpu.sanitize import Sync

    flag = Sync("ready")
    model.release(producer, flag, "Event.set", here())
    model.acquire(consumer, flag)
    model.wait(consumer, event, model.stream("cuda:0", 2), here())
    model.record(producer, event, model.stream("cuda:0", 1), here())
    (finding,) = model.findings
    assert finding.rule == "unrecorded-wait"
    assert "the flag comes before the record" in finding.notes[0]


def test_who_has_synchronized_is_named() -> None:
    model, x = Model(), Storage("x")
    main, other = model.thread("main"), model.thread("other")
    one, two = model.stream("cuda:0", 1), model.stream("cuda:0", 2)
    model.launch(main, one, [(x, (0, 8), True)], "fill")
    model.synchronize_stream(other, one)
    model.launch(main, two, [(x, (0, 8), True)], "fill")
    (finding,) = model.findings
    assert "thread other has waited" in finding.notes[0]


@pytest.mark.parametrize(
    ("line", "kept_out"),
    [
        ("host-read-early", True),
        ("host-read-early:test_report.py", True),
        ("host-read-early:*/tests/*", True),
        ("host-read-early:test_report.py:{read}", True),
        ("host-read-early:test_report.py:{copied}  # the other side counts too", True),
        ("host-read-early:test_report.py:early_read", True),
        ("host-read-early:test_report.py:1", False),
        ("host-read-early:other.py", False),
        ("race", False),
    ],
)
def test_a_suppression_is_by_rule_and_place(line: str, kept_out: bool) -> None:
    copied, read = early_read(Model())
    text = f"# a comment\n\n{line.format(copied=copied, read=read)}\n"
    model = Model(suppress.Suppressions(suppress.parse(text, source="file")))
    early_read(model)
    assert len(model.findings) == (0 if kept_out else 1)
    assert model.findings.suppressed == kept_out


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("hots-read-early", "'hots-read-early' begins with no rule; rules are captured-event-outside, "),
        ("race:a.py:1:2", "is neither RULE, RULE:PATH, RULE:PATH:LINE nor RULE:PATH:FUNCTION"),
        ("race:", "is neither RULE"),
        ("race:a.py:0", "lines are counted from 1"),
        ("race a.py", "begins with no rule"),
    ],
)
def test_an_error_names_the_line_what_was_given_and_what_is_allowed(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "supp.txt"
    path.write_text(f"# fine\nrace\n{line}\n")
    with pytest.raises(BadInput) as error:
        suppress.read(path)
    assert f"{path}, line 3: " in str(error.value)
    assert says in str(error.value)


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        suppress.read(tmp_path / "none")


def test_a_place_is_the_programs_own_at_any_depth() -> None:
    def deep(depth: int) -> object:
        return here() if depth == 0 else deep(depth - 1)

    place = place_of(deep(40))  # type: ignore[arg-type]
    assert place.file == __file__
    assert place.function.endswith("deep")
    assert place_of(None) is UNKNOWN


@pytest.mark.parametrize("handler", ["__torch_dispatch__", "__torch_function__"])
def test_a_place_is_where_the_program_works_not_where_its_mode_is_asked(handler: str) -> None:
    scope: dict[str, object] = {"here": here}
    text = f"def {handler}(): return here()\ndef work(): return {handler}()"
    exec(compile(text, "program.py", "exec"), scope)
    assert place_of(scope["work"]()).function == "work"  # type: ignore[operator]


def test_this_half_needs_no_torch() -> None:
    code = "import cpugpu.sanitize as s, sys; s.here(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
