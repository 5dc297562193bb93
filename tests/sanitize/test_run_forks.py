"""Programs under `cpugpu run` that have children: forked ones are watched too, and speak for themselves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")

from cpugpu.sanitize.ending import FOUND
from tests.sanitize.command import Done, python_with, run_apart

#: A race of the parent's, in line 6.
RACE = """
import multiprocessing, os, subprocess, sys, torch
side = torch.cuda.Stream()
with torch.cuda.stream(side):
    x = torch.full((4,), 1.0, device="cuda")
(x + 1).tolist()
"""
#: No race, but the device is in use.
USE = """
import multiprocessing, os, subprocess, sys, torch
x = torch.ones(4, device="cuda")
done = torch.cuda.Event()
done.record()
assert x.sum().item() == 4
"""


def run(folder: Path, text: str, *options: str) -> Done:
    (folder / "program.py").write_text(text)
    return run_apart("--check", "--json=found", *options, "program.py", cwd=folder)


def rules(path: Path) -> list[str]:
    return [each["rule"] for each in json.loads(path.read_text())["findings"]]


def files(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.glob("found*"))


@pytest.mark.parametrize("ends", ["", "sys.exit(3)", "os._exit(3)", "raise KeyError('child')"])
def test_a_child_that_leaves_the_device_alone_says_nothing(tmp_path: Path, ends: str) -> None:
    wait = "\nelse:\n    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])\n    print('status', status)\n"
    done = run(tmp_path, f"{RACE}pid = os.fork()\nif not pid:\n    print('child', flush=True)\n    {ends}{wait}")
    status = {"": 0, "raise KeyError('child')": 1}.get(ends, 3)
    assert (done.returncode, done.stdout) == (0, f"child\nstatus {status}\n"), done.stderr
    assert done.stderr.count("program.py:6: race: ") == 1
    assert done.stderr.count("1 finding.") == 1
    assert "cpugpu/" not in done.stderr
    assert files(tmp_path) == ["found"]
    assert rules(tmp_path / "found") == ["race"]


#: Each uses the device of its parent, and is told what CUDA says.
USES = ["x + 1", "torch.ones(4, device='cuda')", "done.record()", "done.synchronize()", "torch.cuda.synchronize()"]


@pytest.mark.slow
@pytest.mark.parametrize("use", USES)
def test_a_child_that_uses_the_device_is_found_and_so_is_its_status(tmp_path: Path, use: str) -> None:
    child = f"""
pid = os.fork()
if not pid:
    {use}
print("child", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    done = run(tmp_path, USE + child, "--exit-code")
    assert (done.returncode, done.stdout) == (FOUND, "child 1\n"), done.stderr
    assert "RuntimeError: Cannot re-initialize CUDA in forked subprocess" in done.stderr
    assert done.stderr.count("program.py:10: used-after-fork: ") == 1
    assert done.stderr.count(", a forked child of ") == 1
    own, childs = files(tmp_path)
    assert rules(tmp_path / own) == []
    assert rules(tmp_path / childs) == ["used-after-fork"]


def test_a_child_may_ask_how_many_devices_there_are(tmp_path: Path) -> None:
    child = (
        "if not os.fork():\n    assert torch.cuda.is_available() and torch.cuda.device_count() == 1\nelse: os.wait()"
    )
    done = run(tmp_path, USE + child, "--exit-code")
    assert (done.returncode, files(tmp_path)) == (0, ["found"]), done.stderr


PROCESSES = """
def work(given):
    print("child", given, flush=True)
    sys.exit(given)
if __name__ == "__main__":
    context = multiprocessing.get_context({method!r})
    process = context.Process(target=work, args=(5,))
    process.start()
    process.join()
    print("status", process.exitcode)
"""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_process_of_multiprocessing_says_nothing(tmp_path: Path, method: str) -> None:
    parent = "".join(f"    {line}\n" for line in RACE.splitlines()[2:])
    text = f"{RACE.splitlines()[1]}\nif __name__ == '__main__':\n{parent}{PROCESSES.format(method=method)}"
    done = run(tmp_path, text)
    assert (done.returncode, done.stdout) == (0, "child 5\nstatus 5\n"), done.stderr
    assert done.stderr.count("program.py:6: race: ") == 1
    assert done.stderr.count("1 finding.") == 1
    assert (files(tmp_path), rules(tmp_path / "found")) == (["found"], ["race"])


@pytest.mark.slow
def test_a_process_of_multiprocessing_that_uses_the_device_is_found(tmp_path: Path) -> None:
    text = USE + PROCESSES.format(method="fork").replace('print("child", given, flush=True)', "x.add_(1)")
    line = text.splitlines().index("    x.add_(1)") + 1
    done = run(tmp_path, text, "--exit-code")
    assert (done.returncode, done.stdout) == (FOUND, "status 1\n"), done.stderr
    assert done.stderr.count(f"program.py:{line}: used-after-fork: ") == 1
    assert rules(tmp_path / files(tmp_path)[1]) == ["used-after-fork"]


def test_other_programs_say_nothing(tmp_path: Path) -> None:
    text = f"""{RACE}
before = []
print(subprocess.run([sys.executable, "-c", "raise SystemExit(4)"]).returncode, flush=True)
print(subprocess.run(["true"], preexec_fn=lambda: before.append(1)).returncode, flush=True)
print(os.system("exit 3") >> 8, os.spawnlp(os.P_WAIT, "false", "false"), flush=True)
pid = os.fork()
if not pid:
    os.execlp("false", "false")
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    done = run(tmp_path, text)
    assert (done.returncode, done.stdout) == (0, "4\n0\n3 1\n1\n"), done.stderr
    assert done.stderr.count("1 finding.") == 1
    assert files(tmp_path) == ["found"]


def test_where_the_environment_asks_for_it(tmp_path: Path) -> None:
    """Without the command: `import cpugpu.sanitize` watches."""
    child = "if not os.fork():\n    try:\n        x.add_(1)\n    except RuntimeError:\n        os._exit(0)\nos.wait()\n"
    text = f"import cpugpu\nwith cpugpu.simulate():\n    import cpugpu.sanitize\n    exec({RACE + child!r})\n"
    done = python_with(text, tmp_path, CPUGPU_SANITIZE="1")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(": race: ") == 1
    assert done.stderr.count(": used-after-fork: ") == 1
    assert done.stderr.count("1 finding.") == 2
