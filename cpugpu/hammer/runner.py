"""`hammer`: execute a scenario again and again for a while, and count what comes out."""

from __future__ import annotations

import math
import random
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager

from cpugpu import settings
from cpugpu.device import Device, DeviceLike, find_accelerator, resolve, using
from cpugpu.device.simulated import SimulatedDevice, Simulator
from cpugpu.hammer.jitter import Jitter
from cpugpu.hammer.latency import Latencies
from cpugpu.hammer.result import DESCRIBED, Failure, Result, Row
from cpugpu.hammer.rig import HammerRig, Standstill, ThreadFailed
from cpugpu.rig import HANG, Grade, Scenario, raised

#: Nothing has moved for so long: a standstill. The longest random sleep is 0.1 s.
PATIENCE_SECONDS = 5.0
#: Two, so that scenarios between devices have somewhere to run.
SIMULATED_DEVICES = 2
_THREADS = "threads or streams stand still"
#: How often CPython considers another thread, in seconds (default 5 ms). A tenth of a typical execution.
_SWITCH_SECONDS = 2e-5


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
        return lambda seed: SimulatedDevice(Simulator(SIMULATED_DEVICES, seed=seed))
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
    tell: Callable[[Mapping[str, int]], None] | None = None,
    jitter: bool = True,
) -> Result:
    """Execute `scenario` for `seconds` with real threads, random sleeps and late kernels.

    `device`: what `resolve` takes; None for the accelerator where there is one, else a simulated device. `seed`: of all
    random choices (None: `CPUGPU_SEED`, else drawn); the result has it. `iteration`: make the choices of that iteration
    each time. `stop_at_first`: end at the first forbidden outcome. `patience`: after so many seconds without a move an
    execution counts as hung; the hammer ends then, since the threads of that execution cannot be ended. `tell` gets the
    outcomes so far, after each execution. `jitter` False: without the hammer's sleeps and late kernels.

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
    told: Counter[str] = Counter()
    latencies = Latencies()
    failures: dict[Hashable, Failure] = {}
    began = time.monotonic()
    executions = 0
    with _bench(target, patience, jitter=jitter) as rig:
        while not executions or time.monotonic() - began < seconds:
            number = executions if iteration is None else iteration
            rig.begin(f"{seed}/{scenario.title}/{number}")
            outcome, details, stuck = _execute(scenario, rig)
            executions += 1
            counts[outcome] += 1
            rig.diary.drain(latencies)
            if tell is not None:
                told[str(outcome)] += 1
                tell(told)
            grade, meaning = scenario.grade(outcome)
            if grade is Grade.FORBIDDEN and outcome not in failures and len(failures) < DESCRIBED:
                steps = rig.diary.steps()  # before the outcome explains itself, which may execute more
                failures[outcome] = Failure(
                    str(outcome), meaning, number, details or _told(outcome), outcome in scenario.forbid, seed, steps
                )
            if stuck or (failures and stop_at_first):
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
        latencies=latencies,
        stuck=stuck,
    )


def _execute(scenario: Scenario, rig: HammerRig) -> tuple[Hashable, str, str]:
    """One execution: its outcome, details for people, and what of it is stuck, so that there cannot be another one."""
    try:
        outcome = scenario(rig)
        if not isinstance(outcome, Hashable):
            raise TypeError(f"{scenario.title} returned {outcome!r}; an outcome has to be hashable")
        rig.end()
    except ThreadFailed as failure:
        cause = failure.__cause__
        assert cause is not None
        details = "".join(traceback.format_exception(cause)) + failure.details
        return raised(cause), details, _THREADS if failure.details else _stuck(rig)
    except Standstill as standstill:
        return HANG, standstill.details, _THREADS
    except Exception as exception:
        return raised(exception), traceback.format_exc(), _stuck(rig)
    return outcome, "", ""


def _told(outcome: Hashable) -> str:
    """What an outcome tells of itself: it may have a method `explain`."""
    explain = getattr(outcome, "explain", None)
    return str(explain()) if explain is not None else ""


def _stuck(rig: HammerRig) -> str:
    """After a failed execution: why the next one cannot start from an idle device; empty if it can."""
    try:
        rig.end()
    except Standstill:
        return _THREADS
    except RuntimeError as error:
        return f"the device: {error}"
    return ""


@contextmanager
def _bench(device: Device, patience: float, *, jitter: bool) -> Iterator[HammerRig]:
    """A rig for `device`, which is also what `CpuGpuEvent()` uses meanwhile."""
    rig = HammerRig(device, Jitter(off=not jitter), patience=patience)
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
