"""`cpugpu run PROGRAM` does what `python PROGRAM` does: output, traceback, exit status, and the end."""

from __future__ import annotations

import compileall
import re
import sys
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("torch")

from tests.sanitize.command import Run, python

#: Programs, by what they do.
PROGRAMS = {
    "ends": "print('done')",
    "exits_with_a_number": "import sys; sys.exit(3)",
    "exits_with_none": "import sys; sys.exit(None)",
    "exits_with_text": "import sys; sys.exit('a reason')",
    "exits_with_a_tuple": "import sys; sys.exit((1, 'b'))",
    "exits_with_true": "import sys; sys.exit(True)",
    "exits_by_a_class_of_its_own": "class Mine(SystemExit): pass\nraise Mine(5)",
    "exits_by_quit": "quit(4)",
    "raises": "def f():\n    raise KeyError('mine')\nf()",
    "raises_from": "try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    raise ValueError('second') from error",
    "raises_what_is_no_exception": "class Mine(BaseException): pass\nraise Mine('all the way')",
    "raises_a_group_of_its_own": "import asyncio\nraise asyncio.CancelledError('late')",
    "is_no_python": "x = 1\nif x\n    pass\n",
    "has_an_encoding": "# coding: latin-1\nprint(len('é'))",
    "imports_no_python": "import broken",
    "imports_what_is_not_there": "import not_there_at_all",
    "raises_in_a_thread": """
import threading
def f(): raise KeyError("mine")
thread = threading.Thread(target=f, name="mine")
thread.start(); thread.join(); print("on")
""",
    "exits_in_a_thread": """
import sys, threading
thread = threading.Thread(target=sys.exit, args=(3,))
thread.start(); thread.join(); print("on")
""",
    "has_its_own_hook": """
import sys
sys.excepthook = lambda kind, value, frames: print(kind.__name__, value, frames.tb_lineno, frames.tb_next)
raise KeyError("mine")
""",
    "has_a_hook_that_exits": """
import sys
sys.excepthook = lambda *_: sys.exit(9)
raise KeyError("mine")
""",
    "has_a_hook_that_raises": """
import sys
def hook(*_): raise OSError("of the hook")
sys.excepthook = hook
raise KeyError("mine")
""",
    "looks_at_its_names": """
import sys
print(__name__, __file__, sys.argv, sys.path[0], __package__, __spec__, __doc__, type(__loader__).__name__)
print(sorted(globals()), sys.modules["__main__"].__dict__ is globals())
""",
    "uses_a_future_of_nobody_elses": "def f(x: int): pass\nprint(f.__annotations__)",
    "pickles_a_class_of_its_own": """
import pickle
class Mine: pass
print(type(pickle.loads(pickle.dumps(Mine()))) is Mine)
""",
    "has_functions_at_its_end": """
import atexit
def one(text, *, end): print(text, end=end)
atexit.register(one, "one", end=".\\n")
@atexit.register
def two(): print("two")
def three(): print("three")
atexit.register(three)
atexit.unregister(three)
print("main")
raise KeyError("mine")
""",
    "has_a_thread_that_lives_on": """
import sys, threading
HERE = __file__  # which Python takes away at the end
def still_there():
    frame = sys._current_frames()[threading.main_thread().ident]
    while frame is not None:
        if frame.f_code.co_filename == HERE:
            return True
        frame = frame.f_back
    return False
def f():
    while still_there(): pass
    print("thread")
threading.Thread(target=f).start()
import atexit
atexit.register(print, "atexit")
print("main")
""",
    "leaves_an_executor_open": """
from concurrent.futures import ThreadPoolExecutor
pool = ThreadPoolExecutor(2)
future = pool.submit(print, "worker")
future.result()
print("main")
""",
}


