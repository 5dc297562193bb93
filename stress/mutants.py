"""Does the catalogue catch what it claims to catch? `make mutants` puts each mutant to every scenario until one fails.

Prints a line a mutant: what killed it, with which outcome, and how fast. The exit status is 1 if one survives.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from cpugpu.device.simulated import SimulatedDevice, Simulator
from cpugpu.hammer import hammer
from cpugpu.rig import Scenario
from stress.stress_driver_fails import record_fails, wait_fails
from stress.stress_eplb import eplb, eplb_worker_dies
from stress.stress_hand_off import hand_off
from stress.stress_ping_pong import ping_pong
from stress.stress_prefetch import prefetch
from stress.stress_refusals import double_record, eager_producer
from stress.stress_reuse import next_record, reuse
from stress.stress_rule_breakers import two_consumers, two_producers
from stress.subjects import MUTANTS, SeedEvent

#: What a correct class with `record` and `wait` alone can pass, quick ones first.
SCENARIOS = (
    hand_off,
    double_record,
    eager_producer,
    next_record,
    ping_pong,
    reuse,
    prefetch,
    wait_fails,
    two_consumers,
    eplb,
    eplb_worker_dies,
    record_fails,
    two_producers,
)
#: A mutant's time is dealt out in slices, so that a scenario which cannot see it does not eat all of it.
_SLICE_SECONDS = 0.3
_PATIENCE_SECONDS = 2.0


@dataclass
class Verdict:
    """What happened to a mutant. `scenario` is empty if it survived."""

    mutant: str
    scenario: str
    outcome: str
    seconds: float


def try_mutant(mutant: type, scenarios: Sequence[Scenario], *, seconds: float, seed: int) -> Verdict:
    """Hammer `mutant` with one scenario after another, again and again, until one fails or the time is up."""
    began = time.monotonic()
    round_number = 0
    while time.monotonic() - began < seconds:
        for scenario in scenarios:
            result = hammer(
                scenario.on(mutant),
                seconds=_SLICE_SECONDS,
                device=SimulatedDevice(Simulator()),
                seed=seed + round_number,
                stop_at_first=True,
                patience=_PATIENCE_SECONDS,
            )
            if result.failures:
                failure = result.failures[0]
                return Verdict(mutant.__name__, scenario.name, failure.outcome, time.monotonic() - began)
        round_number += 1
    return Verdict(mutant.__name__, "", "", time.monotonic() - began)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="time for each mutant (default 10)")
    parser.add_argument("--seed", type=int, default=0, help="seed of all random choices (default 0)")
    options = parser.parse_args()
    print(f"device sim, seed {options.seed}, at most {options.seconds:g} s each")
    print(f"{'mutant':22}  {'killed by':16}  {'outcome':22}  seconds")
    survivors = 0
    for mutant in (SeedEvent, *MUTANTS):
        verdict = try_mutant(mutant, SCENARIOS, seconds=options.seconds, seed=options.seed)
        survivors += not verdict.scenario
        killer = verdict.scenario or "SURVIVED"
        print(f"{verdict.mutant:22}  {killer:16}  {verdict.outcome:22}  {verdict.seconds:7.2f}", flush=True)
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
