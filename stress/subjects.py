"""Classes to put in the place of `CpuGpuEvent`: the protocol that it replaces, and mutants with one mistake each.

A subject is made without arguments and has `record(stream=None)` and `wait(stream=None)`:

    $ make stress SUBJECT=stress.subjects:SeedEvent
    $ make stress SUBJECT=stress.subjects:NoGpuWait
"""

from __future__ import annotations

import threading
from typing import Any

from cpugpu import CpuGpuEvent
from cpugpu.device import resolve


class SeedEvent:
    """A replica of the protocol in vLLM's `CpuGpuEvent` (vllm#37601): a device event and a `threading.Event`.

    Its defects, P1 to P6:

    * P1: a record that lands between the consumer's device wait and its `clear()` is refused, in a legal program.
    * P2: when the device record raises, the consumer waits for ever.
    * P3: when the device wait raises, the flag stays set, and every later record is refused.
    * P4: two consumers pass one flag; the late one may wait on the producer's next event before that is recorded.
    * P5: the late consumer's `clear()` erases the producer's next record.
    * P6: two producers pass the check together: two records, one wait satisfied.
    """

    def __init__(self) -> None:
        self._device = resolve()
        self._event = self._device.event()
        self._recorded = threading.Event()

    def record(self, stream: Any = None) -> None:
        if self._recorded.is_set():
            raise RuntimeError("record() was called before the previous event was consumed by wait()")
        self._event = self._device.event()
        self._event.record(stream)
        self._recorded.set()

    def wait(self, stream: Any = None) -> None:
        self._recorded.wait()
        self._event.wait(stream)
        self._recorded.clear()


class BareEvent:
    """One device event, recorded again and again: what a program has that leaves the CPU threads out of it.

    A wait binds to whatever was recorded last, to nothing if nothing was; nobody is told, and nobody can ask.
    """

    pending = False

    def __init__(self) -> None:
        self._event = resolve().event()

    def record(self, stream: Any = None) -> None:
        self._event.record(stream)

    def wait(self, stream: Any = None) -> None:
        self._event.wait(stream)


class NoGpuWait(CpuGpuEvent):
    """Blocks the CPU thread and forgets the stream."""

    def wait(self, stream: Any = None, timeout: float | None = None) -> None:  # noqa: ARG002
        self._spare = self._take()


class NoCpuWait(SeedEvent):
    """Lets the stream wait and forgets that nobody may have recorded yet."""

    def wait(self, stream: Any = None) -> None:
        self._event.wait(stream)
        self._recorded.clear()


class ClearBeforeGpuWait(SeedEvent):
    """Tells the producer to go on before the device wait is made."""

    def wait(self, stream: Any = None) -> None:
        self._recorded.wait()
        self._recorded.clear()
        self._event.wait(stream)


class FlagBeforeRecord(SeedEvent):
    """Wakes the consumer before the device record is made."""

    def record(self, stream: Any = None) -> None:
        if self._recorded.is_set():
            raise RuntimeError("record() was called before the previous event was consumed by wait()")
        self._event = self._device.event()
        self._recorded.set()
        self._event.record(stream)


class OneSharedEvent(CpuGpuEvent):
    """Records one device event again and again, also while the consumer is about to wait for the last record."""

    def record(self, stream: Any = None) -> None:
        if self._handed is not None:
            self._spare = self._handed
        super().record(stream)


class NoRaise(SeedEvent):
    """Accepts a second record before the first was consumed."""

    def record(self, stream: Any = None) -> None:
        self._event = self._device.event()
        self._event.record(stream)
        self._recorded.set()


class RecordOnCurrentStream(CpuGpuEvent):
    """Records on the calling thread's current stream instead of the given one."""

    def record(self, stream: Any = None) -> None:  # noqa: ARG002
        super().record(None)


class WaitOnCurrentStream(CpuGpuEvent):
    """Lets the calling thread's current stream wait instead of the given one."""

    def wait(self, stream: Any = None, timeout: float | None = None) -> None:  # noqa: ARG002
        super().wait(None, timeout)


MUTANTS = (
    NoGpuWait,
    NoCpuWait,
    ClearBeforeGpuWait,
    FlagBeforeRecord,
    OneSharedEvent,
    NoRaise,
    RecordOnCurrentStream,
    WaitOnCurrentStream,
)