@pytest.mark.parametrize("text", PROGRAMS.values(), ids=PROGRAMS)
def test_a_script(run: Run, tmp_path: Path, text: str) -> None:
    (tmp_path / "broken.py").write_text("def f(:\n    pass\n")
    (tmp_path / "program.py").write_text(text, encoding="latin-1" if "latin-1" in text else "utf-8")
    assert run("program.py", "a", "--seed") == python("program.py", "a", "--seed", cwd=tmp_path)


TO_THE_NULL_BYTE = pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 reads a script up to a null byte")


@pytest.mark.parametrize(
    "text", [pytest.param("x = 1\0", marks=TO_THE_NULL_BYTE), "# coding: ascii\nx = 'é'", "# coding: none"]
)
def test_a_script_that_is_no_text(run: Run, tmp_path: Path, text: str) -> None:
    """Python words it differently for a file and for what it has read from one."""
    (tmp_path / "program.py").write_text(text)
    ours, theirs = run("program.py"), python("program.py", cwd=tmp_path)
    assert (ours.returncode, ours.stdout) == (theirs.returncode, theirs.stdout)
    for done in (ours, theirs):
        assert "Traceback" not in done.stderr
        assert done.stderr.splitlines()[-1].startswith("SyntaxError: ")


def test_what_a_function_at_the_end_raises_is_printed_and_the_others_follow(run: Run, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        "import atexit\natexit.register(print, 'first')\natexit.register(lambda: 1 / 0)"
    )
    ours, theirs = run("program.py"), python("program.py", cwd=tmp_path)
    assert (ours.returncode, ours.stdout) == (theirs.returncode, theirs.stdout)
    # The first line is another one in each version of Python, and 3.13 marks no part of a line there.
    shown = [[line for line in done.stderr.splitlines()[1:] if line.strip(" ~^")] for done in (ours, theirs)]
    assert shown[0] == shown[1]
    assert ours.stderr.startswith("Exception ignored in atexit callback: <function <lambda>")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """`whole` can be run, `bare` has no `__main__`; `whole.zip` and `single.pyc` besides."""
    whole = tmp_path / "whole"
    whole.mkdir()
    text = "import sys\nprint(__name__, __file__, sys.argv, sys.path[0], __package__, __spec__.name)\n"
    (whole / "__init__.py").write_text("")
    (whole / "__main__.py").write_text(text + "def f():\n    sys.exit('end')\nf()\n")
    (whole / "raises.py").write_text("raise KeyError('mine')")
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "__init__.py").write_text("")
    with zipfile.ZipFile(tmp_path / "whole.zip", "w") as archive:
        archive.write(whole / "__main__.py", "__main__.py")
    (tmp_path / "single.py").write_text("print(__name__, __spec__ is None)\nraise KeyError('mine')")
    compileall.compile_file(str(tmp_path / "single.py"), legacy=True, quiet=1)
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [["whole", "x"], ["whole.zip", "x"], ["single.pyc"], ["-m", "whole", "x"], ["-m", "single"], ["-m", "bare"]],
    ids=" ".join,
)
def test_a_folder_an_archive_bytecode_and_modules(run: Run, package: Path, arguments: list[str]) -> None:
    ours, theirs = run(*arguments), python(*arguments, cwd=package)
    # Python shows its own frames, those of `runpy`, where it runs a module.
    shown = re.sub(r'  File "(<frozen runpy>".*\n|.*runpy.py".*\n    .*\n)', "", theirs.stderr)
    assert (ours.returncode, ours.stdout, ours.stderr) == (theirs.returncode, theirs.stdout, shown)


def test_a_thread_that_lives_on_still_has_its_device(run: Run, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        "import torch\nx = torch.ones(4, device='cuda')\n"
        + PROGRAMS["has_a_thread_that_lives_on"].replace('print("thread")', "print(x.sum().item())")
        + "atexit.register(lambda: print(x.mean().item()))\n"
    )
    done = run("--check", "program.py")
    assert (done.returncode, done.stdout) == (0, "main\n4.0\n1.0\natexit\n"), done.stderr
    assert done.stderr.endswith("no findings\n")
