"""Both sanitizers on a real device: the programs of the table, and the snippets of the corpus.

Each form of each runs in a process of its own under each sanitizer, for CSAN cannot be taken off again, and keeps what
it has seen of a thread that has died. So a process tells what was found in *one* run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

_SECONDS = 90.0  # a snippet that hangs has bounded waits; under CSAN some do not end
_FOUND_BY_CSAN = "CSAN detected"
#: What turns each of them on.
SANITIZERS: dict[str, dict[str, str]] = {"cpugpu": {}, "CSAN": {"TORCH_CUDA_SANITIZER": "1"}}


@dataclass(frozen=True)
class Subject:
    """A program in its two forms. `rule`: ours, for the buggy one, where it is known. `why_not`: it cannot be found."""

    name: str
    run: Callable[[bool], object]
    rule: str = ""
    has_buggy: bool = True
    devices: int = 1
    why_not: str = ""


def subjects() -> Iterator[Subject]:
    """The programs, then the snippets."""
    from stress.compare_sanitizers.performed import Performed
    from stress.compare_sanitizers.programs import PROGRAMS
    from tests.corpus.registry import SNIPPETS
    from tests.corpus.test_corpus import SEEDS  # noqa: F401 - importing it registers the snippets

    def performer(program: Any) -> Callable[[bool], object]:
        def perform(right: bool) -> None:
            done = Performed()
            (program.clean if right else program.buggy)(done)
            done.end()

        return perform

    for program in PROGRAMS:
        devices = 2 if "two devices" in program.title else 1
        yield Subject(program.title, performer(program), program.rule, program.buggy is not None, devices)
    for snippet in SNIPPETS:
        lucky = "the streams are one: the pool of a real device wraps" if "pool" in snippet.options else ""
        yield Subject(
            snippet.name,
            lambda fixed, snippet=snippet: snippet.function(fixed, snippet.rounds),  # type: ignore[misc]
            devices=snippet.devices,
            why_not=lucky,
        )


def run_one(name: str, *, right: bool, under: str) -> None:
    """In this process; a line of JSON at the end."""
    subject = next(each for each in subjects() if each.name == name)
    from stress.compare_sanitizers.performed import NotExpressible

    try:
        if under == "cpugpu":
            from cpugpu.sanitize import watching

            with watching() as session:
                outcome = subject.run(right)
            found = sorted({finding.rule for finding in session.model.findings})
        else:
            outcome, found = subject.run(right), []
    except NotExpressible as reason:
        print(json.dumps({"not_run": str(reason)}))
        return
    print(json.dumps({"found": found, "outcome": outcome}))


def _in_a_process(subject: Subject, *, right: bool, under: str) -> dict[str, Any]:
    command = [sys.executable, "-W", "ignore", "-m", "stress.compare_sanitizers", "--one", subject.name]
    command += ["--under", under, *(["--right"] if right else [])]
    try:
        done = subprocess.run(
            command, env=os.environ | SANITIZERS[under], capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return {"found": [], "failed": f"no end in {_SECONDS:.0f} s"}
    lines = done.stdout.splitlines()
    result: dict[str, Any] = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {"found": []}
    if under == "CSAN" and _FOUND_BY_CSAN in done.stderr:
        result["found"] = ["data race"]
    elif done.returncode:
        result["failed"] = done.stderr.splitlines()[-1] if done.stderr else f"exit status {done.returncode}"
    return result


def compare_on_device(jobs: int) -> dict[str, Any]:
    """All subjects, in that many processes at once; what was found, by subject, form and sanitizer."""
    import torch

    keys = [
        (subject, right, under)
        for subject in subjects()
        if subject.devices <= torch.cuda.device_count()
        for right in (False, True)
        if right or subject.has_buggy
        for under in SANITIZERS
    ]
    with ThreadPoolExecutor(jobs) as pool:
        results = pool.map(lambda key: _in_a_process(key[0], right=key[1], under=key[2]), keys)
    found: dict[str, Any] = {}
    for (subject, right, under), result in zip(keys, results, strict=True):
        entry = found.setdefault(subject.name, {"rule": subject.rule, "why_not": subject.why_not})
        entry.setdefault("clean" if right else "buggy", {})[under] = result
    return {"totals": _totals(found), "subjects": found}


def _totals(found: dict[str, Any]) -> dict[str, Any]:
    """Of those that could be run under both."""
    totals: dict[str, Any] = {}
    for under in SANITIZERS:
        for form in ("buggy", "clean"):
            results = [entry[form][under] for entry in found.values() if form in entry]
            ran = [result for result in results if "not_run" not in result]
            totals[f"{under}, {form}"] = {
                "programs": len(ran),
                "found": sum(bool(result.get("found")) for result in ran),
                "failed": sum("failed" in result for result in ran),
            }
    return totals


def wrong(found: dict[str, Any]) -> list[str]:
    """What ours was wrong about."""
    titles = []
    for name, entry in found["subjects"].items():
        buggy, clean = entry.get("buggy", {}).get("cpugpu"), entry["clean"]["cpugpu"]
        if "not_run" in clean:
            continue
        missed = buggy is not None and not entry["why_not"] and entry["rule"] not in ("", *buggy["found"])
        if missed or (buggy is not None and not entry["why_not"] and not buggy["found"]) or clean["found"]:
            titles.append(name)
    return titles
