"""The rules of the debug mode, held against their examples again and again.

A rule that is silent when it is broken lets a bug through; one that speaks without cause is switched off by its users.
Each rule has a program that breaks it and a twin that does the same thing right (`cpugpu.debug.examples`, the pages in
docs/rules). Here they are played under the hammer, whose threads change places two hundred times as often as usual: the
first has to break exactly its rule (some cannot be written without breaking another one as well), the twin none.

They are five scenarios, by subject, so that an execution stays short; a slow driver call has to be slow. The programs
bring their own devices, and the journal of whoever runs this is set aside meanwhile.

    $ cpugpu stress stress/stress_rules.py --stress-seconds=10
    rules_of_hand_off: passed (7 executions in 0.5 s)
        outcome  times   share  grade     meaning
        told         7  100.0%  accepted  each violating program broke its rule, each clean one none
    rules_of_life: passed (14 executions in 0.8 s)
        outcome  times   share  grade     meaning
        told        14  100.0%  accepted  each violating program broke its rule, each clean one none
    rules_of_streams: passed (4 executions in 0.5 s)
        outcome  times   share  grade     meaning
        told         4  100.0%  accepted  each violating program broke its rule, each clean one none
    rules_of_timing: passed (6 executions in 0.4 s)
        outcome  times   share  grade     meaning
        told         6  100.0%  accepted  each violating program broke its rule, each clean one none
    rule_of_slow_calls: passed (2 executions in 0.5 s)
        outcome  times   share  grade     meaning
        told         2  100.0%  accepted  each violating program broke its rule, each clean one none
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from cpugpu import scenario
from cpugpu.debug import journal
from cpugpu.debug.examples import PAIRS, Pair, hand_off, life, play, streams, timing
from cpugpu.report.catalogue import ALSO
from cpugpu.rig import Rig

TOLD = {"told": "each violating program broke its rule, each clean one none"}
WRONG = {f"silent: {rule}": "it was broken, and nobody was told" for rule in PAIRS} | {
    f"false alarm: {rule}": "another rule than this, or a clean program, was said to be broken" for rule in PAIRS
}
#: The one whose violation takes a quarter of a second.
SLOW = "slow-driver-call"
#: CPython 3.12 begins with some hundreds of frozen objects, others with none.
FROZEN_AT_START = 1000


@contextmanager
def older_objects_left_alone() -> Iterator[None]:
    """The programs collect garbage to find dropped events; what was there before they began cannot be among it.

    With torch loaded a collection of everything takes a tenth of a second, and there are two a program.
    """
    if gc.get_freeze_count() > FROZEN_AT_START:  # somebody else's, who would not want it undone
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def held(pairs: Sequence[Pair]) -> str:
    """Play them: what is wrong with the rules, if anything."""
    with journal.set_aside(), older_objects_left_alone():
        for pair in pairs:
            broken, _ = play(pair.violates)
            if pair.rule not in broken:
                return f"silent: {pair.rule}"
            if set(broken) - {pair.rule} - ALSO.get(pair.rule, frozenset()) or play(pair.clean)[0]:
                return f"false alarm: {pair.rule}"
    return "told"


def of(module: object) -> list[Pair]:
    """The pairs whose programs are in a module of examples."""
    name = getattr(module, "__name__", "")
    return [pair for pair in PAIRS.values() if pair.violates.__module__ == name and pair.rule != SLOW]


@scenario(accept=TOLD, forbid=WRONG, only=("real time",))
def rules_of_hand_off(rig: Rig) -> str:  # noqa: ARG001
    """Records and waits: in which order, by whom, of which generation."""
    return held(of(hand_off))


@scenario(accept=TOLD, forbid=WRONG, only=("real time",))
def rules_of_life(rig: Rig) -> str:  # noqa: ARG001
    """Threads, events and processes that end."""
    return held(of(life))


@scenario(accept=TOLD, forbid=WRONG, only=("real time",))
def rules_of_streams(rig: Rig) -> str:  # noqa: ARG001
    """Streams, devices and graph captures."""
    return held(of(streams))


@scenario(accept=TOLD, forbid=WRONG, only=("real time",))
def rules_of_timing(rig: Rig) -> str:  # noqa: ARG001
    """Calls that block a thread, a processor, or every thread."""
    return held(of(timing))


@scenario(accept=TOLD, forbid=WRONG, only=("real time",))
def rule_of_slow_calls(rig: Rig) -> str:  # noqa: ARG001
    """A driver call that takes too long."""
    return held([PAIRS[SLOW]])
