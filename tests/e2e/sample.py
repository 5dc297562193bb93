"""A trace made by hand, with at least one of everything."""

from __future__ import annotations

import random
from typing import Any

from cpugpu.trace import FLAG_MAIN, Entry

DEFAULTS = Entry(
    kind="record",
    event="ready",
    event_id=1,
    thread=1,
    thread_name="producer",
    stream="cuda:0 stream 1",
    current="cuda:0 default stream",
    device="cuda:0",
    device_index=0,
    current_index=0,
    capture=0,
    flags=0,
    begin_ns=100,
    ready_ns=0,
    end_ns=200,
    generation=1,
    device_ns=0,
    device_error_ns=0,
    place="app.py:12",
    error="",
    detail="",
    violations=(),
)


def entry(kind: str = "record", **fields: Any) -> Entry:
    """An entry of which only this matters."""
    return DEFAULTS._replace(kind=kind, **fields)


def sample(hand_offs: int = 60, seed: int = 7) -> list[Entry]:
    """Three producers hand over to three consumers, through an event each and on five streams.

    One wait has an error, one is still open at the end, and two operations break rules.
    """
    draw = random.Random(seed)
    entries = [
        entry("made", event=f"event_{number}", event_id=number + 1, thread=9, thread_name="MainThread", stream="",
              flags=FLAG_MAIN, generation=0, begin_ns=1_000_000 + number, end_ns=1_000_000 + number)
        for number in range(3)
    ]  # fmt: skip
    now = [1_010_000, 1_011_000, 1_012_000]
    for number in range(hand_offs * 3):
        event, generation = number % 3, number // 3 + 1
        common = {"event": f"event_{event}", "event_id": event + 1, "generation": generation}
        begin = now[event]
        end = begin + draw.randrange(1_000, 4_000)
        entries.append(
            entry("record", **common, thread=1 + event, thread_name=f"producer {event}",
                  stream=f"cuda:0 stream {event}", begin_ns=begin, end_ns=end,
                  device_ns=end + draw.randrange(500, 9_000), device_error_ns=300, place=f"app.py:{20 + event}")
        )  # fmt: skip
        wait = begin + draw.randrange(-2_500, 2_000)
        ready = max(wait, end) + draw.randrange(100, 900)
        entries.append(
            entry("synchronize" if event == 2 else "wait", **common, thread=4 + event, thread_name=f"consumer {event}",
                  stream="" if event == 2 else f"cuda:0 stream {3 + event}", begin_ns=wait, ready_ns=ready,
                  end_ns=ready + draw.randrange(500, 2_500), place=f"app.py:{40 + event}")
        )  # fmt: skip
        now[event] = ready + draw.randrange(9_000, 12_000)
    last = max(now)
    late = {"thread": 4, "thread_name": "consumer 0", "event": "event_0", "event_id": 1}
    entries.append(entry("wait", **late, begin_ns=last, end_ns=last + 50_000, generation=0, error="HandoffTimeout"))
    entries.append(entry("wait", **late, begin_ns=last + 60_000, end_ns=0, generation=0, place="app.py:77"))
    entries.append(entry("ended", event="", event_id=0, stream="", generation=0, thread=1, thread_name="producer 0",
                         begin_ns=last + 90_000, end_ns=last + 90_000))  # fmt: skip
    entries[10] = entries[10]._replace(violations=(("wrong-stream", "the wait is on another stream than the reads"),))
    entries[20] = entries[20]._replace(violations=(("late", "the first message"), ("wrong-thread", "and the other")))
    return entries
