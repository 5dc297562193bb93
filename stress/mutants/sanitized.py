"""The engine `sanitize`: one run of each program with the mutant, on the simulated device in the place of torch.cuda.

The other engines look for the interleaving in which a mutant does harm. The sanitizer asks for less: that an order is
missing which the mutant has taken away, in whatever interleaving there was. What it finds counts first, whichever
program has it; a forbidden outcome of a program counts where nothing was found in any.

First come the programs of `handed.py`, each of which brings about the one situation that it is about, and then those of
the catalogue.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from cpugpu import CpuGpuEvent
from cpugpu.hammer import SIMULATED_DEVICES, choose_device, hammer
from cpugpu.rig import HANG, Scenario
from cpugpu.sanitize import watching
from cpugpu.simulate import simulate
from stress.mutants.catalogue import scenarios_for
from stress.mutants.engines import PATIENCE_SECONDS, Kill
from stress.mutants.handed import HANDED

#: So short that there is one execution.
_ONE = 1e-9
#: These take long, or have an interpreter of their own to be one of.
_LEFT_OUT = ("full_queue", "spawned", "generated", "idle_consumer", "producer_has_ended", "interrupted_wait")


def programs() -> list[Scenario]:
    """What a mutant of the event meets."""
    with simulate(SIMULATED_DEVICES):
        listed = scenarios_for("event", CpuGpuEvent, choose_device("accelerator")(0))
    return [*HANDED, *(each for each in listed if each.subject_name and each.name not in _LEFT_OUT)]


def sanitize_mutant(
    *,
    seconds: float,
    seed: int,
    begins: Callable[[str], None] = lambda _: None,
    given: Sequence[Scenario] | None = None,
) -> Kill:
    """Put the event as it is now to all programs, or to those `given`. `begins`: as of the other engines."""
    began = time.monotonic()
    harm: tuple[str, str] | None = None
    for program in programs() if given is None else given:
        if time.monotonic() - began >= seconds:
            break
        begins(program.name)
        finding, outcome = run_once(program, seed)
        if finding:
            return Kill(True, time.monotonic() - began, program.name, outcome, finding=finding)
        if outcome and harm is None:
            harm = program.name, outcome
        if outcome == HANG:  # its threads cannot be ended, and go on whenever they can
            break
    if harm is not None:
        return Kill(True, time.monotonic() - began, *harm)
    return Kill(False, time.monotonic() - began)


def run_once(program: Scenario, seed: int) -> tuple[str, str]:
    """The rule that is found to be broken, and the forbidden outcome; each is empty if there is none."""
    with simulate(SIMULATED_DEVICES, seed=seed), watching() as session:
        device = choose_device("accelerator")(seed)
        result = hammer(program, seconds=_ONE, device=device, seed=seed, patience=PATIENCE_SECONDS)
        rules = [finding.rule for finding in session.model.findings if finding.rule not in program.breaks]
    return (rules[0] if rules else ""), (result.failures[0].outcome if result.failures else "")
