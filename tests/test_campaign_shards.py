"""What a shard may do to itself, to those it has started, and to those that watch it."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cpugpu.campaign import Entry, LocalProcesses, Once, Target, read, run
from tests.test_campaign import replays, template

WATCHER = """
import sys
import tempfile
from cpugpu.campaign import LocalProcesses, Once, Shard, Target, run
target = Target("s", sys.argv[1], "stress_it", "it")
shard = Shard(0, Target("", "", "", ""), "sim", 7, 0.0, paths=tuple(sys.path))
run(Once([target], 600.0), LocalProcesses(1), template=shard, replays={"s": ""})
"""


@pytest.fixture
def processes() -> Iterator[LocalProcesses]:
    executor = LocalProcesses(2, silence=5.0)
    yield executor
    executor.close()


class Alive:
    """A named pipe: whoever holds its other end lives. `opened` is the code that opens that end."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self._file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self._ours = os.open(path, os.O_WRONLY)  # until another has come, it is no end that nobody holds one
        os.set_blocking(self._file, True)
        self.opened = f"held = os.open({str(path)!r}, os.O_WRONLY)\n    os.write(held, b'here')\n"

    def begun(self) -> bool:
        """Wait for a holder."""
        here = os.read(self._file, 4)
        os.close(self._ours)
        return here == b"here"

    def ended(self) -> bool:
        """Wait until there is none any more."""
        return os.read(self._file, 4) == b""

    def close(self) -> None:
        os.close(self._file)


@pytest.fixture
def alive(tmp_path: Path) -> Iterator[Alive]:
    pipe = Alive(tmp_path / "alive")
    yield pipe
    pipe.close()


def scenario_file(folder: Path, body: str) -> Path:
    path = folder / "stress_it.py"
    path.write_text(
        "import ctypes, os, signal, subprocess, time\nfrom cpugpu import scenario\n\n"
        f"@scenario(accept=['done'])\ndef it(rig):\n    {body}\n    return 'done'\n"
    )
    return path


def entry_of(processes: LocalProcesses, folder: Path, body: str, seconds: float = 0.05) -> Entry:
    """What becomes of a shard of the scenario with that body."""
    target = Target("s", str(scenario_file(folder, body)), "stress_it", "it", title="it")
    results = folder / "results.jsonl"
    found = run(Once([target], seconds), processes, template=template(results), replays=replays([target]))
    assert len(found.entries) == 1
    assert len(read(results).entries) == 1, "nobody else has spoken for it"
    return found.entries[0]


FORKS = "if os.fork() == 0:\n        signal.pause()\n    "


def test_a_shard_that_dies_while_a_fork_of_it_lives(processes: LocalProcesses, tmp_path: Path, alive: Alive) -> None:
    entry = entry_of(processes, tmp_path, f"{alive.opened}    {FORKS}os.kill(os.getpid(), signal.SIGKILL)")
    assert entry.fault is not None
    assert (entry.fault.kind, "SIGKILL" in entry.fault.text) == ("killed", True)
    assert alive.begun()
    assert alive.ended(), "the fork too"


@pytest.mark.parametrize(
    "starts", [FORKS, "subprocess.Popen(['sleep', '1000'], pass_fds=[held])\n    "], ids=["fork", "subprocess"]
)
def test_what_a_shard_has_started_ends_with_it(
    processes: LocalProcesses, tmp_path: Path, alive: Alive, starts: str
) -> None:
    body = (
        f"if os.environ.get('STARTED'): return 'done'\n    os.environ['STARTED'] = '1'\n    {alive.opened}    {starts}"
    )
    entry = entry_of(processes, tmp_path, body)
    assert (entry.fault, entry.result is not None and entry.result.passed) == (None, True)
    assert alive.begun()
    assert alive.ended()


def test_a_fork_that_goes_on_as_the_shard_does_not_speak_for_it(processes: LocalProcesses, tmp_path: Path) -> None:
    entry = entry_of(processes, tmp_path, "os.fork()")
    assert (entry.fault, entry.result is not None and entry.result.passed) == (None, True)


def test_a_shard_that_closes_its_files(processes: LocalProcesses, tmp_path: Path) -> None:
    entry = entry_of(processes, tmp_path, "os.closerange(3, 256)", seconds=600.0)
    assert entry.fault is not None
    assert (entry.fault.kind, entry.fault.text) == ("crashed", "its process ended with status 1 and without a result")


@pytest.mark.skipif(not hasattr(signal, "SIGRTMIN"), reason="there are no signals of real time here")
def test_a_signal_without_a_name(processes: LocalProcesses, tmp_path: Path) -> None:
    number = signal.SIGRTMIN + 3
    entry = entry_of(processes, tmp_path, f"os.kill(os.getpid(), {number})")
    assert entry.fault is not None
    assert (entry.fault.kind, entry.fault.text) == ("killed", f"its process was ended by signal {number}")


def test_a_shard_that_is_dead_when_it_is_to_be_killed(processes: LocalProcesses, tmp_path: Path) -> None:
    path = scenario_file(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)")
    shard = dataclasses.replace(template(), target=Target("s", str(path), "stress_it", "it"), seconds=0.05)
    processes.submit(shard)
    processes._running[0].process.join()
    assert processes._hung(0).fault is not None


@pytest.mark.parametrize("does", ["signal.pause()", "ctypes.PyDLL(None).pause()"], ids=["waits", "holds the GIL"])
def test_nothing_outlives_a_watcher_that_was_killed(tmp_path: Path, alive: Alive, does: str) -> None:
    """Neither the shard nor what it has started, nor the folder; and nobody holds the terminal open."""
    path = scenario_file(tmp_path, f"{alive.opened}    {FORKS}{does}")
    with tempfile.TemporaryDirectory() as folder:  # a short name, for multiprocessing has sockets there
        environment = {**os.environ, "TMPDIR": folder, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = [sys.executable, "-c", WATCHER, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as watcher:
            try:
                assert alive.begun()
            finally:
                watcher.kill()
            assert alive.ended()
            assert watcher.stdout is not None
            assert watcher.stdout.read() == b""
        assert not list(Path(folder).glob("cpugpu-*"))


def test_a_width_that_nobody_has() -> None:
    executor = LocalProcesses(99_999_999_999)
    executor.submit(dataclasses.replace(template(), seconds=0.05))
    executor.close()
