from __future__ import annotations

import concurrent.futures.thread
import sys
import threading
from pathlib import Path

import pytest

from cpugpu.cli import main
from tests.sanitize.command import Done, Run


@pytest.fixture
def run(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """`cpugpu run` in this process, for torch takes seconds to load, and in `tmp_path`."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", [*sys.argv])
        monkeypatch.setattr(sys, "path", [*sys.path])
        monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
        monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)  # pytest has its own
        monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
        monkeypatch.setattr(concurrent.futures.thread, "_shutdown", False)  # which the end of a program sets
        before = set(sys.modules)
        capfd.readouterr()
        status = main(["run", *arguments])
        for name in set(sys.modules) - before:
            if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
                del sys.modules[name]
        return Done(status, *capfd.readouterr())

    return run
