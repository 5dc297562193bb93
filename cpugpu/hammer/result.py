"""What a scenario did under the hammer, and how the results of several shards are added up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

from cpugpu.hammer.latency import Latencies
from cpugpu.rig import Grade

#: A failure is described in full once an outcome, and for so many outcomes.
DESCRIBED = 5


@dataclass
class Row:
    """An outcome: how often it was seen and what it means."""

    outcome: str
    times: int
    grade: Grade
    meaning: str


class Step(NamedTuple):
    """One line of a timeline: what a thread did, or what a stream of the simulated device ran.

    `began` and `ended` are seconds from the start of the execution; `ended` is None for what never came to an end.
    """

    where: str
    kind: str  # "thread" or "stream"
    what: str
    began: float
    ended: float | None


@dataclass
class Failure:
    """The first execution with a certain forbidden outcome. `seed` and `iteration` reproduce its random choices.

    `device` is that of its result, which says so; after results were added up it is the failure's own.
    """

    outcome: str
    meaning: str
    iteration: int
    details: str
    listed: bool  # did the scenario list it as forbidden?
    seed: int = 0
    steps: list[Step] = field(default_factory=list)
    device: str = ""


@dataclass
class Result:
    """What a scenario did under the hammer.

    `latencies`: of hand-offs, from the return of the driver's record to the return of the driver's wait, the random
    sleeps of the hammer included. `hand_offs`: how many. `stuck`: why it had to end early, empty if it did not.
    """

    title: str
    device: str
    seed: int
    executions: int
    seconds: float
    racy: bool
    rows: list[Row] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    latencies: Latencies = field(default_factory=Latencies)
    stuck: str = ""

    def __post_init__(self) -> None:
        self.failures = [
            failure if failure.device else replace(failure, device=self.device) for failure in self.failures
        ]

    @property
    def hand_offs(self) -> int:
        """How many hand-offs were seen."""
        return self.latencies.total

    @property
    def passed(self) -> bool:
        """Did it do what it should: show no forbidden outcome, or, if it is racy, show one?"""
        if self.racy:  # an exception that nobody foresaw demonstrates nothing
            return bool(self.failures) and all(failure.listed for failure in self.failures)
        return not self.failures

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "latencies": {str(bucket): n for bucket, n in self.latencies.counts.items()}}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Result:
        """The inverse of `to_dict`. `KeyError`, `TypeError` or `ValueError` for what is not of its making."""
        return cls(
            **{
                **data,
                "rows": [Row(**{**row, "grade": Grade(row["grade"])}) for row in data["rows"]],
                "failures": [
                    Failure(**{**failure, "steps": [Step(*step) for step in failure["steps"]]})
                    for failure in data["failures"]
                ],
                "latencies": Latencies({int(bucket): int(n) for bucket, n in data["latencies"].items()}),
            }
        )


def combine(results: Sequence[Result]) -> Result:
    """The results of one scenario, added up. Of each forbidden outcome the failure that came first is kept.

    Outcomes of different types may look alike, `1` and `"1"`: where their grades or meanings differ they stay apart.
    """
    first = results[0]
    rows: dict[tuple[str, Grade, str], Row] = {}
    failures: dict[str, Failure] = {}
    latencies = Latencies()
    for result in results:
        latencies.merge(result.latencies)
        for row in result.rows:
            key = row.outcome, row.grade, row.meaning
            known = rows.get(key)
            rows[key] = row if known is None else replace(known, times=known.times + row.times)
        for failure in result.failures:
            failures.setdefault(failure.outcome, failure)
    return Result(
        title=first.title,
        device=", ".join(dict.fromkeys(result.device for result in results)),
        seed=first.seed,
        executions=sum(result.executions for result in results),
        seconds=sum(result.seconds for result in results),
        racy=first.racy,
        rows=sorted(rows.values(), key=lambda row: -row.times),
        failures=list(failures.values())[:DESCRIBED],
        latencies=latencies,
        stuck=next((result.stuck for result in results if result.stuck), ""),
    )
