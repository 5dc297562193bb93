"""A forked child and what it has inherited: its parent's event, and a lock that nobody will release (H47).

`inherited_event`: what the child has is a copy. The parent's producer records in the parent, and that opens the
parent's gate; the child's stays shut for ever, unless the record came before the fork. Here the child gives up after a
moment. With CPUGPU_DEBUG=1 the rule `used-after-fork` tells at once.

`forked` runs with a class that holds one lock, for the whole process, across the driver's record. A child that is
forked in that moment has the lock, and not the thread that would release it: it hangs when it records an event of its
own (pt#130610 is that, with a lock of the C library).

    $ cpugpu stress stress/racy/stress_processes.py --stress-seconds=2
    inherited_event: racy, as it should be (32 executions in 1.8 s)
        outcome  times  share  grade      meaning
        never       31  96.9%  forbidden  the record was made in the parent, and the child does not see it
        handed       1   3.1%  accepted   the record was made before the fork, and copied with the rest
    forked[OneLockEvent]: racy, as it should be (4 executions in 3.1 s)
        outcome     times  share  grade      meaning
        fresh           3  75.0%  accepted   parent and child handed over, each its own
        child hung      1  25.0%  forbidden  the child did not come to its end and was killed
"""

from __future__ import annotations

import threading
from typing import Any

from cpugpu import CpuGpuEvent, HandoffTimeout, scenario
from cpugpu.rig import Rig
from stress.stress_processes import CHILDREN, FORKED, fork, forked

#: Seconds.
MOMENT = 0.05


@scenario(
    accept={"handed": "the record was made before the fork, and copied with the rest"},
    forbid={"never": "the record was made in the parent, and the child does not see it"} | CHILDREN,
    only=("fork", "no scheduler"),
    racy=True,
)
def inherited_event(rig: Rig) -> str:
    """The parent records when the child is there."""
    ready, answer, started = CpuGpuEvent(), rig.cell(""), rig.cell(False)

    def child() -> str:
        try:
            ready.wait(timeout=MOMENT)
        except HandoffTimeout:
            return "never"
        return "handed"

    def producer() -> None:
        rig.until(started.get, started)
        ready.record(rig.stream())

    def forker() -> None:
        started.set(True)
        answer.set(fork(child, FORKED))

    rig.run(producer, forker)
    return answer.get()


class OneLockEvent(CpuGpuEvent):
    """Records under a lock of the process."""

    _lock = threading.Lock()

    def record(self, stream: Any = None) -> None:
        with self._lock:
            super().record(stream)


inherited_lock = forked.on(OneLockEvent, racy=True, module=__name__)
