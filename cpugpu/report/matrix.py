"""The mutant matrix that `make mutants` leaves beside the report: which engine kills which mutant."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VERSION = 1
NAME = "mutants.json"


class MatrixError(ValueError):
    """A file that is no matrix, or one of another version."""


@dataclass(frozen=True)
class Kill:
    """What an engine made of a mutant. `by` is the scenario or the rule, `outcome` what it saw.

    `proved`: the explorer has tried every trace of so many programs, and none failed.
    """

    killed: bool
    seconds: float
    by: str
    outcome: str
    proved: int = 0


@dataclass(frozen=True)
class Mutant:
    """A row. `results` has an engine's kill by its name; `reason` says why a survivor survives.

    `unexplored`: why the explorer cannot see it, whatever it has proved.
    """

    name: str
    part: str
    what: str
    reason: str
    results: dict[str, Kill]
    unexplored: str = ""

    @property
    def killed(self) -> bool:
        """Did any engine kill it?"""
        return any(kill.killed for kill in self.results.values())

    def equivalent(self, engine: str) -> bool:
        """Has that engine proved that it is no mistake, as far as its programs can tell?"""
        kill = self.results[engine]
        return not kill.killed and kill.proved > 0 and not self.unexplored


@dataclass(frozen=True)
class Matrix:
    """The matrix, and how it was made."""

    device: str
    seconds: float
    seed: int
    python: str
    machine: str
    engines: list[str]
    mutants: list[Mutant]

    def kills(self, engine: str) -> int:
        """How many mutants an engine has killed."""
        return sum(engine in mutant.results and mutant.results[engine].killed for mutant in self.mutants)

    @property
    def survivors(self) -> list[Mutant]:
        """Those that no engine has killed."""
        return [mutant for mutant in self.mutants if not mutant.killed]


def read_matrix(folder: Path) -> Matrix | None:
    """The matrix in `folder`, None where there is none. `MatrixError` for one that cannot be read."""
    try:
        data = json.loads((folder / NAME).read_text(encoding="utf-8"))
        if data["version"] != VERSION:
            raise MatrixError(f"{NAME} is of version {data['version']!r}; this cpugpu reads version {VERSION}")
        return Matrix(
            device=str(data["device"]),
            seconds=float(data["seconds"]),
            seed=int(data["seed"]),
            python=str(data["python"]),
            machine=str(data["machine"]),
            engines=[str(engine) for engine in data["engines"]],
            mutants=[_mutant(row) for row in data["rows"]],
        )
    except FileNotFoundError:
        return None
    except MatrixError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise MatrixError(f"{NAME} cannot be read ({type(error).__name__}: {error})") from error


def _mutant(row: dict[str, Any]) -> Mutant:
    return Mutant(
        name=str(row["mutant"]),
        part=str(row["part"]),
        what=str(row["what"]),
        reason=str(row["reason"]),
        unexplored=str(row.get("unexplored", "")),
        results={
            str(engine): Kill(
                killed=bool(kill["killed"]),
                seconds=float(kill["seconds"]),
                by=str(kill["by"]),
                outcome=str(kill["outcome"]),
                proved=int(kill.get("proved", 0)),  # as of the explorer's column
            )
            for engine, kill in row["results"].items()
        },
    )
