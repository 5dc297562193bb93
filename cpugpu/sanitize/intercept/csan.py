"""torch's own sanitizer, turned on by the program: it stays off, and a line says so. One of the two at a time.

It would find races that are none on the simulated device, whose events do not call it; and on a real one both would
follow each launch.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from cpugpu.patches import Patch
from cpugpu.sanitize.places import here, place_of

MODULE = "torch.cuda._sanitizer"


def is_on() -> bool:
    """Has it been turned on before?"""
    module = sys.modules.get(MODULE)
    return module is not None and bool(module.cuda_sanitizer.enabled)


def patches(module: Any) -> Iterator[Patch]:
    """What `enable_cuda_sanitizer()` calls."""
    yield module.CUDASanitizer, "enable", _stays_off


def _stays_off(self: Any) -> None:  # noqa: ARG001
    print(
        f"cpugpu: torch's own sanitizer stays off (turned on at {place_of(here())}): one of the two at a time. Without"
        " cpugpu, or under `cpugpu run --no-sanitize`, it is what the program asks for",
        file=sys.stderr,
    )
