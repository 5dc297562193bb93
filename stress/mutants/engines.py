"""The engines: each plays one scenario after another, again and again, until something is wrong or the time is up.

`hammer` is the hammer. `rules` plays the same scenarios with the instrumented event in `check`
mode and looks at nothing but the rules: whether one is broken that the scenario does not break on purpose; mutants of
the rules have to get the examples of all rules right first. `baseline` is what somebody would write without this
project: the same scenarios on the same device in a plain loop, where threads and kernels are late by a uniform 0 to
1 ms; no heavy tail, no short switch interval.

The time is dealt out in slices, so that a scenario which cannot see the mutant does not eat all of it: always to the
scenario that has had the least so far.
"""

from __future__ import annotations

import gc
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cpugpu import CpuGpuEvent
from cpugpu.debug import InstrumentedEvent, journal, watcher
from cpugpu.device import Device, using
from cpugpu.device.simulated import SimulatedDevice, Simulator
from cpugpu.hammer import choose_device, hammer
from cpugpu.hammer.jitter import Jitter
from cpugpu.hammer.rig import HammerRig, Standstill, ThreadFailed
from cpugpu.report.catalogue import example_rows
from cpugpu.rig import HANG, Grade, Scenario, raised
from stress.mutants.catalogue import scenarios_for
from stress.mutants.mutant import Part

#: The first slice of each scenario; every round they are twice as long, up to the longest.
_FIRST_SLICE_SECONDS, _LONGEST_SLICE_SECONDS = 0.05, 0.8
#: Nothing has moved for so long: a hang. Twenty times the longest random sleep.
PATIENCE_SECONDS = 2.0
_UNIFORM_SECONDS = 1e-3
_DEVICES = 2
#: What is wrong with an example of a rule is wrong each time; what was wrong once, on a busy machine, is not.
_EXAMPLES = "stress.stress_rules"
#: Some rules are about device times only; and nobody here can wait for a minute to see that a wait stalls.
_FOR_RULES = {"CPUGPU_DEVICE_TIME": "1", "CPUGPU_STALL_SECONDS": "0.2"}
#: A beat that comes later than this is a disturbance.
_BEAT_SECONDS, _DISTURBED_SECONDS = 0.05, 0.2


@dataclass(frozen=True)
class Kill:
    """What an engine made of a mutant: the scenario and the outcome that gave it away, both empty if none did.

    `proved`: of so many programs the explorer has tried every trace, all that there are for its part, and none failed.
    `finding`: the rule that the sanitizer has found to be broken; the outcome may be a good one then.
    """

    killed: bool
    seconds: float
    by: str = ""
    outcome: str = ""
    proved: int = 0
    finding: str = ""


@dataclass(frozen=True)
class Play:
    """What is played, on which device (`sim` or `accelerator`), for how long, with which seed."""

    scenario: Scenario
    device: str
    seconds: float
    seed: int


#: Plays, and says which forbidden outcome or which broken rule it has seen; "" for none.
Engine = Callable[[Play], str]


def try_out(
    engine: str,
    part: Part | None,
    pulse: Pulse,
    *,
    device: str,
    seconds: float,
    seed: int,
    begins: Callable[[str], None] = lambda _: None,
) -> Kill:
    """Put the code as it is now, mutant or not, to an engine on `device` for so many seconds.

    `part` is that of the mutant, None for all. `begins` is called with the name of what is played next.
    """
    began = time.monotonic()
    if engine == "rules" and part in (None, "rules"):
        wrong = _wrong_example(pulse, lambda: begins("examples"))
        if wrong:
            return Kill(True, time.monotonic() - began, *wrong)
    place = choose_device(device)(seed)
    listed = scenarios_for(part, SUBJECTS[engine](part), place)
    if part is None:
        listed += [each for each in scenarios_for(None, SUBJECTS[engine]("rules"), place) if each.subject_name]
    if engine == "rules":
        listed = [each for each in listed if each.subject_name]
    return put_to(listed, ENGINES[engine], pulse, device=device, seconds=seconds, seed=seed, began=began, begins=begins)


def put_to(
    listed: list[Scenario],
    engine: Engine,
    pulse: Pulse,
    *,
    device: str,
    seconds: float,
    seed: int,
    began: float,
    begins: Callable[[str], None] = lambda _: None,
) -> Kill:
    """Deal `seconds`, counted from `began`, out to the scenarios until the engine sees something in one."""
    spent = dict.fromkeys(range(len(listed)), 0.0)
    turns = dict.fromkeys(range(len(listed)), 0)
    while listed and (left := seconds - (time.monotonic() - began)) > 0:
        number = min(spent, key=lambda each: (spent[each], each))
        begins(listed[number].name)
        length = min(_FIRST_SLICE_SECONDS * 2 ** turns[number], _LONGEST_SLICE_SECONDS, left)
        started = time.monotonic()
        outcome = engine(Play(listed[number], device, length, seed + turns[number]))
        if outcome and listed[number].module == _EXAMPLES:
            outcome = engine(Play(listed[number], device, length, seed + turns[number]))
        calm = pulse.calm_since(started)
        if outcome and calm:
            return Kill(True, time.monotonic() - began, listed[number].name, outcome)
        spent[number] += time.monotonic() - started
        turns[number] += calm  # what came of a disturbance is played again
    return Kill(False, time.monotonic() - began)


