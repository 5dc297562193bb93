"""`CpuGpuEvent` under any schedule of any few threads: Hypothesis writes the program and the interleaving.

Also rule-breaking programs: whatever threads do, the token is never lost nor doubled, a wait is never let through
without a record of its own, and after `close()` nobody stays blocked. The subjects of the last test show that these
assertions can fail.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, example, find, given, settings
from hypothesis import strategies as st

from cpugpu import CpuGpuEvent, HandoffClosed, ProducerFailed, ProtocolViolation
from cpugpu.gate import _CLOSED
from stress.subjects import SeedEvent
from tests.stepper import Actor, Play

ALLOWED: dict[str, tuple[type[BaseException], ...]] = {
    # OSError: whichever driver call comes next after somebody has broken the driver fails.
    "record": (ProtocolViolation, HandoffClosed, OSError),
    "broken record": (ProtocolViolation, HandoffClosed, OSError),
    "wait": (ProducerFailed, HandoffClosed, OSError),
    "broken wait": (ProducerFailed, HandoffClosed, OSError),
    "synchronize": (ProducerFailed, HandoffClosed, OSError),
    "fail": (),
    "close": (),
}
PROGRAMS = st.lists(st.sampled_from(sorted(ALLOWED)), min_size=2, max_size=6)
SCHEDULES = st.lists(st.integers(0, 5), max_size=60)


def body(operation: str) -> Any:
    def run(event: Any) -> None:
        if operation.startswith("broken"):
            event._device.broken += 1
        if operation == "fail":
            event.fail(ValueError("the producer stopped"))
        else:
            getattr(event, operation.removeprefix("broken "))()

    return run


def perform(play: Play, program: list[str], schedule: list[int]) -> list[Actor]:
    """Run the actors step by step as the schedule says, then everyone as far as they get."""
    actors = [play.actor(body(operation)) for operation in program]
    for choice in schedule:
        actor = actors[choice % len(actors)]
        if not actor.done:
            step(actor)
    settle(actors)
    return actors


def step(actor: Actor) -> None:
    """One place further."""
    actor._go.release()
    actor._report.acquire()


def settle(actors: list[Actor]) -> None:
    """Let everyone run until nobody can: somebody's last step may have let another one on."""
    progress = True
    while progress:
        before = [actor.place for actor in actors]
        for actor in actors:
            actor.finish()
        progress = before != [actor.place for actor in actors]


def broken_promise(subject: Any, program: list[str], schedule: list[int]) -> str:
    """What went wrong in this program under this schedule, empty if nothing did."""
    with pytest.MonkeyPatch.context() as monkeypatch, Play(subject, monkeypatch) as play:
        actors = perform(play, program, schedule)
        for operation, actor in zip(program, actors, strict=True):
            # A ProtocolViolation is a RuntimeError, and so is "release unlocked lock".
            if actor.exception is not None and not isinstance(actor.exception, ALLOWED[operation]):
                return f"{operation} raised {actor.exception!r}"
        play.device.broken = 0
        if 0 in play.device.waits:
            return "a wait was bound to no record"
        if len(set(play.device.waits)) != len(play.device.waits):
            return "two waits were bound to one record"
        waiting = [actor for actor in actors if actor.blocked]
        if "close" in program:
            if waiting:
                return "somebody waits after close()"
            if not isinstance(once(play, "record").exception, HandoffClosed):
                return "a record after close() did not raise HandoffClosed"
            if not isinstance(once(play, "wait").exception, HandoffClosed):
                return "a wait after close() did not raise HandoffClosed"
            return ""
        if waiting and (play.subject.pending or play.subject._ending is not None):
            return "somebody waits for what is there"
        return drained(play, program, waiting)


def drained(play: Play, program: list[str], waiting: list[Actor]) -> str:
    """Whatever happened, the event still works: consume what is there, then hand over once more."""
    if not waiting:
        while (consumer := once(play, "wait")).done:
            if not isinstance(consumer.exception, ProducerFailed | None):
                return f"a wait raised {consumer.exception!r} while draining"
        waiting = [consumer]
    for _ in waiting:
        producer = once(play, "record")
        settle(play.actors)
        if producer.exception is not None:
            return f"a record to a waiting consumer raised {producer.exception!r}"
    if any(actor.blocked for actor in waiting):
        return "somebody still waits"
    if not any(operation.startswith("broken") for operation in program):
        return "" if set(play.device.waits) == set(play.device.records) else "a record was lost"
    return ""


def once(play: Play, operation: str) -> Actor:
    actor = play.actor(body(operation))
    actor.finish()
    return actor


@given(PROGRAMS, SCHEDULES)
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(["record", "close", "wait", "wait"], [])
@example(["record", "fail", "wait", "wait"], [])
@example(["broken record", "record", "wait"], [])
@example(["record", "broken wait", "wait"], [])
def test_no_schedule_breaks_a_promise(program: list[str], schedule: list[int]) -> None:
    assert broken_promise(CpuGpuEvent, program, schedule) == ""


class NoLookAfterwards(CpuGpuEvent):
    """Gives the token away without looking at what close() or fail() may have left."""

    def _settle_given_away(self) -> None:
        pass


class ClosesOnce(CpuGpuEvent):
    """Takes the token of a closed event and forgets to put it back."""

    def _raise_failure(self) -> Any:
        if self._failure is _CLOSED:
            raise self._closed_error()
        super()._raise_failure()


class ForgetsTheFailure(CpuGpuEvent):
    """A record that raised leaves the room taken."""

    def _put_failure(self, exception: BaseException) -> None:
        pass


class LosesTheRoom(CpuGpuEvent):
    """A wait that raised gives nothing back, and does not let the producer on either."""

    def _put_back(self, handed: Any) -> None:
        self._room.acquire(False)


class ReplacesEverything(CpuGpuEvent):
    """Lets a record replace one that nobody has consumed."""

    def _reclaim(self) -> None:
        if not self._gate.acquire(False):
            super()._reclaim()


@pytest.mark.parametrize(
    "mutant",
    [
        *(pytest.param(each, marks=pytest.mark.slow) for each in (NoLookAfterwards, ClosesOnce, LosesTheRoom)),
        *(ForgetsTheFailure, ReplacesEverything, SeedEvent),
    ],
)
def test_the_promises_can_be_broken(mutant: Any) -> None:
    operations = ["record", "wait", "broken record", "broken wait"]
    if mutant is not SeedEvent:
        operations += ["fail", "close"]
    programs = st.lists(st.sampled_from(operations), min_size=2, max_size=6)

    def breaks(case: tuple[list[str], list[int]]) -> bool:
        try:
            return broken_promise(mutant, *case) != ""
        except AttributeError:  # the replica has no `pending`
            return False

    find(
        st.tuples(programs, SCHEDULES),
        breaks,
        settings=settings(max_examples=5000, deadline=None, suppress_health_check=list(HealthCheck)),
    )
