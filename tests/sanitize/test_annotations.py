"""Kernels that cannot be seen are told of; findings stand in the trace."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from cpugpu.sanitize import annotate_read, annotate_write, watching  # noqa: E402
from cpugpu.simulate import simulate  # noqa: E402
from cpugpu.trace import export, read, summarize  # noqa: E402


def rules_of(program: Callable[[], None]) -> set[str]:
    with simulate(), watching() as session:
        program()
    return {finding.rule for finding in session.model.findings}


@pytest.mark.parametrize(("tell", "found"), [(annotate_read, set()), (annotate_write, {"race"})])
def test_it_is_an_access_on_the_current_stream(tell: Any, found: set[str]) -> None:
    def program() -> None:
        x, side = torch.ones(4, device="cuda"), torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            tell(x)
        (x + 1).tolist()

    assert rules_of(program) == found


@pytest.mark.parametrize("waits", [True, False])
def test_a_stream_can_be_given(waits: bool) -> None:
    def program() -> None:
        x, side = torch.ones(4, device="cuda"), torch.cuda.Stream()
        if waits:
            side.wait_stream(torch.cuda.current_stream())
        annotate_read(x, stream=side)

    assert rules_of(program) == (set() if waits else {"race"})


def test_a_view_stands_for_its_own_bytes() -> None:
    def program() -> None:
        x, side = torch.ones(8, device="cuda"), torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        annotate_write(x[:4], stream=side)
        x[4:].fill_(2)

    assert rules_of(program) == set()


@pytest.mark.parametrize("waits", [True, False])
def test_a_stream_that_writes_to_the_host(waits: bool) -> None:
    def program() -> None:
        host, side = torch.zeros(4).pin_memory(), torch.cuda.Stream()
        annotate_write(host, stream=side)
        if waits:
            side.synchronize()
        host.tolist()

    assert rules_of(program) == (set() if waits else {"host-read-early"})


def test_the_host_itself() -> None:
    def program() -> None:
        host, x = torch.zeros(4).pin_memory(), torch.ones(4, device="cuda")
        host.copy_(x, non_blocking=True)
        annotate_read(host)

    assert rules_of(program) == {"host-read-early"}


def test_nothing_happens_while_nobody_watches() -> None:
    annotate_write(torch.zeros(4))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [((42,), "takes a tensor, not int"), ((torch.zeros(1), 7), "takes a stream of torch's, or None, not int")],
)
def test_what_is_no_tensor_or_no_stream(arguments: tuple[Any, ...], says: str) -> None:
    with pytest.raises(TypeError, match=says):
        annotate_read(*arguments)


RACY = """
import torch
side = torch.cuda.Stream()
with torch.cuda.stream(side):
    x = torch.full((4,), 1.0, device="cuda")
y = x + 1
"""


def test_findings_stand_in_the_trace(tmp_path: Path) -> None:
    (tmp_path / "racy.py").write_text(RACY)
    trace = tmp_path / "trace"
    subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "cpugpu", "run", "--device", "sim", "racy.py"],
        cwd=tmp_path,
        env={"CPUGPU_TRACE": str(trace), "PYTHONPATH": str(Path(__file__).parents[2])},
        check=True,
        capture_output=True,
    )
    found = [(entry, violation) for entry in read(trace) for violation in entry.violations]
    ((entry, (rule, message)),) = found
    assert (rule, entry.kind, entry.thread_name) == ("race", "found", "MainThread")
    assert "racy.py:6" in message
    assert "racy.py:5" in message
    assert "race" in summarize(read(trace))
    assert export(read(trace), tmp_path / "perfetto.pftrace").instants == 1
