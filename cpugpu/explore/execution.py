"""One execution under a schedule: logical threads as greenlets, and whatever else can take steps, one step at a time.

All of it is one OS thread. A logical thread that comes to an operation says so and switches to the *hub*, which asks
for the next actor and lets it go on: the effect of its operation, and what follows until its next one, is a step. A new
thread runs up to its first operation within the step that has started it: starting is a step, coming up is none.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

import greenlet

from cpugpu.explore import unmodelled
from cpugpu.explore.carriers import Carriers
from cpugpu.explore.operation import AFTER, CAUSE, ORDERED, READ, WRITE, Access, Footprint, Operation, Resource
from cpugpu.explore.unmodelled import Unmodelled

Key: TypeAlias = "tuple[object, ...]"


class OutsideExploration(RuntimeError):
    """A modelled object was used where no thread of an exploration runs, and would have had to block."""


class Actor:
    """Something that takes steps: a thread, a stream, a clock. `next` is its next step, None where it has none.

    `key` is the maker's key and a number of the maker's own, so it is the same whatever others have done meanwhile.
    """

    kind = "actor"

    def __init__(self, key: Key, name: str) -> None:
        self.key = key
        self.name = name
        self.next: Operation | None = None
        self.begin = Resource((*key, "begin"), f"the beginning of {name}")
        self.steps = 0
        self.made_at = 0  # so many steps were taken or begun when it was made
        self.last: Step | None = None
        self.rested = False  # it has rested, and nobody else has moved since

    def go(self) -> None:
        """Take the step `next`, and say what comes after it."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return self.name


class Step(NamedTuple):
    """A step that was taken. `enabled`: the actors that could have taken one instead, it among them, oldest first."""

    actor: Actor
    label: str
    footprint: Footprint
    enabled: tuple[Actor, ...]
    conditional: bool  # was it a step that cannot always be taken?


class State(Protocol):
    """What somebody keeps for each thread of the operating system, and has to be kept for each logical thread."""

    def take(self) -> Any:
        """As it is now."""

    def put(self, state: Any) -> None:
        """As it was; None: as in a new thread."""


class Thread(Actor):
    """A logical thread: a function in a greenlet of its own.

    `end` is touched by its last step, and by whoever looks at whether it lives. `exception`: what ended it.
    """

    kind = "thread"

    def __init__(self, execution: Execution, key: Key, name: str, function: Callable[[], object]) -> None:
        super().__init__(key, name)
        self.exception: BaseException | None = None
        self.alive = True
        self.spurious = 0  # so many of its waits have ended though nobody had notified them
        self.end = Resource((*key, "end"), f"the end of {name}")
        self.timed_out = False
        #: Where lines are steps: makes of an operation one that touches what the lines under way touch as well.
        self.within: Callable[[Operation], Operation] | None = None
        self._execution = execution
        self._function = function
        self._state: Any = None  # what `Execution.kept` keeps, None at the beginning
        self._made = itertools.count()
        self._up = False
        self._carrier = execution.carriers.take()
        execution.thread_of[self._carrier] = self

    def made(self) -> int:
        """The next number of its own, for the keys of what it makes."""
        return next(self._made)

    def go(self) -> None:
        """Run until the next operation, or to the end."""
        self.next = None
        kept = self._execution.kept
        if kept is not None:
            kept.put(self._state)
        if self._up:
            self._carrier.switch()
        else:
            self._up = True
            self._carrier.switch(self._run)
        kept = self._execution.kept  # it may be this thread that has begun to keep
        if kept is not None:
            self._state = kept.take()

    def park(self) -> None:
        """Called by itself: have no next step until somebody gives it one."""
        self._execution.hub.switch()

    @property
    def place(self) -> str:
        """Where it stands, "file:line" of the user's code; empty if in none."""
        return unmodelled.place_of(self._carrier.gr_frame)

    def kill(self) -> None:
        """End it where it stands."""
        if not self._up:
            self._execution.carriers.give_back(self._carrier)
        elif self.alive:
            self._carrier.throw()

    def _run(self) -> None:
        function = self._function
        del self._function  # it may refer to this thread
        try:
            function()
        except greenlet.GreenletExit:
            pass
        except KeyboardInterrupt:  # of whoever explores: it is for the hub's caller
            self.alive = False
            raise
        except Unmodelled as error:
            self._execution.unmodelled = self._execution.unmodelled or error
        except BaseException as exception:
            self.exception = exception
        self.alive = False
        self._execution.touch((self.end, WRITE))


