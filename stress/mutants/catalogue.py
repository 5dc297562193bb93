"""What a mutant is put to: the scenarios of the folder `stress`, those that are about its part first."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from cpugpu.device import Device
from cpugpu.rig import Scenario
from stress.mutants.mutant import Part

_FOLDER = Path(__file__).parent.parent
#: An execution of these takes a second or more: they come last.
_SLOW = ("full_queue", "spawned")


def scenarios() -> list[Scenario]:
    """All scenarios of the folder that should pass, by file and by their order in it."""
    found: list[Scenario] = []
    for path in sorted(_FOLDER.glob("stress_*.py")):
        module = importlib.import_module(f"{_FOLDER.name}.{path.stem}")
        found += [
            each for each in vars(module).values() if isinstance(each, Scenario) and each.module == module.__name__
        ]
    return [each for each in found if not each.racy]


def scenarios_for(part: Part | None, subject: Any, device: Device) -> list[Scenario]:
    """Those which fit `device` and `subject`, in the order in which a mutant of `part` meets them.

    First those about the part (of the rules `stress_rules`, of a device `stress_device_*`), then those of the event,
    then all others. None: no part comes first.
    """
    of_devices = "stress.stress_device_"
    about = {"event": "stress.stress_", "device": of_devices, "rules": "stress.stress_rules", "accelerator": of_devices}
    prefix = about[part] if part is not None else ""
    fitting = []
    for each in scenarios():
        placed = each.on(subject) if each.takes_subject else each
        if not placed.unfit(device) and not placed.missing():
            fitting.append(placed)
    return sorted(
        fitting,
        key=lambda each: (
            each.name in _SLOW,
            not (each.module.startswith(prefix) and (part != "event" or bool(each.subject_name))),
            not each.subject_name,
        ),
    )
