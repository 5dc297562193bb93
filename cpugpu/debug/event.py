"""`InstrumentedEvent`: the event that keeps a journal and knows the rules."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from cpugpu import settings
from cpugpu.debug.journal import Kind, Operation, journal
from cpugpu.debug.rules import RULES, EventState, broken
from cpugpu.device import Device, DeviceEvent, DeviceLike
from cpugpu.errors import HandoffClosed, ProtocolViolation
from cpugpu.event import CpuGpuEvent

log = logging.getLogger("cpugpu")

#: How often a blocked wait looks whether its producer is alive, in seconds.
_LOOK_SECONDS = 0.05
#: How many entries of its history a violation carries.
_HISTORY = 16


class InstrumentedEvent(CpuGpuEvent):
    """A `CpuGpuEvent` that writes a journal and, depending on `mode`, checks the rules.

    `log`: journal only. `check`: a violation is also logged as an error on the `cpugpu` logger, kept in the journal and
    counted, and the call goes on as it would without. `raise`: the thread that breaks a rule gets `ProtocolViolation`
    before anything else happens. None: what `CPUGPU_DEBUG` says; `raise` if that is off.

    The instruments make no device event, query none, hold no lock across a driver call and touch nothing
    process-global.
    """

    def __init__(
        self, device: DeviceLike = None, *, name: str | None = None, mode: settings.DebugMode | None = None
    ) -> None:
        super().__init__(device, name=name)
        if mode is None:
            mode = settings.debug_mode()
            mode = "raise" if mode == "off" else mode
        self._mode = settings.parse_debug_mode(str(mode))
        if self._mode == "off":
            raise ValueError(f"mode={mode!r}: with the instruments off, use CpuGpuEvent; allowed are log, check, raise")
        self._state = EventState(self._name)
        self._state_lock = threading.Lock()  # held for a look at the state, never across a call of anything
        self._current = threading.local()
        self._device: Any = _Probe(self._device, self)

    def record(self, stream: Any = None) -> None:
        """Record, as `CpuGpuEvent.record`, with a journal entry."""
        self._observe(Kind.RECORD, stream, lambda: super(InstrumentedEvent, self).record(stream))

    def wait(self, stream: Any = None, timeout: float | None = None) -> None:
        """Wait, as `CpuGpuEvent.wait`, with a journal entry."""
        self._observe(Kind.WAIT, stream, lambda: super(InstrumentedEvent, self).wait(stream, timeout))

    def synchronize(self, timeout: float | None = None) -> None:
        """Synchronise, as `CpuGpuEvent.synchronize`, with a journal entry."""
        self._observe(Kind.SYNCHRONIZE, None, lambda: super(InstrumentedEvent, self).synchronize(timeout))

    def fail(self, exception: BaseException) -> None:
        """Fail, as `CpuGpuEvent.fail`, with a journal entry."""
        self._observe(Kind.FAIL, None, lambda: super(InstrumentedEvent, self).fail(exception))

    def close(self) -> None:
        """Close, as `CpuGpuEvent.close`, with a journal entry."""
        self._observe(Kind.CLOSE, None, super().close)

    def _observe(self, kind: Kind, stream: Any, call: Callable[[], None]) -> None:
        operation = Operation(
            kind=kind,
            event=self._name,
            thread=threading.current_thread(),
            thread_id=threading.get_ident(),
            stream=self._describe(kind, stream),
            device=self._device.name,
            begin_ns=time.perf_counter_ns(),
        )
        journal.add(operation)
        self._current.operation = operation
        try:
            self._check(operation)
            call()
        except BaseException as exception:
            operation.error = type(exception).__name__
            raise
        finally:
            operation.end_ns = time.perf_counter_ns()

    def _describe(self, kind: Kind, stream: Any) -> str:
        """The stream's name. Whatever is wrong with it is for the device to tell, not for the journal."""
        if kind not in (Kind.RECORD, Kind.WAIT):
            return ""
        try:
            return repr(self._device.current_stream() if stream is None else stream)
        except Exception as error:
            return f"<{type(error).__name__}>"

    def _check(self, operation: Operation) -> None:
        if self._mode == "log":
            return
        with self._state_lock:
            self._look_at_slot(waiting=False)
            found = broken(self._state, operation)
            if not found:
                self._state.bind(operation)
        self._report(operation, found)

    def _look_at_slot(self, *, waiting: bool) -> None:
        state = self._state
        # What a raising record or wait has put back may be replaced, and is nobody's to consume.
        state.pending = self.pending and self._returned != self._generation
        state.waiting = waiting and self._gate.locked()
        state.closed = self.closed
        state.generation = self._generation

    def _report(self, operation: Operation, found: list[tuple[str, str]]) -> None:
        for rule, message in found:
            journal.violation(operation, rule, message)
            if self._mode == "check":
                log.error("%s: %s", rule, message)
        if found and self._mode == "raise":
            rule, message = found[0]
            others = [part.name for part in (self._state.producer, self._state.consumer) if part is not None]
            error = _ClosedViolation if self.closed else ProtocolViolation
            raise error(
                f"{message} [{rule}: {RULES[rule].text.splitlines()[0]}]",
                rule=rule,
                event=self._name,
                generation=self._generation,
                threads=tuple(dict.fromkeys([operation.thread.name, *others])),
                history=[str(entry) for entry in journal.entries(self._name)[-_HISTORY:]],
            )

    def _block(self, timeout: float | None) -> None:
        """As the production class blocks, but in slices: between two, look whether anybody may still record."""
        if self.closed:
            raise self._closed_error()
        operation: Operation = self._current.operation
        began = time.monotonic()
        warned = told = False
        while True:
            waited = time.monotonic() - began
            if timeout is not None and waited >= timeout:
                raise self._timed_out()
            if self._stall_seconds is not None and waited >= self._stall_seconds and not warned:
                warned = True
                self._warn_of_stall(self._stall_seconds)
            seconds = _LOOK_SECONDS if timeout is None else min(_LOOK_SECONDS, timeout - waited)
            if self._acquire_gate(map(self._gate.acquire, (True,), (seconds,))):
                return
            if self._mode != "log" and not told:
                told = self._look(operation)

    def _look(self, operation: Operation) -> bool:
        """While a wait blocks: is a rule broken by now?"""
        with self._state_lock:
            self._look_at_slot(waiting=True)
            message = RULES["dead-producer"].check(self._state, operation)
        if message is not None:
            self._report(operation, [("dead-producer", message)])
        return message is not None

    def note_generation(self, generation: int) -> None:
        """The operation under way in this thread is about that generation. For the instruments."""
        self._current.operation.generation = generation


