"""Scenarios under the sanitizer: what it finds in an execution is an outcome, and a forbidden one."""

from __future__ import annotations

import functools
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from cpugpu.rig import Rig, Scenario
from cpugpu.sanitize import report
from cpugpu.sanitize.findings import Finding
from cpugpu.sanitize.session import Session, watching

#: The outcome of an execution in which something was found.
FINDING = "finding"


class Found(str):
    """The outcome; it explains itself by the findings."""

    _findings: list[Finding]

    def __new__(cls, findings: list[Finding]) -> Found:
        """Of one execution."""
        self = super().__new__(cls, FINDING)
        self._findings = findings
        return self

    def explain(self) -> str:
        """All of them."""
        return "\n\n".join(map(report.one, self._findings))


@contextmanager
def sanitized(scenario: Scenario) -> Iterator[Scenario]:
    """Watch what runs in the block; the scenario that it gets is the same one, with what was found as its outcome.

    Rules that the scenario breaks on purpose do not count. A rule that is broken at the same places again is found once
    a block. An execution that fails in another way keeps its own outcome.
    """
    with watching() as session:
        yield replace(
            scenario,
            function=_looking(scenario, session),
            forbid={**scenario.forbid, FINDING: "the sanitizer has found what nothing orders"},
        )


def _looking(scenario: Scenario, session: Session) -> Any:
    @functools.wraps(scenario.function)
    def function(rig: Rig, **subject: Any) -> Hashable:
        outcome = scenario.function(rig, **subject)
        news = session.model.findings.news
        found = [news.popleft() for _ in range(len(news))]
        counting = [finding for finding in found if finding.rule not in scenario.breaks]
        return Found(counting) if counting else outcome

    return function
