"""Findings in the trace that `CPUGPU_TRACE` asks for, each a violation on the track of its thread when it was found.

The trace is the debug mode's (`cpugpu.trace`), and is begun here if no instrumented event has begun it. What those do
stands in it beside the findings.
"""

from __future__ import annotations

import threading

from cpugpu import settings
from cpugpu.sanitize.findings import Finding, Findings


class Traced:
    """Notes the findings that were not noted yet. Called outside the model's lock."""

    def __init__(self, findings: Findings) -> None:
        from cpugpu.debug import watcher

        self._findings = findings
        self._noted = 0
        self._lock = threading.Lock()
        watcher.start()

    def catch_up(self) -> None:
        """Write down what is new."""
        if len(self._findings) > self._noted:
            with self._lock:
                new = list(self._findings)[self._noted :]
                self._noted += len(new)
            for finding in new:
                _note(finding)


def begin(findings: Findings) -> Traced | None:
    """None if no trace is asked for."""
    return None if settings.trace_path() is None else Traced(findings)


def _note(finding: Finding) -> None:
    from cpugpu.debug import Kind, journal
    from cpugpu.debug.state import EventState

    other = f"; {finding.second}" if finding.second is not None else ""
    message = f"{finding.first}{other}: {finding.missing}. Fix: {finding.fix}"
    operation = journal.note(Kind.FOUND, EventState("", number=0), detail=finding.subject)
    journal.violation(operation, finding.rule, message)
    journal.keep(operation)
