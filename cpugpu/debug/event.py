"""`InstrumentedEvent`: the event that keeps a journal and knows the rules."""

from __future__ import annotations

import functools
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

from cpugpu import settings
from cpugpu.debug import process
from cpugpu.debug.defects import note, tell, untold
from cpugpu.debug.device_time import clock_of
from cpugpu.debug.effort import spent
from cpugpu.debug.journal import journal
from cpugpu.debug.nvtx import start_range
from cpugpu.debug.operation import Kind, Operation
from cpugpu.debug.probe import Probe
from cpugpu.debug.recorder import a_capture_goes_on, begin
from cpugpu.debug.rules import Moment, broken, rules_at, steady
from cpugpu.debug.state import EventState
from cpugpu.debug.verdict import judge
from cpugpu.debug.watcher import watcher
from cpugpu.device import DeviceLike
from cpugpu.event import CpuGpuEvent
from cpugpu.gate import _CLOSED

#: How often a blocked wait looks whether the watcher has passed a sentence, in seconds.
_LOOK_SECONDS = 0.05

_RECORD, _WAIT, _CLOSE = Kind.RECORD, Kind.WAIT, Kind.CLOSE  # a look-up in an enum costs as much as a clock
_now = time.perf_counter_ns
_local = journal.local
#: A call that only enqueues is slow after that; Moment.SLOW says so, too.
_SLOW_NS = 10_000_000

_AT_BEGIN, _AT_STREAM, _AT_FORKED = rules_at(Moment.BEGIN), rules_at(Moment.STREAM), rules_at(Moment.FORKED)
_AT_HANDED, _AT_SLOW, _AT_LIFE = rules_at(Moment.HANDED), rules_at(Moment.SLOW), rules_at(Moment.LIFE)


