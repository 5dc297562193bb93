"""NVTX ranges for profilers such as Nsight Systems, where the package `nvtx` is installed and a tool listens.

Start/end ranges: push/pop belongs to one thread's stack, and would not survive a range that ends elsewhere
(NVIDIA/nsight-python#57).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


def _make() -> Callable[[str, str], Callable[[], None]] | None:
    try:
        import nvtx  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError:
        return None
    domain: Any = nvtx.get_domain("cpugpu")
    attributes = functools.lru_cache(maxsize=1024)(
        lambda kind, event: domain.get_event_attributes(message=f"{kind} {event}")
    )

    def start(kind: str, event: str) -> Callable[[], None]:
        return functools.partial(domain.end_range, domain.start_range(attributes(kind, event)))

    return start


#: Starts a range for an operation on an event and returns what ends it; None without nvtx.
start_range = _make()
