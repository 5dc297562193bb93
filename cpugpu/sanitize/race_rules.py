"""The rules of accesses: two, one of which writes, that nothing orders. The first rule that holds names the race."""

from __future__ import annotations

from cpugpu.sanitize.clocks import Actor
from cpugpu.sanitize.findings import Side
from cpugpu.sanitize.memory import Race, Ticket
from cpugpu.sanitize.places import place_of
from cpugpu.sanitize.registry import Broken, races


def side_of(ticket: Ticket, writes: bool, race: Race) -> Side:
    """One of the two, for a finding."""
    actor, _, thread, what, place = ticket
    does = f"{what or 'an access'} {'writes' if writes else 'reads'} {race.storage.name}"
    return Side(does, place_of(place), thread.name, actor.name if actor.is_stream else "")


def _other(race: Race) -> Side:
    return side_of(race.earlier, race.earlier_writes, race)


def _missing(race: Race) -> str:
    earlier, later = race.earlier[0], race.later[0]
    if not later.knows(earlier, 1):
        why = f"{later.name} has waited for nothing of {earlier.name}"
    elif earlier.is_stream:
        why = f"what {later.name} last waited for was recorded on {earlier.name} before that"
    else:
        why = f"what {later.name} last knows of {earlier.name} is older"
    return f"nothing orders {_act(race.later)} after {_act(race.earlier)}: {why}"


def _act(ticket: Ticket) -> str:
    actor, _, thread, what, _ = ticket
    what = what or "the access"
    return f"{what} on {actor.name}" if actor.is_stream else f"{thread.name}'s {what}"


def _order(earlier: Actor, later: Actor, thread: Actor) -> str:
    if earlier.is_stream and later.is_stream:
        return (
            f"let {later.name} wait for {earlier.name} in between: wait_stream(), or an event recorded after the first"
        )
    if earlier.is_stream:
        return f"synchronize with {earlier.name}, or with an event recorded on it, in between"
    return f"let thread {thread.name} know of {earlier.name}'s access before it: a lock, a queue, or a join"


@races.rule("host-read-early", hazards=[15, 16])
def host_read_early(race: Race) -> Broken | None:
    """The host reads what a stream writes only after it has synchronized with that stream.

    A `non_blocking` copy to the host has only been queued when the call returns; a wait between streams does not make
    the host wait.
    """
    stream = race.earlier[0]
    if not (race.storage.host and race.earlier_writes and stream.is_stream) or race.later[0].is_stream:
        return None
    if race.later_writes:
        return None
    return Broken(
        _missing(race),
        _other(race),
        f"synchronize with {stream.name}, or with an event recorded on it after the copy, before the host reads",
    )


@races.rule("host-write-early", hazards=[17])
def host_write_early(race: Race) -> Broken | None:
    """The host does not overwrite what a stream has still to read or to write.

    A copy from pinned memory reads it when the stream gets there, not when the call returns.
    """
    stream = race.earlier[0]
    if not (race.storage.host and stream.is_stream and race.later_writes) or race.later[0].is_stream:
        return None
    return Broken(
        _missing(race),
        _other(race),
        f"synchronize with {stream.name}, or with an event recorded on it after the copy, before the host writes; or"
        " use another buffer",
    )


@races.rule("race", hazards=[7, 8, 19, 20])
def unordered(race: Race) -> Broken | None:
    """Two accesses to the same bytes, one of them a write, are ordered by something other than luck.

    By streams, by threads, or by one of each.
    """
    earlier, later = race.earlier[0], race.later[0]
    return Broken(_missing(race), _other(race), _order(earlier, later, race.later[2]))
