"""The debug mode in whole programs: processes that hang, die, fork and are killed, and what they leave behind."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from cpugpu.trace import read, summarize

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _no_process_is_left() -> Iterator[None]:
    yield
    for process in STARTED:
        process.kill()
        process.communicate()
    STARTED.clear()


STARTED: list[subprocess.Popen[str]] = []


def start(program: str, *arguments: object, **environment: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | environment,
    )
    STARTED.append(process)
    return process


def run(program: str, *arguments: object, **environment: str) -> tuple[int, str, str]:
    process = start(program, *arguments, **environment)
    out, err = process.communicate()
    return process.returncode, out, err


def read_until(process: subprocess.Popen[str], *words: str) -> str:
    """What it prints as errors, up to the line where the last of the words has come; then it is killed."""
    assert process.stderr is not None
    lines, missing = [], set(words)
    for line in process.stderr:
        lines.append(line)
        missing -= {word for word in missing if word in line}
        if not missing:
            break
    process.kill()
    process.communicate()
    return "".join(lines)


#: The producer of an event dies between two records; its consumer waits.
DEAD_PRODUCER = """
import threading
from cpugpu import CpuGpuEvent
consumed, taken = CpuGpuEvent("host", name="consumed"), threading.Event()
def worker():
    consumed.record()
    taken.wait()
    raise RuntimeError("NCCL communicator was aborted")
threading.Thread(target=worker, name="async worker").start()
consumed.wait()
taken.set()
consumed.wait()
"""

#: The hand-shake of EPLB: the worker dies in its first cycle, and the main thread hands the next one over.
DEAD_WORKER = """
import threading
from cpugpu import CpuGpuEvent
rearrange = CpuGpuEvent("sim", name="rearrange")
def worker():
    rearrange.wait()
    raise RuntimeError("NCCL communicator was aborted")
thread = threading.Thread(target=worker, name="async worker")
thread.start()
rearrange.record()
thread.join()
rearrange.record()
if __import__("sys").argv[1] == "wait":
    threading.Event().wait()
rearrange.record()
"""

CYCLE = """
import threading
from cpugpu import CpuGpuEvent
there, back = CpuGpuEvent("host", name="there"), CpuGpuEvent("host", name="back")
def ping():
    back.wait()
    there.record()
def pong():
    there.wait()
    back.record()
for function in (ping, pong):
    threading.Thread(target=function, name=function.__name__).start()
"""


def test_the_report_names_the_event_the_dead_thread_and_what_killed_it() -> None:
    text = read_until(start(DEAD_PRODUCER, CPUGPU_DEBUG="1"), "producer-died")
    (line,) = [line for line in text.splitlines() if line.startswith("producer-died")]
    assert "'consumed'" in line
    assert "async worker has ended (RuntimeError('NCCL communicator was aborted'))" in line


def test_in_log_mode_the_stall_report_names_them() -> None:
    process = start(DEAD_PRODUCER, CPUGPU_DEBUG="log", CPUGPU_STALL_SECONDS="0.3")
    text = read_until(
        process, "stalls in wait() of 'consumed'", "async worker, which has ended (RuntimeError(", "all threads"
    )
    assert "recorded generation 1" in text
    assert "producer-died" not in text


def test_a_dead_worker_of_the_eplb_hand_shake_is_named() -> None:
    text = read_until(start(DEAD_WORKER, "wait", CPUGPU_DEBUG="1", CPUGPU_STALL_SECONDS="60"), "consumer-died")
    (line,) = [line for line in text.splitlines() if line.startswith("consumer-died")]
    assert "'rearrange'" in line
    assert "async worker has ended (RuntimeError('NCCL communicator was aborted'))" in line


@pytest.mark.parametrize("program", [DEAD_PRODUCER, DEAD_WORKER, CYCLE])
def test_in_raise_mode_the_process_ends_by_itself(program: str) -> None:
    code, _, err = run(program, "go on", CPUGPU_DEBUG="raise", CPUGPU_STALL_SECONDS="60")
    assert "ProtocolViolation" in err
    assert code == (0 if program == CYCLE else 1)  # where other threads than the main one got it


def test_the_cycle_of_two_threads_is_named_before_anything_was_ever_recorded() -> None:
    text = read_until(start(CYCLE, CPUGPU_DEBUG="1"), "cross-thread-cycle")
    (line,) = [line for line in text.splitlines() if line.startswith("cross-thread-cycle")][:1]
    assert "ping waits for 'back'" in line
    assert "pong waits for 'there'" in line


STALL = """
import threading
from cpugpu import CpuGpuEvent
ready = CpuGpuEvent("sim", name="ready")
threading.Thread(target=ready.wait, name="consumer", daemon=True).start()
threading.Event().wait()
"""


def test_a_stall_is_reported_once_with_all_that_is_known() -> None:
    process = start(
        STALL.replace("threading.Event().wait()", "threading.Event().wait(3)"),
        CPUGPU_DEBUG="1",
        CPUGPU_STALL_SECONDS="0.3",
    )
    _, err = process.communicate()
    text = err[: err.index("waiting-at-exit")]
    assert text.count("consumer stalls in wait() of 'ready'") == 1
    for word in (
        "in       wait()",
        "producer unknown",
        "consumer → 'ready' → an unknown producer",
        "all threads:",
        "MainThread",
    ):
        assert word in text


def test_a_signal_brings_the_report() -> None:
    process = start(
        "import threading\n"
        + STALL.replace("threading.Event().wait()", "print('up', flush=True); threading.Event().wait()"),
        CPUGPU_DEBUG="1",
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGUSR2)
    text = read_until(process, "asked by a signal", "'ready': consumer has waited")
    assert "open wait" in text


def test_a_signal_that_the_program_uses_is_left_alone() -> None:
    program = """