class _ClosedViolation(ProtocolViolation, HandoffClosed):
    """What `raise` mode raises for a closed event: code that ends on `HandoffClosed` still does."""


class _Stamped:
    """A device event that knows which generation its record belongs to."""

    def __init__(self, event: DeviceEvent, generation: int, owner: InstrumentedEvent) -> None:
        self.event = event
        self.generation = generation
        self._owner = owner

    def record(self, stream: Any = None) -> None:
        self.event.record(stream)

    def wait(self, stream: Any = None) -> None:
        self.event.wait(stream)

    def query(self) -> bool:
        self._owner.note_generation(self.generation)
        return self.event.query()

    def synchronize(self) -> None:
        self._owner.note_generation(self.generation)
        self.event.synchronize()


class _Probe:
    """The event's device, which also writes the generation of each record and wait into the journal."""

    def __init__(self, device: Device, owner: InstrumentedEvent) -> None:
        self._device = device
        self._owner = owner

    def record(self, stream: Any, spare: DeviceEvent | None) -> _Stamped:
        event = self._device.record(stream, spare.event if isinstance(spare, _Stamped) else spare)
        generation = self._owner.generation + 1
        self._owner.note_generation(generation)
        return _Stamped(event, generation, self._owner)

    def wait(self, event: DeviceEvent, stream: Any) -> None:
        assert isinstance(event, _Stamped)
        self._owner.note_generation(event.generation)
        self._device.wait(event.event, stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._device, name)
