"""`CpuGpuEvent`: what its two threads tell each other without a lock.

The consumer gives a device event up for the next record by an attribute alone, which is enough under the GIL, and costs
the hot path nothing. So who takes the device event is after who has given it up, and after nobody else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cpugpu.event import CpuGpuEvent
from cpugpu.patches import Patch
from cpugpu.sanitize.model import Model, Sync
from cpugpu.sanitize.places import here

_NAME, _GIVEN = "_spare", "_cpugpu_spare"


def patches(model: Model) -> Iterator[Patch]:
    """What takes the place of the attribute, in all events: those that are there already too."""
    yield CpuGpuEvent, _NAME, _Spare(model)


class _Spare:
    """The attribute. Its value is where it always was, so that it is there still when the watch is over."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def __get__(self, event: Any, owner: Any = None) -> Any:
        value = event.__dict__[_NAME]
        given = event.__dict__.get(_GIVEN)
        if given is not None and given[0] is value:
            self._model.acquire(self._model.me(), given[1])
        return value

    def __set__(self, event: Any, value: Any) -> None:
        if value is not None:
            sync = Sync("a device event to record again")
            self._model.release(self._model.me(), sync, "the end of a wait", here())
            event.__dict__[_GIVEN] = value, sync
        event.__dict__[_NAME] = value
