"""Mutants of the event, the simulated device and the rules, and what kills them (`make mutants`).

Those of the accelerator's device are for machines that have one: `--device accelerator`.
"""

from __future__ import annotations

from stress.mutants.accelerator import ACCELERATOR
from stress.mutants.device import DEVICE
from stress.mutants.event import EVENT
from stress.mutants.mutant import PARTS, Mutant, Part, PatchError
from stress.mutants.rules import RULES

#: All of them, by name.
MUTANTS: dict[str, Mutant] = {mutant.name: mutant for mutant in (*EVENT, *DEVICE, *RULES, *ACCELERATOR)}

__all__ = ["MUTANTS", "PARTS", "Mutant", "Part", "PatchError"]