class InstrumentedEvent(CpuGpuEvent):
    """A `CpuGpuEvent` that writes a journal and, depending on `mode`, checks the rules.

    `log`: journal only. `check`: a violation is also logged as an error on the `cpugpu` logger, kept in the journal and
    counted, and the call goes on as it would without. `raise`: the thread that breaks a rule gets `ProtocolViolation`
    before anything else happens. None: what `CPUGPU_DEBUG` says; `raise` if that is off.

    In every mode a watcher thread reports waits that stall. The instruments make no device event (unless
    CPUGPU_DEVICE_TIME asks for it), query none during a capture, hold no lock across a driver call and touch nothing
    process-global.
    """

    instrumented = True  # for cpugpu.annotate

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
        self._checks, self._raising = self._mode != "log", self._mode == "raise"
        self._real = self._device
        self._state_lock = threading.RLock()  # held for a look, never across a call; a signal handler may come in
        self.state = EventState(
            str(self._name),
            judged=self._checks,
            device=self._real.name,
            index=getattr(self._real, "index", None),
            only_sight=getattr(self._real, "only_sight", None),
            process=process.forks,
            creator=threading.current_thread(),
            died=journal.death_of,
            stall_ns=None if self._stall_seconds is None else int(self._stall_seconds * 1e9),
        )
        self.state.lookup = weakref.ref(self)
        self._device: Any = Probe(self._real, self, clock_of(self._real))
        watcher.watch(self)  # which may start the trace
        self._heeds = self._checks or journal.tracing or start_range is not None
        made = begin(_local.ring, Kind.MADE, self.state, self._real, None)
        made.end_ns = _now()
        _local.ring.now = made.outer
        if made.sight is not None:
            self.state.creator_stream, self.state.creator_default = made.sight.current, made.sight.default
        self._heed(made)

    # record() and wait() are written out: what they share, as a function, would add 0.3 µs to their 1.1 (mode `log`).

    def record(self, stream: Any = None) -> None:
        """Record, as `CpuGpuEvent.record`, with a journal entry."""
        ring = _local.ring
        operation = begin(ring, _RECORD, self.state, self._real, stream)
        try:
            if self._checks:
                self._check(operation)
            CpuGpuEvent.record(self, stream)
        except BaseException as exception:
            operation.failed(exception)
            raise
        finally:
            operation.end_ns = _now()
            ring.now = operation.outer
            if self._heeds:
                self._heed(operation)

    def wait(self, stream: Any = None, timeout: float | None = None) -> None:
        """Wait, as `CpuGpuEvent.wait`, with a journal entry."""
        ring = _local.ring
        operation = begin(ring, _WAIT, self.state, self._real, stream)
        if timeout is not None:
            operation.timeout = timeout
        try:
            if self._checks:
                self._check(operation)
            CpuGpuEvent.wait(self, stream, timeout)
        except BaseException as exception:
            operation.failed(exception)
            raise
        finally:
            operation.end_ns = _now()
            ring.now = operation.outer
            if self._heeds:
                self._heed(operation)

    def synchronize(self, timeout: float | None = None) -> None:
        """Synchronise, as `CpuGpuEvent.synchronize`, with a journal entry."""
        operation = begin(_local.ring, Kind.SYNCHRONIZE, self.state, self._real, None)
        operation.timeout = timeout
        operation.capture_elsewhere = a_capture_goes_on()
        self._observe(operation, functools.partial(CpuGpuEvent.synchronize, self, timeout))

    def fail(self, exception: BaseException) -> None:
        """Fail, as `CpuGpuEvent.fail`, with a journal entry."""
        operation = begin(_local.ring, Kind.FAIL, self.state, self._real, None)
        self._observe(operation, functools.partial(CpuGpuEvent.fail, self, exception))

    def close(self) -> None:
        """Close, as `CpuGpuEvent.close`, with a journal entry."""
        operation = begin(_local.ring, Kind.CLOSE, self.state, self._real, None)
        self._observe(operation, functools.partial(CpuGpuEvent.close, self))

    # -- what cpugpu.annotate says ---------------------------------------------------------------------------------

    def declare(self, producer: Any, consumer: Any, producer_thread: threading.Thread | None) -> None:
        """Which streams the roles use, and which thread records."""
        streams = {"producer": producer, "consumer": consumer}
        self.state.declared_streams.update({role: stream for role, stream in streams.items() if stream is not None})
        self.state.declared_producer = producer_thread or self.state.declared_producer
        self.state.usual.clear()

    def expect(self, generation: int) -> None:
        """The calling thread's next wait is for that generation."""
        self.state.expected[threading.current_thread()] = generation

    def stamp(self, payload: Any) -> None:
        """The next record hands `payload` over."""
        self.state.unbound.append(payload)

    def use(self, payload: Any) -> None:
        """The calling thread uses `payload`, which should be that of its last wait."""
        operation = begin(_local.ring, Kind.USE, self.state, self._real, None)
        operation.detail, operation.generation = (
            self.state.generation_of(payload),
            self.state.consumed if self._checks else journal.consumed(self.state),
        )
        self._observe(operation, None)

    def teardown(self) -> None:
        """What the event hands over is about to be destroyed."""
        operation = begin(_local.ring, Kind.TEARDOWN, self.state, self._real, None)
        here = [other for other in journal.under_way() if other.state is self.state]
        waiting = [other for other in here if other.kind in (Kind.WAIT, Kind.SYNCHRONIZE)]
        operation.detail = ", ".join(other.thread_name for other in waiting)
        self._observe(operation, None)

    # -- for the probe and the watcher -----------------------------------------------------------------------------

    def handed_over(self, operation: Operation) -> None:
        """A wait has got its record; its device wait comes next."""
        if operation.kind is Kind.SYNCHRONIZE:
            operation.effort = spent()
        if self._checks:
            self._judge(_AT_HANDED, operation)

    def look(self) -> None:
        """Write into the state how the event is now."""
        state = self.state
        state.closed = closed = self._ending is _CLOSED
        state.held = held = self._handed is not None and self._room.locked() and not closed
        # What a raising record or wait has put back may be replaced, and is nobody's to consume.
        state.pending = held and not self._returning and self._returned != self._generation
        state.generation = self._generation

    def judge_from_outside(self, rules: Any, operation: Operation) -> None:
        """The watcher found `operation` standing still. In `raise` mode its thread gets the exception when it looks."""
        if not self._checks or self.state.process != process.forks:
            return
        with self._state_lock:
            self.look()
            found = broken(rules, self.state, operation)
        known = dict(operation.violations)
        sentence = judge(operation, [each for each in found if each[0] not in known], raising=self._raising)
        operation.sentence = operation.sentence or sentence

    # -- the work --------------------------------------------------------------------------------------------------

    def _observe(self, operation: Operation, call: Callable[[], None] | None) -> None:
        """Check, call and end, for what need not be fast."""
        try:
            if self._checks:
                self._check(operation)
            if call is not None:
                call()
        except BaseException as exception:
            operation.failed(exception)
            raise
        finally:
            if operation.effort is not None:
                operation.effort = spent().since(operation.effort)
            operation.end_ns = _now()
            _local.ring.now = operation.outer
            self._heed(operation)

    def _check(self, operation: Operation) -> None:
        state = self.state
        if state.process != process.forks:
            self._state_lock = threading.RLock()  # the parent's may be held by a thread that is not here
            self._pass_sentence(operation, broken(_AT_FORKED, state, operation))
        try:
            with self._state_lock:
                self.look()
                found = [] if steady(state, operation) else broken(_AT_BEGIN, state, operation)
                # The rules of streams depend on nothing else: what has passed them need not pass them again.
                usual = (operation.kind, operation.thread, operation.implicit, operation.sight)
                if usual not in state.usual:
                    of_stream = broken(_AT_STREAM, state, operation)
                    if not of_stream and not operation.refusal:
                        state.usual.append(usual)
                    found += of_stream
                if not found:
                    state.bind(operation)
        except Exception:  # streams are compared, and somebody's own class may raise
            note("the comparison of streams")
            return
        if found:
            self._pass_sentence(operation, found)

    def _heed(self, operation: Operation) -> None:
        """`operation` is over: what follows for the state, the rules and the trace."""
        operation.outer = None
        try:
            self.state.ended(operation)
            if operation.end_range is not None:
                operation.end_range()
                operation.end_range = None
            if self._checks and (operation.end_ns - operation.begin_ns >= _SLOW_NS or operation.kind is _CLOSE):
                found = broken(_AT_SLOW, self.state, operation) + broken(_AT_LIFE, self.state, operation)
                judge(operation, found, raising=False)
            if journal.tracing:
                journal.keep(operation)
        except Exception:  # the call itself has succeeded, or raises an exception of its own
            note("the end of a call")
        if untold:
            tell()

    def _judge(self, rules: Any, operation: Operation) -> None:
        found = broken(rules, self.state, operation)
        if found:
            self._pass_sentence(operation, found)

    def _pass_sentence(self, operation: Operation, found: list[tuple[str, str]]) -> None:
        sentence = judge(operation, found, raising=self._raising)
        if sentence is not None:
            raise sentence

    def _block(self, timeout: float | None) -> None:
        """Block. Afterwards there must be no call: Ctrl-C could come out of it, with the token in hand."""
        operation: Operation = _local.ring.now  # type: ignore[assignment]  # it is in the call
        operation.blocked = True
        if self._raising:
            self._block_in_slices(operation, timeout)
        else:
            super()._block(timeout)

    def _block_in_slices(self, operation: Operation, timeout: float | None) -> None:
        """As the production class blocks, but so that the watcher may pass a sentence on this wait."""
        if self.closed:
            raise self._closed_error()
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            seconds = _LOOK_SECONDS if deadline is None else min(_LOOK_SECONDS, deadline - time.monotonic())
            if self._acquire_gate(map(self._gate.acquire, (True,), (max(0.0, seconds),))):
                return
            if operation.sentence is not None:
                sentence, operation.sentence = operation.sentence, None  # which would keep its frames alive
                raise sentence
            if deadline is not None and time.monotonic() >= deadline:
                raise self._timed_out()

    def _warn_of_stall(self, seconds: float) -> None:
        """The watcher tells more."""
