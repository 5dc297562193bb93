"""The rules, checked on a trace: what `CPUGPU_DEBUG=log` has written is judged afterwards.

The same predicates as in the running program see the same states, made anew from the entries. What a trace does not
have cannot be judged: declared streams, expected generations, processor time. A thread counts as ended if the trace
says that it ended, and has nothing of it later on; so nobody is blamed for a part that was free.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from cpugpu.debug.defects import tell
from cpugpu.debug.operation import Kind, Operation
from cpugpu.debug.rules import Checks, Moment, broken, rules_at
from cpugpu.debug.state import EventState
from cpugpu.device import Sight
from cpugpu.trace import FLAG_DEFAULT, FLAG_IMPLICIT, FLAG_TIMEOUT, Entry

_WAITS = (Kind.WAIT, Kind.SYNCHRONIZE)
_KINDS = {kind.value: kind for kind in Kind}
_BEGIN, _HANDED, _END = range(3)


class Finding(NamedTuple):
    """A rule that was broken, and where."""

    rule: str
    message: str
    entry: Entry
    online: bool  #: the running program has found it, too


class _Thread:
    """A thread as the trace knows it. `ended_ns` is when it was seen to have ended, 0 if it was not."""

    def __init__(self, name: str, clock: _Clock) -> None:
        self.name = name
        self.ident = 0
        self.daemon = False
        self.last_ns = 0
        self.ended_ns = 0
        self.death = ""
        self._clock = clock

    def is_alive(self) -> bool:
        """May it still do something, at the time that the replay has reached?"""
        return not self.ended_ns or self._clock.now_ns <= self.last_ns


class _Clock:
    now_ns = 0


class _Step(NamedTuple):
    time_ns: int
    what: int
    operation: Operation
    entry: Entry


def check(entries: Iterable[Entry]) -> list[Finding]:
    """All that is found in these entries, in the order of time."""
    replay = _Replay()
    steps = [step for entry in entries for step in replay.steps_of(entry)]
    steps.sort(key=lambda step: step[:2])
    found = [finding for step in steps for finding in replay.take(step)]
    found += replay.at_the_end(steps)
    tell()
    offline = {(finding.rule, id(finding.entry)) for finding in found}
    found += [
        Finding(rule, message, step.entry, online=True)
        for step in steps
        if step.what == _BEGIN
        for rule, message in step.entry.violations
        if (rule, id(step.entry)) not in offline
    ]
    return sorted(found, key=lambda finding: finding.entry.begin_ns)


class _Replay:
    """The states of all events, as they become while steps are taken."""

    def __init__(self) -> None:
        self._clock = _Clock()
        self._states: dict[int, EventState] = {}
        self._threads: dict[int, _Thread] = {}
        self._records: dict[tuple[int, int], Operation] = {}  # by event and generation

    def steps_of(self, entry: Entry) -> Iterator[_Step]:
        """What an entry does: it begins, it may get its record, it ends."""
        kind = _KINDS.get(entry.kind)
        if kind is None:
            return  # of a later version
        thread = self._threads.get(entry.thread)
        if thread is None or (thread.ended_ns and entry.begin_ns > thread.ended_ns):
            thread = self._threads[entry.thread] = _Thread(entry.thread_name, self._clock)
        if kind is Kind.ENDED:
            thread.ended_ns, thread.death = entry.begin_ns, entry.detail
            return
        thread.last_ns = max(thread.last_ns, entry.begin_ns)
        operation = _operation(entry, kind, thread, self._state(entry))
        yield _Step(entry.begin_ns, _BEGIN, operation, entry)
        if entry.ready_ns and kind in _WAITS:
            yield _Step(entry.ready_ns, _HANDED, operation, entry)
        if entry.end_ns:
            yield _Step(entry.end_ns, _END, operation, entry)

    def take(self, step: _Step) -> Iterator[Finding]:
        """Do one step; what rules it breaks."""
        self._clock.now_ns = step.time_ns
        operation, entry = step.operation, step.entry
        state = operation.state
        if step.what == _BEGIN:
            found = broken(rules_at(Moment.BEGIN), state, operation) + broken(rules_at(Moment.STREAM), state, operation)
            if not found:
                state.bind(operation)
        elif step.what == _HANDED:
            operation.handed = self._records.get((state.number, operation.generation))
            found = broken(rules_at(Moment.HANDED), state, operation)
            state.held = state.pending = state.held and operation.generation < state.generation
        else:
            found = broken(rules_at(Moment.SLOW), state, operation) + broken(rules_at(Moment.LIFE), state, operation)
            found += self._measured(operation)
            self._end(operation)
        for rule, message in found:
            yield Finding(rule, message, entry, online=rule in dict(entry.violations))

    def at_the_end(self, steps: list[_Step]) -> list[Finding]:
        """What never came back: is it clear that it never can?"""
        waits = [step for step in steps if step.what == _BEGIN and not step.operation.end_ns]
        waiting = {step.operation.thread: step.operation for step in waits if step.operation.timeout is None}
        self._clock.now_ns = max((step.time_ns for step in steps), default=0) + 1
        found = []
        for step in waits:
            step.operation.cycle = _cycle(step.operation, waiting)
            rules: Any = rules_at(Moment.BLOCKED)
            for rule, message in broken(rules, step.operation.state, step.operation):
                found.append(Finding(rule, message, step.entry, online=rule in dict(step.entry.violations)))
        return found

    def _state(self, entry: Entry) -> EventState:
        state = self._states.get(entry.event_id)
        if state is None:
            index = entry.device.partition(":")[2]
            state = self._states[entry.event_id] = EventState(
                entry.event,
                number=entry.event_id,
                device=entry.device,
                index=int(index) if index.isdigit() else None,
                died=lambda thread: getattr(thread, "death", ""),
            )
        return state

    def _end(self, operation: Operation) -> None:
        state, kind = operation.state, operation.kind
        state.ended(operation)
        if kind is Kind.MADE and operation.sight is not None:
            state.creator, state.creator_default = operation.thread, operation.sight.default
            state.creator_stream = operation.sight.current
        elif kind is Kind.CLOSE:
            state.closed, state.held, state.pending = True, False, False
        elif kind is Kind.RECORD and operation.generation and not operation.error:
            self._records[state.number, operation.generation] = state.last_record = operation
            state.generation = max(state.generation, operation.generation)
            state.held = state.pending = state.consumed < operation.generation and not state.closed
        elif kind in _WAITS and not operation.error:
            state.held = state.pending = state.consumed < state.generation and not state.closed
        elif kind in _WAITS and operation.error and operation.generation == state.generation:
            state.held = not state.closed  # it was put back, and may be replaced

    @staticmethod
    def _measured(operation: Operation) -> list[tuple[str, str]]:
        handed = operation.handed
        if handed is None or not handed.device_ns or not operation.device_ns:
            return []
        operation.lead_ns = operation.device_ns - handed.device_ns
        operation.lead_error_ns = operation.device_error_ns + handed.device_error_ns
        rules: dict[Kind, Checks] = dict(rules_at(Moment.MEASURED))
        return broken(rules, operation.state, operation)


def _operation(entry: Entry, kind: Kind, thread: Any, state: EventState) -> Operation:
    operation = _Told(entry)
    operation.kind, operation.state, operation.thread = kind, state, thread
    operation.thread_name = entry.thread_name
    operation.begin_ns, operation.ready_ns, operation.end_ns = entry.begin_ns, entry.ready_ns, entry.end_ns
    operation.generation, operation.capture = entry.generation, entry.capture
    operation.device_ns, operation.device_error_ns = entry.device_ns, entry.device_error_ns
    operation.implicit = bool(entry.flags & FLAG_IMPLICIT)
    operation.timeout = 0.0 if entry.flags & FLAG_TIMEOUT else None
    operation.raised, operation.error = entry.error, entry.error.partition("(")[0]
    operation.detail = int(entry.detail or 0) if kind is Kind.USE and (entry.detail or "0").isdigit() else entry.detail
    if entry.stream:
        default = bool(entry.flags & FLAG_DEFAULT)
        operation.sight = Sight(
            entry.stream, entry.device_index, entry.current, default, entry.current_index, entry.capture
        )
    elif operation.error in ("TypeError", "ValueError"):
        operation.refusal = f"{operation.error}: {entry.error}"
    return operation


class _Told(Operation):
    """An operation whose place is told, not looked up."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry

    @property
    def place(self) -> str:
        """The caller's file and line."""
        return self._entry.place


def _cycle(wait: Operation, waiting: dict[Any, Operation]) -> tuple[Operation, ...]:
    path = [wait]
    while True:
        following = waiting.get(path[-1].state.who_records)
        if following is None or (following in path and following is not wait):
            return ()
        if following is wait:
            return tuple(path)
        path.append(following)
