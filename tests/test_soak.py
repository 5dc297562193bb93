"""The soak: it counts what it says it counts, and it can fail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cpugpu import CpuGpuEvent, hammer
from cpugpu.device.simulated import SimulatedDevice, Simulator, no_latency
from cpugpu.rig import Rig
from stress.soak import IN_A_SHARD, around, main, soak
from stress.subjects import NoCpuWait, NoGpuWait


def small(make_event: Any, device: Any, laps: int = 20) -> list[str]:
    def body(rig: Rig) -> str:
        return around(rig, make_event, 10, laps)

    scenario = type(soak)(**{**vars(soak), "function": body})
    result = hammer(scenario, seconds=1e-3, device=device, seed=0, jitter=False, patience=2.0)
    return [row.outcome for row in result.rows]


def test_a_small_one_is_whole_on_the_host_and_on_the_simulated_device() -> None:
    assert small(CpuGpuEvent, "host") == ["whole"]
    assert small(CpuGpuEvent, SimulatedDevice(Simulator(latency=no_latency))) == ["whole"]


class Unordered(CpuGpuEvent):
    """Lets every seventh wait through, whether or not anything was recorded; that record is then consumed late."""

    waits = 0

    def wait(self, stream: Any = None, timeout: float | None = None) -> None:
        Unordered.waits += 1
        if Unordered.waits % 7 or self.pending:
            super().wait(stream, timeout)


def test_a_wait_without_its_record_is_stale() -> None:
    outcome = small(Unordered, "host")
    assert outcome != ["whole"]


def test_a_kernel_that_does_not_wait_is_stale() -> None:
    assert small(NoGpuWait, SimulatedDevice(Simulator()), laps=200) == ["stale"]


def test_the_seed_protocol_without_its_wait_does_not_pass() -> None:
    assert small(NoCpuWait, "host") != ["whole"]


def test_a_shard_of_a_million(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--hand-offs", "1", "--device", "host", "--json", str(tmp_path / "soak.json")]) == 0
    result = json.loads((tmp_path / "soak.json").read_text())
    assert (result["hand_offs"], result["shards"]) == (IN_A_SHARD, 1)
    assert result["shards_lost"] == result["shards_stale"] == result["shards_failed"] == 0
    assert "1,004,000" in capsys.readouterr().out


def test_a_failure_is_status_1_and_has_a_line_that_replays_it(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--hand-offs=1", "--device=host", "--subject=stress.subjects:NoCpuWait"]
    assert main(arguments) == 1
    told = capsys.readouterr().out
    replay = next(line for line in told.splitlines() if "replay: " in line)
    assert replay.split("python -m stress.soak ")[1].split() == [*arguments, "--stress-seed=0@0"]
    assert main(replay.split("python -m stress.soak ")[1].split()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--hand-offs=0"], "are numbers from 1"),
        (["--hand-offs=x"], "invalid int"),
        (["--device=gpu"], "invalid choice"),
    ],
)
def test_bad_input(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