import signal
signal.signal(signal.SIGUSR2, lambda *_: print("mine"))
from cpugpu import CpuGpuEvent
CpuGpuEvent("host")
signal.raise_signal(signal.SIGUSR2)
"""
    code, out, err = run(program, CPUGPU_DEBUG="1")
    assert (code, out.strip(), err) == (0, "mine", "")


@pytest.mark.parametrize(
    ("daemon", "told"),
    [
        (True, "waiting-at-exit: the interpreter ends, and consumer still waits for 'ready'"),
        (False, "cross-thread-cycle: deadlock: consumer waits for 'ready'"),  # it keeps the process from ending
    ],
)
def test_waits_that_are_open_at_exit_are_reported(daemon: bool, told: str) -> None:
    program = STALL.replace("threading.Event().wait()\n", "").replace("daemon=True", f"daemon={daemon}")
    assert told in read_until(start(program, CPUGPU_DEBUG="1"), told)


def test_threads_that_go_on_when_the_main_thread_has_ended_are_left_alone() -> None:
    program = """
import threading
from cpugpu import CpuGpuEvent
ready, back = CpuGpuEvent("host"), CpuGpuEvent("host")
pause = threading.Event()
def produce():
    for _ in range(4):
        pause.wait(0.2)
        ready.record()
        back.wait()
def consume():
    for _ in range(4):
        ready.wait()
        back.record()
threading.Thread(target=produce).start()
threading.Thread(target=consume).start()
"""
    assert run(program, CPUGPU_DEBUG="raise") == (0, "", "")


def test_a_signal_handler_may_close_an_event_while_its_thread_is_inside() -> None:
    program = """
import signal
from cpugpu import CpuGpuEvent, HandoffClosed
ready = CpuGpuEvent("host")
def handler(*_):
    ready.close()
signal.signal(signal.SIGALRM, handler)
inner = ready.look
def look():
    inner()
    ready.look = inner
    signal.raise_signal(signal.SIGALRM)
ready.look = look
try:
    ready.record()
except HandoffClosed:
    print("closed")
"""
    code, out, _ = run(program, CPUGPU_DEBUG="1")
    assert (code, out) == (0, "closed\n")


def test_an_event_may_be_used_by_callers_without_a_frame() -> None:
    program = """
import _thread, atexit
from cpugpu import CpuGpuEvent
ready, done = CpuGpuEvent("host", name="ready"), CpuGpuEvent("host", name="done")
_thread.start_new_thread(ready.record, ())
ready.wait()
atexit.register(done.close)
"""
    assert run(program, CPUGPU_DEBUG="log") == (0, "", "")


def test_a_spawned_child_does_not_overwrite_the_trace(tmp_path: Path) -> None:
    program = """
import subprocess, sys
from cpugpu import CpuGpuEvent
ready = CpuGpuEvent("host", name=sys.argv[1])
if sys.argv[1] == "parent":
    subprocess.run([sys.executable, "-c", open(sys.argv[2]).read(), "child"], check=True)