def _wrong_example(pulse: Pulse, begins: Callable[[], None]) -> tuple[str, str] | None:
    """The first example with which the rules are wrong, twice, and how."""
    wrong: str | None = None
    while True:
        started = time.monotonic()
        begins()
        for row in example_rows():
            if not row.right:
                break
            begins()
        else:
            return None
        if pulse.calm_since(started):
            if row.program == wrong:
                return row.program, "breaks " + (", ".join(sorted(row.found)) or "nothing")
            wrong = row.program


class Pulse:
    """Knows when this process could not run as it should, because the machine had other things to do.

    A hang is told from a standstill by time, and some rules are about time. What was seen while the process itself was
    kept from running says nothing about the code.
    """

    def __init__(self) -> None:
        self._last = self._disturbed = time.monotonic()
        threading.Thread(target=self._beat, name="pulse", daemon=True).start()

    def calm_since(self, started: float) -> bool:
        """Has nothing disturbed it since then?"""
        return self._disturbed <= started and time.monotonic() - self._last < _DISTURBED_SECONDS

    def _beat(self) -> None:
        while True:
            time.sleep(_BEAT_SECONDS)
            now = time.monotonic()
            if now - self._last >= _DISTURBED_SECONDS:
                self._disturbed = now
            self._last = now


def play_hammer(play: Play) -> str:
    """The hammer."""
    result = hammer(
        play.scenario,
        seconds=play.seconds,
        device=choose_device(play.device)(play.seed),
        seed=play.seed,
        stop_at_first=True,
        patience=PATIENCE_SECONDS,
    )
    return result.failures[0].outcome if result.failures else ""


def play_rules(play: Play) -> str:
    """The same, and afterwards a look at what the rules have found. What comes out of the scenario does not count."""
    logger = logging.getLogger("cpugpu")
    disabled, logger.disabled = logger.disabled, True
    before = {name: os.environ.get(name) for name in _FOR_RULES}
    os.environ.update(_FOR_RULES)
    journal.clear()
    try:
        play_hammer(play)
        watcher.stop()  # the first event has started it
        gc.collect()
        watcher.beat()
        return ", ".join(sorted(journal.broken() - set(play.scenario.breaks)))
    finally:
        logger.disabled = disabled
        journal.clear()
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def play_baseline(play: Play) -> str:
    """A plain loop."""
    rng = random.Random(play.seed)
    rig = HammerRig(_uniform_device(play), _Uniform(rng.random()), patience=PATIENCE_SECONDS)
    began, number, outcome = time.monotonic(), 0, ""
    try:
        with using(rig.device):
            while not outcome and (not number or time.monotonic() - began < play.seconds):
                rig.begin(f"{play.seed}/{play.scenario.title}/{number}")
                outcome = _forbidden(play.scenario, rig)
                number += 1
    finally:
        rig.close()
    return outcome


def _forbidden(scenario: Scenario, rig: HammerRig) -> str:
    """Execute `scenario` once: its outcome if that is forbidden, else ""."""
    try:
        outcome = scenario(rig)
        rig.end()
    except ThreadFailed as failure:
        outcome = raised(failure.__cause__ or failure)
    except Standstill:
        outcome = HANG
    except Exception as exception:
        outcome = raised(exception)
    return str(outcome) if scenario.grade(outcome)[0] is Grade.FORBIDDEN else ""


class _Uniform(Jitter):
    """Every thread and every kernel is late by a uniform 0 to 1 ms, at the places where the hammer's may be."""

    def __init__(self, seed: float) -> None:
        super().__init__()
        self._seed = seed
        self._own = threading.local()

    def begin(self, key: str) -> None:
        """Draw from a generator of the thread's own."""
        super().begin(key)
        self._own.rng = random.Random(f"{self._seed}/{key}")

    def pause(self) -> None:
        """Sleep. A thread that has not begun never does."""
        self.moves += 1
        if hasattr(self._own, "rng"):
            time.sleep(self._own.rng.uniform(0, _UNIFORM_SECONDS))

    def kernel_delay(self) -> float:
        """For a real device, which is not late by itself."""
        return float(self._own.rng.uniform(0, _UNIFORM_SECONDS)) if hasattr(self._own, "rng") else 0.0


def _uniform_device(play: Play) -> Device:
    if play.device != "sim":  # kernels are late by the rig's delays there
        return choose_device(play.device)(play.seed)

    def latency(rng: random.Random) -> Callable[[], float]:
        return lambda: rng.uniform(0, _UNIFORM_SECONDS)

    return SimulatedDevice(Simulator(_DEVICES, seed=play.seed, latency=latency))


class Checked(InstrumentedEvent):
    """The instrumented event, as the scenarios make it, in `check` mode whatever the environment says."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "mode": "check"})


def _plain(part: Part | None) -> Any:
    """The rules are in the instrumented event only; without a mode of its own it raises."""
    return InstrumentedEvent if part == "rules" else CpuGpuEvent


def _checked(part: Part | None) -> Any:  # noqa: ARG001
    return Checked


ENGINES: Mapping[str, Engine] = {"hammer": play_hammer, "rules": play_rules, "baseline": play_baseline}
#: The class under test, by the part that the mutant belongs to.
SUBJECTS: Mapping[str, Callable[[Part | None], Any]] = {"hammer": _plain, "rules": _checked, "baseline": _plain}
