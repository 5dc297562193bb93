"""The watcher: a thread that looks at everything which does not report itself, ten times a second.

It starts with the first instrumented event and ends at exit. A beat of it finds waits that stall or can never end,
records that nobody will consume, events that were dropped with a record in them, times when no Python thread could run;
it reads device times and writes the trace. It takes no lock that a watched thread could hold for long.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import queue
import signal
import threading
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

from cpugpu.deaths import alive
from cpugpu.debug import hang, process, waits
from cpugpu.debug.defects import note, say, tell
from cpugpu.debug.device_time import clocks
from cpugpu.debug.journal import journal
from cpugpu.debug.operation import Kind, Operation
from cpugpu.debug.rules import Moment, broken, rules_at
from cpugpu.debug.state import EventState
from cpugpu.debug.tracing import Tracing
from cpugpu.debug.verdict import judge
from cpugpu.device.capture import allow_queries_during_capture

if TYPE_CHECKING:
    from cpugpu.debug.event import InstrumentedEvent

_BEAT_SECONDS = 0.1
#: How many stalled waits a report names in its first line.
_NAMED = 3
#: A beat that is late by less may be an ordinary matter of scheduling.
_LATE_NS = 500_000_000
_AT_BLOCKED, _AT_LIFE = rules_at(Moment.BLOCKED), rules_at(Moment.LIFE)
_AT_STANDING, _AT_MEASURED = rules_at(Moment.STANDING), rules_at(Moment.MEASURED)


class Watcher:
    """The thread and its beats. `beat()` may also be called by hand, with the thread stopped: then nothing is timed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # for starting and stopping
        self._thread: threading.Thread | None = None
        self._requests: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._events: weakref.WeakSet[InstrumentedEvent] = weakref.WeakSet()
        self._events_lock = threading.RLock()  # a finalizer or a signal handler may come in
        self._dropped: deque[EventState] = deque()
        self._due_ns = 0
        self._process_state = EventState("", number=0)  # for what is about no event
        self._tracing = Tracing()
        self._prepared = self._answers = False
        self.paused = False  # new events do not start the thread: for tests and examples, which call beat()

    def watch(self, event: InstrumentedEvent) -> None:
        """Watch `event` for as long as it lives."""
        with self._events_lock:
            self._events.add(event)
        weakref.finalize(event, self._dropped.append, event.state).atexit = False
        if not self.paused:
            self._answer_signal()
            if self._thread is None:
                self.start()

    def start(self) -> None:
        """Start the thread, and once in this process the trace and the handlers of SIGUSR2 and of the exit."""
        with self._lock:
            if self._thread is not None:
                return
            if not self._prepared:
                self._prepared = True
                self._tracing.start()
                if not process.forks:  # a child has inherited it
                    atexit.register(self.at_exit)
            self._due_ns = 0
            thread = threading.Thread(target=self._loop, name="cpugpu watcher", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # no room for a thread, or the interpreter ends
                self.paused = True
                say(logging.WARNING, "cpugpu: nobody watches for stalls: %s", error)
                return
            self._thread = thread

    def stop(self) -> None:
        """End the thread, after a last beat."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._requests.put("stop")
            thread.join()

    def beat(self, now_ns: int | None = None, *, exiting: bool = False) -> None:
        """Look at everything once. `now_ns`: what time it is; `exiting`: the interpreter ends."""
        now_ns = time.perf_counter_ns() if now_ns is None else now_ns
        self._look_at_dropped()
        self._look_at_waits(now_ns, exiting=exiting)
        self._look_at_records(now_ns)
        for clock in clocks():
            for operation in clock.measure():
                self._find(_AT_MEASURED, operation)
        self._tracing.beat(now_ns)

    def report(self, title: str) -> str:
        """The report on all open waits, as a text."""
        found = waits.open_waits(time.perf_counter_ns())
        waits.find_cycles(found, self._ignored())
        return hang.report(title, found, time.perf_counter_ns())

    def at_exit(self) -> None:
        """The interpreter ends: report what is still open, and end the thread and the trace."""
        self.stop()
        self.beat(exiting=True)
        if waits.open_waits(time.perf_counter_ns()):
            say(logging.WARNING, "%s", self.report("cpugpu: the interpreter ends while threads wait"))
        for event in self._living():
            self._judge_life(Kind.EXIT, event.state)
        self._tracing.stop()

    def forked(self) -> None:
        """In the child of a fork: a new watcher, for the thread is gone."""
        tracing, answers = self._tracing, self._answers
        self.__init__()  # type: ignore[misc]
        self._tracing, self._answers = tracing, answers
        tracing.forked()

    # -- what a beat looks at ------------------------------------------------------------------------------------------

    def missed(self, due_ns: int, now_ns: int) -> None:
        """A beat was due at one time, and could come only now."""
        within = [
            str(each) for each in journal.entries() if each.begin_ns <= due_ns and (each.end_ns or now_ns) >= now_ns
        ]
        stopped = journal.note(Kind.STOPPED, self._process_state, begin_ns=due_ns, end_ns=now_ns)
        stopped.detail = "; ".join(within)
        judge(stopped, broken(_AT_LIFE, self._process_state, stopped), raising=False)
        journal.keep(stopped)

    def _look_at_dropped(self) -> None:
        while self._dropped:
            self._judge_life(Kind.COLLECTED, self._dropped.popleft())

    def _judge_life(self, kind: Kind, state: EventState) -> None:
        if state.process != process.forks:
            return
        found = journal.note(kind, state)
        if state.judged:
            judge(found, broken(_AT_LIFE, state, found), raising=False)
        journal.keep(found)

    def _look_at_waits(self, now_ns: int, *, exiting: bool) -> None:
        found = waits.open_waits(now_ns)
        if not found:
            return
        waits.find_cycles(found, self._ignored())
        stalled: list[Operation] = []
        for operation in found:
            state = operation.state
            age = now_ns - (operation.ready_ns or operation.begin_ns)
            operation.overdue = state.stall_ns is not None and age >= state.stall_ns
            operation.exiting = exiting
            event = state.lookup()
            if event is not None:
                event.judge_from_outside(_AT_BLOCKED, operation)
            if operation.overdue and not operation.stall_reported:
                operation.stall_reported = True
                stalled.append(operation)
        if stalled:
            names = [f"{each.thread_name} stalls in {each.kind.value}() of {each.event!r}" for each in stalled[:_NAMED]]
            more = f" and {len(stalled) - _NAMED} more" if len(stalled) > _NAMED else ""
            others = (each for each in found if each not in stalled)
            say(logging.WARNING, "%s", hang.report(f"cpugpu: {', '.join(names)}{more}", [*stalled, *others], now_ns))

    def _look_at_records(self, now_ns: int) -> None:
        for event in self._living():
            state, last = event.state, event.state.last_record
            if last is None or last.generation <= max(state.consumed, state.standing) or state.consumer is None:
                continue
            if not alive(state.consumer) and state.judged:
                event.look()
                last.overdue = state.stall_ns is not None and now_ns - last.begin_ns >= state.stall_ns // 2
                if self._find(_AT_STANDING, last):
                    state.standing = last.generation

    def _find(self, rules: Any, operation: Operation) -> bool:
        """Judge an operation that is over; what is found has an entry of its own."""
        found = broken(rules, operation.state, operation)
        if found:
            entry = journal.note(Kind.FOUND, operation.state, generation=operation.generation, sight=operation.sight)
            judge(entry, found, raising=False)
            journal.keep(entry)
        return bool(found)

    # -- the thread ----------------------------------------------------------------------------------------------------

    def _loop(self) -> None:
        allow_queries_during_capture()
        while True:
            request = ""
            with contextlib.suppress(queue.Empty):
                request = self._requests.get(timeout=_BEAT_SECONDS)
            try:
                self._beat_in_time()
                if request == "report":
                    say(logging.WARNING, "%s", self.report("cpugpu: asked by a signal"))
            except Exception:
                note("the watcher")
            tell()
            if request == "stop":
                return

    def _beat_in_time(self) -> None:
        now_ns = time.perf_counter_ns()
        if self._due_ns and now_ns - self._due_ns >= _LATE_NS:
            self.missed(self._due_ns, now_ns)
        self.beat(now_ns)
        self._due_ns = time.perf_counter_ns() + int(_BEAT_SECONDS * 1e9)  # a slow beat is no stop of the others

    def _answer_signal(self) -> None:
        """Report on SIGUSR2, unless the program has a use for that signal. Only the main thread can say so."""
        if self._answers or threading.current_thread() is not threading.main_thread():
            return
        self._answers = True
        if signal.getsignal(signal.SIGUSR2) is signal.SIG_DFL:
            signal.signal(signal.SIGUSR2, lambda *_: self._requests.put("report"))

    def _living(self) -> list[InstrumentedEvent]:
        with self._events_lock:
            return list(self._events)

    def _ignored(self) -> list[threading.Thread]:
        return [] if self._thread is None else [self._thread]


#: The watcher of this process.
watcher = Watcher()


def _forked() -> None:
    journal.forked()
    watcher.forked()


process.after_fork(_forked)
