"""Which part of a campaign is this machine's: `2/8`, by default from what has started it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from cpugpu import settings
from cpugpu.errors import BadInput

_T = TypeVar("_T")


@dataclass(frozen=True)
class Part:
    """The `number`-th of `of` parts, from 1."""

    number: int = 1
    of: int = 1

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def take(self, items: Sequence[_T]) -> list[_T]:
        """Every `of`-th item, from the `number`-th. With more parts than items several parts share one."""
        if self.of > len(items):
            return [items[(self.number - 1) % len(items)]] if items else []
        return list(items[self.number - 1 :: self.of])

    def seed(self, seed: int) -> int:
        """The seed of this part: parts that share a scenario must not make the same choices."""
        return seed + (self.number - 1) * 1_000_003


def parse_part(text: str) -> Part:
    """The part that `text` names; for the empty text what torchrun, Slurm or Buildkite has set, else all of it."""
    if not text:
        number, of = settings.part() or (0, 1)
        return Part(number + 1, of)
    match = re.fullmatch(r"(\d+)/(\d+)", text, re.ASCII)
    part = Part(int(match[1]), int(match[2])) if match else Part(0)
    if not 1 <= part.number <= part.of:
        raise BadInput(f"--stress-shard={text}: allowed is I/N with I from 1 to N, 2/8 for instance")
    return part