ready.record(); ready.wait()
"""
    (tmp_path / "program.py").write_text(program)
    code, _, err = run(program, "parent", tmp_path / "program.py", CPUGPU_TRACE=str(tmp_path / "a.trace"))
    assert code == 0
    assert "is being written by another process; CPUGPU_TRACE=trace-%p gives each its own" in err
    names = {entry.event for entry in read(tmp_path / "a.trace")} - {""}  # what is about no event comes as time goes by
    assert names == {"parent"}


def test_in_raise_mode_a_waiter_does_not_keep_the_process_from_ending() -> None:
    program = STALL.replace("threading.Event().wait()\n", "").replace("daemon=True", "daemon=False")
    code, _, err = run(program, CPUGPU_DEBUG="raise")
    assert code == 0
    assert "ProtocolViolation" in err


def test_a_record_that_nobody_consumes_is_reported_at_exit() -> None:
    code, _, err = run(
        "from cpugpu import CpuGpuEvent\nready = CpuGpuEvent('host', name='ready')\nready.record()", CPUGPU_DEBUG="1"
    )
    assert code == 0
    assert err.startswith("never-consumed: 'ready' was left at exit with generation 1 unconsumed")


def test_a_call_that_holds_the_gil_is_noticed() -> None:
    program = """
import ctypes
from cpugpu import CpuGpuEvent
from cpugpu.debug import journal
ready = CpuGpuEvent("host")
while not journal.local.ring.operations: pass
__import__("threading").Event().wait(0.3)
ctypes.PyDLL(None).usleep(1_300_000)
__import__("threading").Event().wait(0.5)
"""
    _, _, err = run(program, CPUGPU_DEBUG="1")
    assert "gil-held: no Python thread could run for 1." in err


FORK = """
import os, sys
from cpugpu import CpuGpuEvent
ready = CpuGpuEvent("host", name="parent")
child = os.fork()
mine = CpuGpuEvent("host", name="child") if child == 0 else ready
mine.record(); mine.wait(timeout=5)
if child == 0:
    sys.exit(0)
os.waitpid(child, 0)
"""


def test_a_forked_child_has_a_trace_of_its_own(tmp_path: Path) -> None:
    quiet = "ignore::DeprecationWarning"  # 3.12 warns of a fork with threads
    code, _, err = run(FORK, CPUGPU_DEBUG="log", CPUGPU_TRACE=str(tmp_path / "%p.trace"), PYTHONWARNINGS=quiet)
    assert (code, err) == (0, "")
    names = [{entry.event for entry in read(path)} - {""} for path in tmp_path.iterdir()]
    assert sorted(map(sorted, names)) == [["child"], ["parent"]]


LOOP = """
import threading
from cpugpu import CpuGpuEvent
there, back = CpuGpuEvent("host", name="there"), CpuGpuEvent("host", name="back")
def pong():
    while True:
        there.wait()
        back.record()
threading.Thread(target=pong, daemon=True).start()
number = 0
while True:
    there.record()
    back.wait()
    number += 1
    if number % 20 == 0:
        print(number, flush=True)
"""


@pytest.mark.timeout(400)
@pytest.mark.parametrize("times", [6, pytest.param(50, marks=pytest.mark.slow)])
def test_a_process_that_is_killed_leaves_a_readable_trace(tmp_path: Path, times: int) -> None:
    """At a random moment. What is there has no holes: only the end is lost."""
    rng, found = random.Random(7), 0
    for number in range(times):
        path = tmp_path / f"{number}.trace"
        process = start(LOOP, CPUGPU_TRACE=str(path))
        assert process.stdout is not None
        for _ in range(rng.randrange(1, 400)):
            process.stdout.readline()
        process.kill()
        process.communicate()
        trace = read(path)
        records = [entry.generation for entry in trace if entry.kind == "record" and entry.event == "there"]
        assert records == list(range(1, len(records) + 1))
        assert "there" in summarize(trace) or not records
        found += len(records)
    assert found


def test_the_trace_goes_on_up_to_the_last_flush(tmp_path: Path) -> None:
    path = tmp_path / "a.trace"
    process = start(LOOP, CPUGPU_TRACE=str(path))
    assert process.stdout is not None
    size = 0
    for _ in range(5):  # flushes
        while not path.exists() or path.stat().st_size == size:
            process.stdout.readline()
        size = path.stat().st_size
        generations = [entry.generation for entry in read(path) if (entry.kind, entry.event) == ("record", "there")]
    process.kill()
    process.communicate()
    assert generations == list(range(1, len(generations) + 1))
    after = [entry.generation for entry in read(path) if (entry.kind, entry.event) == ("record", "there")]
    assert after[: len(generations)] == generations


def test_the_trace_has_every_operation_once_and_an_arrow_for_each_hand_off(tmp_path: Path) -> None:
    program = """
