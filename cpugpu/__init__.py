"""cpugpu: hand work from CPU threads to GPU streams, and prove that the hand-off is right.

`CpuGpuEvent` is the hand-off. The errors are what it raises. `scenario` describes a test of a hand-off (a function over
threads, streams, events and buffers); `hammer` runs it for a while with real threads and reports what came out, and
`explore` tries its schedules one by one (which needs `cpugpu[stress]`). `simulate` puts the simulated device in the
place of `torch.cuda`, for programs that know nothing of all this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cpugpu import event as _event
from cpugpu import settings as _settings
from cpugpu.errors import (
    DeviceError,
    HandoffClosed,
    HandoffError,
    HandoffTimeout,
    ProducerFailed,
    ProtocolViolation,
)
from cpugpu.event import CpuGpuEvent
from cpugpu.hammer import hammer
from cpugpu.rig import scenario

if TYPE_CHECKING:
    from cpugpu.explore import explore as explore
    from cpugpu.simulate import simulate as simulate

__version__ = "0.1.0"

__all__ = [
    "CpuGpuEvent",
    "DeviceError",
    "HandoffClosed",
    "HandoffError",
    "HandoffTimeout",
    "ProducerFailed",
    "ProtocolViolation",
    "explore",
    "hammer",
    "scenario",
    "simulate",
]


def __getattr__(name: str) -> Any:
    """`explore` and `simulate` are loaded when they are asked for: most programs have no use for them."""
    if name in ("explore", "simulate"):
        import importlib

        return importlib.import_module(f"cpugpu.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _class_for_the_toggle() -> type[CpuGpuEvent]:
    """What `CpuGpuEvent()` makes. The debug package is loaded only if it is asked for."""
    if _settings.debug_mode() == "off":
        return CpuGpuEvent
    from cpugpu.debug import InstrumentedEvent

    return InstrumentedEvent


_event.set_class_chooser(_class_for_the_toggle)
