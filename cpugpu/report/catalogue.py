"""Which rules do which programs break? The examples, and the scenarios of a folder `stress`."""

from __future__ import annotations

import gc
import importlib
import logging
from collections.abc import Iterator
from pathlib import Path

from cpugpu.debug import InstrumentedEvent, journal, watcher
from cpugpu.debug.examples import PAIRS, play
from cpugpu.device import find_accelerator, resolve
from cpugpu.hammer import hammer
from cpugpu.report.rules import Row
from cpugpu.rig import Scenario

#: Programs that cannot be written without breaking another rule as well.
ALSO = {
    "captured-event-outside": frozenset({"wait-inside-capture"}),
    "query-during-capture": frozenset({"wait-inside-capture"}),
}
_SECONDS = 0.2


class _Checked(InstrumentedEvent):
    """The instrumented event, as the scenarios make it, in `check` mode whatever the environment says."""

    def __init__(self) -> None:
        super().__init__(mode="check")


def example_rows() -> Iterator[Row]:
    """Each violating program and its clean twin."""
    for rule, pair in PAIRS.items():
        also = ALSO.get(rule, frozenset())
        yield Row(f"breaks {rule}", frozenset(play(pair.violates)[0]), frozenset({rule}), also)
    for rule, pair in PAIRS.items():
        yield Row(f"clean of {rule}", frozenset(play(pair.clean)[0]))


def scenario_rows(folder: Path, seconds: float = _SECONDS) -> Iterator[Row]:
    """The scenarios in `folder`, hammered for `seconds` each on the accelerator, else on the simulated device.

    Racy ones are not asked: they use no event of ours. Nor are those that cannot run here.
    """
    device = find_accelerator() or resolve("sim")
    for path in sorted(folder.glob("stress_*.py")):
        module = importlib.import_module(f"{folder.name}.{path.stem}")
        for scenario in list(vars(module).values()):
            if isinstance(scenario, Scenario) and not scenario.racy and not scenario.unfit(device):
                yield Row(f"scenario {scenario.name}", _hammered(scenario, seconds), may=frozenset(scenario.breaks))


def _hammered(scenario: Scenario, seconds: float) -> frozenset[str]:
    logger = logging.getLogger("cpugpu")
    disabled, paused = logger.disabled, watcher.paused
    logger.disabled = watcher.paused = True
    watcher.stop()
    journal.clear()
    try:
        hammer(scenario.on(_Checked), seconds=seconds, device=find_accelerator() or "sim", seed=0)
        gc.collect()
        watcher.beat()
        return journal.broken()
    finally:
        logger.disabled, watcher.paused = disabled, paused
        journal.clear()