import threading
from cpugpu import CpuGpuEvent
ready = CpuGpuEvent("sim", name="ready")
def consume():
    for _ in range(3000):
        ready.wait()
        taken.release()
taken = threading.Semaphore(0)
thread = threading.Thread(target=consume, name="consumer")
thread.start()
for _ in range(3000):
    ready.record()
    taken.acquire()
thread.join()
ready.close()
"""
    code, _, err = run(program, CPUGPU_TRACE=str(tmp_path / "a.trace"))
    assert (code, err) == (0, "")
    entries = list(read(tmp_path / "a.trace"))
    kinds = Counter(entry.kind for entry in entries if entry.event == "ready")
    assert kinds == {"made": 1, "record": 3000, "wait": 3000, "close": 1, "exit": 1}
    waits = [entry for entry in entries if entry.kind == "wait"]
    assert sorted(entry.generation for entry in waits) == list(range(1, 3001))
    assert {entry.thread_name for entry in waits} == {"consumer"}
    assert {entry.place for entry in waits} == {"<string>:7"}
    assert all(0 < entry.begin_ns <= entry.ready_ns <= entry.end_ns for entry in waits)


NVTX = """
import sys, types
calls = []
class Domain:
    def get_event_attributes(self, message): return message
    def start_range(self, attributes): calls.append(attributes); return len(calls)
    def end_range(self, number): calls.append(number)
sys.modules["nvtx"] = types.SimpleNamespace(get_domain=lambda name: Domain())
from cpugpu import CpuGpuEvent
ready = CpuGpuEvent("host", name="ready")
ready.record()
ready.wait()
print(*calls)
"""


def test_a_profiler_gets_a_range_for_each_call() -> None:
    code, out, err = run(NVTX, CPUGPU_DEBUG="log")
    assert (code, err) == (0, "")
    assert out.split() == ["made", "ready", "1", "record", "ready", "3", "wait", "ready", "5"]


def test_annotations_are_nothing_without_the_toggle() -> None:
    program = """
from cpugpu import CpuGpuEvent, annotate
ready = CpuGpuEvent("host")
annotate.declare(ready, producer="no stream"); annotate.expect(ready, 7); annotate.stamp(ready, [])
ready.record(); ready.wait()
annotate.use(ready, {}); annotate.teardown(ready)
import sys
print([name for name in sys.modules if name.startswith("cpugpu.debug")])
"""
    code, out, err = run(program)
    assert (code, out, err) == (0, "[]\n", "")


@pytest.mark.parametrize(
    ("path", "why"), [("/nowhere/a.trace", "No such file"), ("/dev/full", "No space left"), ("/", "Is a directory")]
)
def test_a_trace_that_cannot_be_written_is_one_line_and_the_program_goes_on(path: str, why: str) -> None:
    program = "from cpugpu import CpuGpuEvent\nready = CpuGpuEvent('host')\nready.record()\nready.wait()\nprint('done')"
    code, out, err = run(program, CPUGPU_TRACE=path)
    assert (code, out.strip()) == (0, "done")
    assert len(err.splitlines()) == 1
    assert why in err


def test_a_bad_duration_is_one_line_and_the_program_goes_on() -> None:
    program = "from cpugpu import CpuGpuEvent\nready = CpuGpuEvent('host')\nready.record()\nprint('done')"
    code, out, err = run(program, CPUGPU_DEBUG="log", CPUGPU_STALL_SECONDS="soon", CPUGPU_TRACE_MB="much")
    assert (code, out.strip()) == (0, "done")
    assert len(err.splitlines()) == 1
    assert "CPUGPU_STALL_SECONDS='soon'" in err


def test_memory_does_not_grow_in_log_mode() -> None:
    """A quarter of a million operations after the ring is full; benchmarks/debug.py has ten million."""
    program = """
import resource
from cpugpu import CpuGpuEvent
ready = CpuGpuEvent("host")
def go(times):
    for _ in range(times):
        ready.record(); ready.wait()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = go(10_000)
print(go(125_000) - before)
"""
    code, out, err = run(program, CPUGPU_DEBUG="log")
    assert (code, err) == (0, "")
    assert int(out) < 2_000  # KiB; a leak of one operation each would be 80,000