class Clock(Actor):
    """What may end one wait of a thread, where that has a timeout and cannot succeed."""

    kind = "clock"

    def __init__(self, execution: Execution, thread: Thread, waits: Operation, timeout: float) -> None:
        super().__init__((*thread.key, "clock", thread.made()), f"clock of {thread.name}")
        self._execution = execution
        self._thread = thread
        self._waits = waits
        self._deadline = execution.now + timeout
        looks: Footprint = tuple((resource, READ) for resource, access in waits.footprint if access not in ORDERED)
        self.next = Operation(f"{waits.label}: time is up", (*looks, (self.begin, CAUSE)), self._overdue)

    def _overdue(self) -> bool:
        can_succeed = getattr(self._waits.enabled, "due", self._waits.enabled)
        return self._thread.next is self._waits and can_succeed is not None and not can_succeed()

    def go(self) -> None:
        """Time is up: the thread's next step is to notice."""
        self.next = None
        self._execution.now = max(self._execution.now, self._deadline)
        self._thread.timed_out = True
        noticed = Operation(f"{self._waits.label}: timed out", ((self.begin, CAUSE),))
        within = self._thread.within
        self._thread.next = noticed if within is None else within(noticed)


class Execution:
    """The actors, their hub, and the steps that they have taken. `now`: the virtual time, in seconds."""

    def __init__(self, carriers: Carriers | None = None) -> None:
        self.carriers = Carriers() if carriers is None else carriers
        self.hub = self.carriers.hub
        self.actors: list[Actor] = []
        self.steps: list[Step] = []
        self.thread_of: dict[greenlet.greenlet, Thread] = {}
        #: Steps that could have been taken once and cannot any more: of clocks whose waits have succeeded.
        self.withdrawn: list[tuple[Actor, Operation]] = []
        self.now = 0.0
        self.over = False
        self.unmodelled: Unmodelled | None = None  # what has ended it, if something has
        self.failed: tuple[Thread, BaseException] | None = None  # the first thread of the rig that has raised
        self.spurious = 0  # so many waits of each thread on a condition may end though nobody has notified them
        self.kept: State | None = None
        self._before: Any = None  # what the caller had of it
        self._touched: Footprint = ()
        self._seen: list[tuple[Resource, Access]] | None = None  # what a predicate looks at, while it does
        self._begun = 0
        self._fresh: list[Thread] = []
        self._resting: list[Actor] = []

    # -- for the stand-ins, called by a logical thread ---------------------------------------------------------------

    def me(self) -> Thread | None:
        """The logical thread that calls; None where none does."""
        return self.thread_of.get(greenlet.getcurrent())

    def step(self, operation: Operation) -> bool:
        """Wait for one's turn to do `operation`. True if it can be done now, False if its timeout ended the wait.

        What the caller does next, until it comes here again, is the step. Outside a logical thread, and when the
        execution is over, it does not wait; `OutsideExploration` if it would have to.
        """
        thread = self.thread_of.get(greenlet.getcurrent())
        if thread is None or self.over:
            if self._seen is not None:
                self._seen += operation.footprint
            if operation.enabled is None or operation.enabled():
                return True
            if operation.timeout is not None:
                return False
            if self.over:
                raise greenlet.GreenletExit
            raise OutsideExploration(f"{operation.label} would block, outside the threads of an exploration")
        if thread.within is not None:
            operation = thread.within(operation)
        thread.next = operation
        if operation.timeout is None:
            self.hub.switch()
            return True
        thread.timed_out = False
        clock = Clock(self, thread, operation, operation.timeout)
        self.add(clock)
        self.hub.switch()
        if clock.next is not None:
            self.withdrawn.append((clock, clock.next))
            clock.next = None
            self.actors.remove(clock)
        return not thread.timed_out

    def join(self, threads: Sequence[Thread]) -> None:
        """Wait until all have ended."""
        ends: Footprint = tuple((thread.end, AFTER) for thread in threads)
        left = list(threads)

        def ended() -> bool:  # looked at before each step of the others, so it is quick
            while left and not left[-1].alive:
                left.pop()
            return not left

        self.step(Operation("join", ends, ended))

    def others(self) -> bool:
        """Is there anybody beside the calling thread who has something left to do?"""
        me = self.me()
        return any(actor is not me and actor.next is not None for actor in self.actors)

    def until(self, predicate: Callable[[], bool], footprints: Sequence[Footprint]) -> None:
        """Wait until `predicate()` holds. What it looks at is found out by looking on, beside what is given."""
        given: Footprint = tuple(touch for footprint in footprints for touch in footprint)

        def holds() -> bool:
            self._seen = list(given)
            try:
                return bool(predicate())
            finally:
                # With all that it has looked at before: of "a or b" it looks at b only as long as a does not hold, and
                # whoever changes b then changes whether this step can be taken.
                operation.footprint = tuple(dict.fromkeys((*operation.footprint, *self._seen)))
                self._seen = None

        operation = Operation("until", given, holds)
        self.step(operation)

    def spawn(self, name: str, function: Callable[[], object]) -> Thread:
        """A new logical thread, made by the calling one. It comes up when the caller's step is over."""
        maker = self.me()
        key: Key = (*maker.key, maker.made()) if maker is not None else (len(self.actors),)
        thread = Thread(self, key, name, function)
        self.add(thread)
        self._fresh.append(thread)
        return thread

    def add(self, actor: Actor) -> None:
        """Another actor, made by the current step."""
        actor.made_at = self._begun
        self.actors.append(actor)
        self.touch((actor.begin, CAUSE))

    def touch(self, *footprint: tuple[Resource, Access]) -> None:
        """The current step touches these too."""
        self._touched += footprint

    def resource(self, kind: str, name: str = "") -> Resource:
        """A resource, made by the calling thread. `name`: for people, by default the kind and a number."""
        maker = self.me()
        key: Key = (*maker.key, maker.made()) if maker is not None else ("outside", len(self.thread_of))
        return Resource((*key, kind), name or f"{kind} {'.'.join(map(str, key))}")

    # -- for the hub -------------------------------------------------------------------------------------------------

    def come_up(self) -> None:
        """Let new threads run up to their first operations."""
        while self._fresh:
            self._fresh.pop(0).go()

    def enabled(self) -> list[Actor]:
        """The actors that can take a step, oldest first."""
        able = [
            actor
            for actor in self.actors
            if (operation := actor.next) is not None and (operation.enabled is None or operation.enabled())
        ]
        if self._resting:
            return [actor for actor in able if not actor.rested] or able
        return able

    def take(self, actor: Actor, enabled: Sequence[Actor]) -> Step:
        """Let `actor` take its step."""
        operation = actor.next
        assert operation is not None
        self._touched = operation.footprint
        self._begun = len(self.steps) + 1
        if not actor.steps:
            self._touched += ((actor.begin, CAUSE),)
        actor.steps += 1
        if self._resting:
            for other in self._resting:
                other.rested = False
            self._resting.clear()
        if operation.rests:
            actor.rested = True
            self._resting.append(actor)
        actor.go()
        if self._fresh:
            self.come_up()
        actor.last = step = Step(actor, operation.label, self._touched, tuple(enabled), operation.enabled is not None)
        self.steps.append(step)
        return step

    def keep(self, state: State) -> None:
        """From now on each thread has its own of what `state` takes and puts."""
        if self.kept is None:
            self.kept, self._before = state, state.take()

    def close(self) -> None:
        """End all threads. What refers to itself is taken apart, so that it is gone without the garbage collector."""
        self.over = True
        for actor in self.actors:
            if isinstance(actor, Thread):
                actor.kill()
        for actor in self.actors:
            actor.last = None
        self.actors, self.steps, self._resting, self.withdrawn = [], [], [], []
        self.thread_of.clear()
        if self.kept is not None:
            self.kept.put(self._before)


_current: Execution | None = None
_executions = 0


def progress() -> int:
    """Changes with every step and every execution; 0 while none runs. For a watchdog, from any thread."""
    execution = _current
    return 0 if execution is None else _executions * 1_000_000 + len(execution.steps) + 1


def current() -> Execution:
    """The execution that runs. `OutsideExploration` where none does."""
    if _current is None:
        raise OutsideExploration("a modelled object was used while no exploration runs")
    return _current


def _note(error: Unmodelled) -> None:
    if _current is not None:
        _current.unmodelled = _current.unmodelled or error


unmodelled.noted = _note


def set_current(execution: Execution | None) -> None:
    """From now on `execution` is the one that runs."""
    global _current, _executions
    _current = execution
    _executions += 1
