"""What a thread has spent: time on a processor, and how often it has left the processor of its own accord."""

from __future__ import annotations

import resource
import time
from typing import NamedTuple

#: Linux counts for a thread; other systems do not, and then nobody is known to have left the processor.
_THREAD: int | None = getattr(resource, "RUSAGE_THREAD", None)


class Effort(NamedTuple):
    """`cpu_ns` on a processor, in nanoseconds; `rests`: voluntary context switches."""

    cpu_ns: int
    rests: int

    def since(self, earlier: Effort) -> Effort:
        """What was spent between the two."""
        return Effort(self.cpu_ns - earlier.cpu_ns, self.rests - earlier.rests)


def spent() -> Effort:
    """What the calling thread has spent so far."""
    return Effort(time.thread_time_ns(), 0 if _THREAD is None else resource.getrusage(_THREAD).ru_nvcsw)
