"""`hammer`: execute a scenario again and again for a while, and count what comes out."""

from __future__ import annotations

import math
import random
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from cpugpu import settings
from cpugpu.device import Device, DeviceLike, find_accelerator, resolve, using
from cpugpu.device.simulated import SimulatedDevice, Simulator
from cpugpu.hammer.jitter import Jitter
from cpugpu.hammer.rig import HammerRig, Standstill, ThreadFailed
from cpugpu.rig import HANG, Grade, Scenario, raised

#: Nothing has moved for so long: a standstill. The longest random sleep is 0.1 s.
PATIENCE_SECONDS = 5.0
#: How often CPython considers another thread, in seconds (default 5 ms). A tenth of a typical execution.
_SWITCH_SECONDS = 2e-5
#: A failure is described in full once an outcome, and for so many outcomes.
_DESCRIBED = 5


@dataclass
class Row:
    """An outcome: how often it was seen and what it means."""

    outcome: str
    times: int
    grade: Grade
    meaning: str


@dataclass
class Failure:
    """The first execution with a certain forbidden outcome. `iteration` reproduces its random choices."""

    outcome: str
    meaning: str
    iteration: int
    details: str
    listed: bool  # did the scenario list it as forbidden?


@dataclass
class Result:
    """What a scenario did under the hammer."""

    title: str
    device: str
    seed: int
    executions: int
    seconds: float
    racy: bool
    rows: list[Row] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Did it do what it should: show no forbidden outcome, or, if it is racy, show one?"""
        if self.racy:  # an exception that nobody foresaw demonstrates nothing
            return bool(self.failures) and all(failure.listed for failure in self.failures)
        return not self.failures

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Result:
        """The inverse of `to_dict`."""
        rows = [Row(**{**row, "grade": Grade(row["grade"])}) for row in data["rows"]]
        return cls(**{**data, "rows": rows, "failures": [Failure(**failure) for failure in data["failures"]]})


def choose_device(choice: str = "auto", *, index: int | None = None) -> Callable[[int], Device]:
    """What `auto`, `accelerator` or `sim` means here: a function from the seed to a device.

    `auto` is the accelerator where there is one, else a simulated device. `index` is a worker's number; devices are
    dealt out by it. `ValueError` for another choice, and for an accelerator that is not there.
    """
    if choice not in ("auto", "accelerator", "sim"):
        raise ValueError(f"device {choice!r} is not one of auto, accelerator, sim")
    found = find_accelerator() if choice != "sim" else None
    if found is None:
        if choice == "accelerator":
            raise ValueError("device 'accelerator' was asked for and there is none here; allowed are auto and sim")
        return lambda seed: SimulatedDevice(Simulator(seed=seed))
    if index is not None:
        import torch

        found = find_accelerator(index % torch.accelerator.device_count())
    device = found
    assert device is not None
    return lambda _seed: device


def hammer(
    scenario: Scenario,
    *,
    seconds: float = 10.0,
    device: DeviceLike = None,
    seed: int | None = None,
    iteration: int | None = None,
    stop_at_first: bool = False,
    patience: float = PATIENCE_SECONDS,
) -> Result:
    """Execute `scenario` for `seconds` with real threads, random sleeps and late kernels.

    `device`: what `resolve` takes; None for the accelerator where there is one, else a simulated device. `seed`: of all
    random choices (None: `CPUGPU_SEED`, else drawn); the result has it. `iteration`: make the choices of that iteration
    each time. `stop_at_first`: end at the first forbidden outcome. `patience`: after so many seconds without a move an
    execution counts as hung; the hammer ends then, since the threads of that execution cannot be ended.

    It shows what can happen, not that something cannot: an outcome that was never seen may still be possible.
    """
    if not isinstance(scenario, Scenario):
        raise TypeError(f"hammer() takes what @scenario makes, not {scenario!r}")
    for name, given in (("seconds", seconds), ("patience", patience)):
        if not isinstance(given, int | float) or not 0 < given < math.inf:
            raise ValueError(f"{name}={given!r} is not a number of seconds above 0")
    for name, number in (("seed", seed), ("iteration", iteration)):
        if number is not None and number < 0:
            raise ValueError(f"{name}={number!r} is not an integer from 0")
    if seed is None:
        seed = settings.seed()
    if seed is None:
        seed = random.SystemRandom().randrange(2**32)
    target = choose_device()(seed) if device is None else _fresh(resolve(device), seed)
    counts: Counter[Hashable] = Counter()
    failures: dict[Hashable, Failure] = {}
    began = time.monotonic()
    executions = 0
    with _bench(target, patience) as rig:
        while not executions or time.monotonic() - began < seconds:
            number = executions if iteration is None else iteration
            rig.begin(f"{seed}/{scenario.title}/{number}")
            outcome, details, hung = _execute(scenario, rig)
            executions += 1
            counts[outcome] += 1
            grade, meaning = scenario.grade(outcome)
            if grade is Grade.FORBIDDEN and outcome not in failures and len(failures) < _DESCRIBED:
                failures[outcome] = Failure(str(outcome), meaning, number, details, outcome in scenario.forbid)
            if hung or (failures and stop_at_first):
                break
    rows = [Row(str(outcome), times, *scenario.grade(outcome)) for outcome, times in counts.most_common()]
    return Result(
        title=scenario.title,
        device=target.name,
        seed=seed,
        executions=executions,
        seconds=time.monotonic() - began,
        racy=scenario.racy,
        rows=rows,
        failures=list(failures.values()),
    )


def _execute(scenario: Scenario, rig: HammerRig) -> tuple[Hashable, str, bool]:
    """One execution: its outcome, details for people, and whether something of it is left standing."""
    try:
        outcome = scenario(rig)
        if not isinstance(outcome, Hashable):
            raise TypeError(f"{scenario.title} returned {outcome!r}; an outcome has to be hashable")
        rig.end()
    except ThreadFailed as failure:
        cause = failure.__cause__
        assert cause is not None
        details = "".join(traceback.format_exception(cause)) + failure.details
        return raised(cause), details, bool(failure.details) or not _idle(rig)
    except Standstill as standstill:
        return HANG, standstill.details, True
    except Exception as exception:
        return raised(exception), traceback.format_exc(), not _idle(rig)
    return outcome, "", False


def _idle(rig: HammerRig) -> bool:
    """After a failed execution: can the next one start from an idle device? Not if it is stuck or has an error."""
    try:
        rig.end()
    except (Standstill, RuntimeError):
        return False
    return True


@contextmanager
def _bench(device: Device, patience: float) -> Iterator[HammerRig]:
    """A rig for `device`, which is also what `CpuGpuEvent()` uses meanwhile."""
    rig = HammerRig(device, Jitter(), patience=patience)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_SECONDS)
    try:
        with using(rig.device):
            yield rig
    finally:
        sys.setswitchinterval(interval)
        rig.close()


def _fresh(device: Device, seed: int) -> Device:
    """A simulated device is made anew: its latency comes from the seed, and an error or a hang in one sticks."""
    if isinstance(device, SimulatedDevice):
        return SimulatedDevice(device.simulator.anew(seed), device.index)
    return device
