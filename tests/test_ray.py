"""Shards on a Ray cluster of two workers: faults are told as on one machine, and a worker that dies costs only time."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cpugpu.campaign import Once, Target, run
from tests.faults import SCENARIOS
from tests.test_campaign import NAMES, FullDisk, check_faults, replays, template

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed (extra cpugpu[ray])"),
    # Ray's own: it leaves sockets and files to the collector, and warns of what a later version will do.
    pytest.mark.filterwarnings("ignore"),
]

KILLS_ITS_WORKER = """
import os, pathlib, signal
from cpugpu import scenario

def parent_of(pid):
    return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])

@scenario(accept=["again"])
def kills_its_worker(rig):
    marker = pathlib.Path(__file__).with_name("killed")
    if marker.exists():
        return "again"
    marker.touch()
    os.kill(parent_of(os.getppid()), signal.SIGKILL)
    signal.pause()
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    from cpugpu.campaign.ray_tasks import RayTasks

    tasks = RayTasks("local", width=2, silence=5.0)
    yield tasks
    tasks.close()


def test_twenty_shards_of_which_five_come_to_grief_and_a_worker_is_killed(cluster: Any, tmp_path: Path) -> None:
    path, killer = tmp_path / "stress_faults.py", tmp_path / "stress_killer.py"
    path.write_text(SCENARIOS)
    killer.write_text(KILLS_ITS_WORKER)
    targets = [Target(f"stress_faults.py::{name}", str(path), "stress_faults", name, title=name) for name in NAMES]
    name = "kills_its_worker"
    lost = Target(f"stress_killer.py::{name}", str(killer), "stress_killer", name, title=name)
    results = tmp_path / "results.jsonl"
    plan = Once([lost, *targets], 0.05)
    found = run(plan, FullDisk(cluster), template=template(results), replays=replays([lost, *targets]))
    again = next(item for item in found.items if item.target == lost)
    assert (tmp_path / "killed").exists()
    assert again.passed, "Ray has run it again"
    found.entries = [entry for entry in found.entries if entry.shard.target != lost]
    check_faults(found, results)


def test_a_package_that_is_missing_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from cpugpu.campaign.ray_tasks import RayTasks

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match="needs Ray: pip install"):
        RayTasks("auto")
