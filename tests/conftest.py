from __future__ import annotations

import gc
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from cpugpu.debug import defects, journal, watcher
from cpugpu.device.simulated import SimulatedDevice, Simulator, no_latency

pytest_plugins = ["pytester"]


def pytest_collection_finish() -> None:
    """What is there before the first test is no garbage; with torch, `gc.collect()` would look at it for 0.2 s."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No setting of the person who runs the tests, an empty journal, and in the end no defect of the debug mode."""
    for name in ("DEBUG", "DEVICE", "DEVICE_TIME", "SEED", "STALL_SECONDS", "TRACE", "TRACE_MB"):
        monkeypatch.delenv(f"CPUGPU_{name}", raising=False)
    # Of pytests that a test starts: these load for seconds, and are not asked for anything there.
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:hypothesispytest -p no:frontrun")
    watcher.paused = True  # its thread: a test that wants a beat calls it
    _bury_events()
    yield
    watcher.stop()
    journal.clear()
    found = dict(defects.counts)
    defects.clear()
    assert found == {}


def _bury_events() -> None:
    """Events that earlier tests have dropped would be judged in the middle of this one: at the watcher's next beat."""
    if watcher._events:
        gc.collect()
    if watcher._dropped:
        watcher.beat()
    journal.clear()


@pytest.fixture
def control_c() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt, also where the tests run in the background of a shell, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def sim() -> Any:
    """A simulated device that is never late by chance."""
    return SimulatedDevice(Simulator(devices=2, latency=no_latency), 0)


@pytest.fixture(params=["host", "sim"])
def device(request: pytest.FixtureRequest, sim: Any) -> Any:
    return "host" if request.param == "host" else sim
