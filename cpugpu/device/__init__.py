"""Devices, and the choice between them.

`resolve(None)` is what `CpuGpuEvent()` calls: the device that a runner put in place with `using`, else the one that
`CPUGPU_DEVICE` names, by default the accelerator where there is one and the host elsewhere. The simulated device is
never chosen silently: somebody has to say `"sim"`.
"""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cpugpu import settings
from cpugpu.device.base import Buffer, Device, DeviceEvent, Sight, Stream
from cpugpu.device.host import HostDevice
from cpugpu.device.simulated import SimulatedDevice, Simulator

if TYPE_CHECKING:
    from typing import TypeAlias

#: A device, a torch device or its string, `"host"`, `"cpu"`, `"sim"`, `"sim:1"`, or None for the setting.
DeviceLike: TypeAlias = "Any"

__all__ = [
    "Buffer",
    "Device",
    "DeviceEvent",
    "DeviceLike",
    "Sight",
    "Stream",
    "find_accelerator",
    "in_use",
    "resolve",
    "simulator",
    "using",
]

_HOST = HostDevice()
_ALLOWED = "a torch device or its string, 'host', 'sim', a cpugpu Device, or None for what CPUGPU_DEVICE says"

_in_use: list[Device] = []
_simulator_lock = threading.Lock()  # lru_cache alone would let two first callers make two


def resolve(device: DeviceLike = None) -> Device:
    """The device that `device` means. `ValueError` for one that is unknown or not there, `TypeError` for no device."""
    if device is None:
        return _in_use[-1] if _in_use else _from_setting(settings.device_choice())
    if isinstance(device, str):
        return _named(device)
    if not isinstance(device, type) and all(hasattr(device, name) for name in ("current_stream", "record", "wait")):
        return device  # type: ignore[no-any-return]
    if hasattr(device, "type") and hasattr(device, "index"):
        return _named(str(device))
    raise TypeError(f"{device!r} is no device; allowed is {_ALLOWED}")


def find_accelerator(index: int | None = None) -> Device | None:
    """Torch's accelerator, None where torch or the accelerator is missing. `index` None: whichever is current."""
    try:
        from cpugpu.device import accelerator as implementation
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        return None
    return implementation.find(index)


def in_use() -> Device | None:
    """The device that a runner has put in place, if one has."""
    return _in_use[-1] if _in_use else None


@contextmanager
def using(device: Device) -> Iterator[Device]:
    """Make `device` what None means, in every thread, for the length of a `with` block. For runners."""
    _in_use.append(device)
    try:
        yield device
    finally:
        _in_use.remove(device)


def simulator() -> Simulator:
    """The simulator behind `"sim"`: two devices, made on first use, seeded by `CPUGPU_SEED` (0 if unset)."""
    with _simulator_lock:
        return _make_simulator()


@functools.lru_cache(maxsize=1)
def _make_simulator() -> Simulator:
    return Simulator(devices=2, seed=settings.seed() or 0)


def _named(text: str) -> Device:
    kind, _, number = text.partition(":")
    if not re.fullmatch(r"[a-z_]\w*(:\d+)?", text):
        raise ValueError(f"device {text!r} is no device; allowed is {_ALLOWED}")
    index = int(number) if number else None
    if kind in ("host", "cpu"):
        return _HOST
    if kind == "sim":
        return SimulatedDevice(simulator(), index)
    found = find_accelerator(index)
    if found is None:
        raise ValueError(
            f"device {text!r} was asked for and there is no accelerator here; allowed are 'host' and 'sim'"
        )
    if found.name.partition(":")[0] != kind:
        raise ValueError(f"device {text!r} was asked for and the accelerator here is {found.name!r}")
    return found


def _from_setting(choice: settings.DeviceChoice) -> Device:
    if choice == "host":
        return _HOST
    if choice == "sim":
        return SimulatedDevice(simulator())
    found = find_accelerator()
    if found is None and choice == "accelerator":
        raise ValueError("CPUGPU_DEVICE=accelerator, and there is none here; allowed are auto, host and sim")
    return found or _HOST
