"""What loads what: imports point downward, and nothing loads torch or the debug package before it is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import cpugpu

PACKAGE = Path(cpugpu.__file__).parent

#: The rooms, top first (DESIGN: "Imports point downward only"). A room may import from itself and from those below.
ROOMS = [
    {"__main__"},
    {"cli", "pytest_plugin"},
    {"cli_explore", "cli_run", "pytest_simulate"},
    {"pytest_options"},
    {"job", "program"},
    {"__init__"},
    {"report"},
    {"campaign"},
    {"hammer", "explore", "sanitize"},
    {"simulate"},
    {"debug"},
    {"trace", "annotate"},
    {"event"},
    {"gate"},
    {"device"},
    {"rig", "errors", "settings", "stacks", "deaths", "patches"},
]
LEVEL = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}
#: rig.py describes scenarios; no level below may need it.


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
            if node.module == "cpugpu":
                names = [f"cpugpu.{alias.name}" for alias in node.names]
        for name in names:
            if name == "cpugpu":
                rooms.add("__init__")
            elif name.startswith("cpugpu."):
                part = name.split(".")[1]
                rooms.add(part if part in LEVEL else "__init__")
    return rooms


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downward(path: Path) -> None:
    room = room_of(path)
    upward = {other for other in imported_rooms(path) if LEVEL[other] < LEVEL[room]}
    assert upward == set()


def test_the_package_says_that_it_is_typed() -> None:
    assert (PACKAGE / "py.typed").exists()


def loaded_after(statement: str, **environment: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    return set(run.stdout.split())


@pytest.mark.parametrize(
    "statement",
    ["import cpugpu", "import cpugpu.pytest_plugin", "import cpugpu.cli", "from cpugpu import CpuGpuEvent, hammer"],
)
def test_torch_is_not_loaded(statement: str) -> None:
    assert "torch" not in loaded_after(statement)


def test_simulated_hand_offs_need_no_torch() -> None:
    statement = "from cpugpu import CpuGpuEvent\ne = CpuGpuEvent('sim'); e.record(); e.wait()"
    assert "torch" not in loaded_after(statement)


def test_the_debug_package_is_not_loaded_while_the_toggle_is_off() -> None:
    statement = "from cpugpu import CpuGpuEvent\nassert type(CpuGpuEvent('host')) is CpuGpuEvent"
    assert not [name for name in loaded_after(statement) if name.startswith("cpugpu.debug")]


def test_the_debug_package_is_loaded_when_the_toggle_is_on() -> None:
    statement = "from cpugpu import CpuGpuEvent\nassert type(CpuGpuEvent('host')) is not CpuGpuEvent"
    assert "cpugpu.debug" in loaded_after(statement, CPUGPU_DEBUG="1")
