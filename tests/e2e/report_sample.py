"""Runs with everything that a report can show, the names of a hostile repository included."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cpugpu.campaign import Entry, Fault, Header, Run, Shard, Target
from cpugpu.hammer import Failure, Latencies, Result, Row, Step
from cpugpu.report.words import clean, share
from cpugpu.rig import Grade

SCRIPT = "<script>alert(1)</script>"
#: What HTML, XML, JSON and attributes must survive. The half of a surrogate pair is what JSON may smuggle in.
NASTY = f"{SCRIPT} \"double\" 'single' &amp; ]]> {{{{ 7 * 7 }}}} \x00\x1b[31m\x7f\x85\ud800\ufffe"
FAULTS = ("killed", "hung", "out of memory", "device error", "disk full", "crashed")
LATENCIES = Latencies({20: 12, 24: 90, 26: 410, 28: 730, 29: 520, 31: 160, 36: 40, 44: 9, 53: 2})
MATRIX = {
    "version": 1,
    "device": "sim",
    "seconds": 10.0,
    "seed": 0,
    "python": "CPython 3.11.7",
    "machine": "Linux x86_64, 2 cores",
    "engines": ["hammer", "rules", "baseline"],
    "rows": [
        {
            "mutant": "RecordsLate",
            "part": "event",
            "what": "The record is put behind the signal.",
            "reason": "",
            "results": {
                "hammer": {"killed": True, "seconds": 0.31, "by": "hand_off", "outcome": "stale"},
                "rules": {"killed": True, "seconds": 0.02, "by": "wait-before-record", "outcome": "violation"},
                "baseline": {"killed": False, "seconds": 10.0, "by": "", "outcome": ""},
            },
        },
        {
            "mutant": "Never" + SCRIPT,
            "part": "event",
            "what": "The flag is read without the lock.",
            "reason": "Under the GIL nobody can see it.",
            "results": {
                "hammer": {"killed": False, "seconds": 10.0, "by": "", "outcome": ""},
                "baseline": {"killed": False, "seconds": 10.0, "by": "", "outcome": ""},
            },
        },
    ],
}

STEPS = [
    Step("producer", "thread", "fill cell←1 on stream 1", 2e-6, 14e-6),
    Step("producer", "thread", "record ready on stream 1", 16e-6, 31e-6),
    Step("consumer", "thread", "wait ready on stream 2", 1e-6, 8e-6),
    Step("consumer", "thread", "copy cell→seen on stream 2", 9e-6, 20e-6),
    Step("stream 1", "stream", "fill cell←1", 40e-6, 95e-6),
    Step("stream 2", "stream", "copy cell→seen", 22e-6, 38e-6),
    Step("consumer", "thread", f"wait {SCRIPT}", 70e-6, None),
]


def target(name: str, *, racy: bool = False, story: str = "") -> Target:
    """A scenario of `stress/stress_sample.py`."""
    title = f"{name}[CpuGpuEvent]"
    path = "stress/stress_sample.py"
    return Target(f"{path}::{title}", path, "stress.stress_sample", name, "cpugpu:CpuGpuEvent", title, story, racy)


def result(
    of: Target, *rows: tuple[str, int, str, str], failures: list[Failure] | None = None, latencies: Latencies
) -> Result:
    """A result with these outcomes: name, times, grade, meaning."""
    return Result(
        title=of.title,
        device="sim",
        seed=7,
        executions=sum(row[1] for row in rows),
        seconds=2.5,
        racy=of.racy,
        rows=[Row(outcome, times, Grade(grade), meaning) for outcome, times, grade, meaning in rows],
        failures=failures or [],
        latencies=latencies,
    )


def entry(of: Target, found: Result | None, fault: Fault | None = None, *, number: int = 0, seed: int = 7) -> Entry:
    """What became of a shard."""
    replay = f"cpugpu stress '{of.path}::{of.title}' --stress-device=sim"
    return Entry(Shard(number, of, "sim", seed, 2.5, replay=replay), found, fault, replay)


def header(*targets: Target, part: str = "1/1", **more: Any) -> Header:
    """How it was run."""
    values: dict[str, Any] = {
        "started": "2025-01-31T12:00:00+00:00",
        "command": "cpugpu stress stress --stress-seconds=60 --stress-report=stress-report",
        "machine": "Linux x86_64, 2 cores",
        "python": "CPython 3.11.7",
        "torch": "2.8.0",
        "device": "sim: simulated device, 8 streams",
        "seed": 7,
        "seconds": 60.0,
        "part": part,
        "targets": targets,
    }
    return Header(**{**values, **more})


def failing(of: Target, outcome: str = "stale", *, steps: list[Step] | None = None, seed: int = 7) -> Entry:
    """A shard in which `outcome` was seen 54 times in 200 executions."""
    failure = Failure(
        outcome, "the wait was a no-op", 14, "cell: 0\nexpected: 1", True, seed, STEPS if steps is None else steps
    )
    return entry(
        of,
        result(
            of,
            ("fresh", 146, "accepted", "the copy saw the fill"),
            (outcome, 54, "forbidden", "the wait was a no-op"),
            failures=[failure],
            latencies=LATENCIES,
        ),
        seed=seed,
    )


def passing(of: Target, *, times: int = 1973, late: int = 27) -> Entry:
    """A shard in which nothing forbidden was seen."""
    return entry(
        of,
        result(
            of,
            ("fresh", times, "accepted", "the copy saw the fill"),
            ("late", late, "interesting", "the consumer came after the producer had ended"),
            latencies=LATENCIES,
        ),
    )


STORY = """A device event hands the work of a producer to a consumer.

The producer fills a `cell` on its stream and records; the consumer waits and copies on a stream of its own.

    producer: fill, record        consumer: wait, copy"""

GOOD = target("hand_off", story=STORY)
BAD = target("bare_event", story="CUDA lets a stream wait on an event that nobody has recorded: the wait is a no-op.")
RACY = target("seed_event", racy=True)
TAME = target("tame", racy=True)
HOSTILE = target(NASTY, story=f"A story with {SCRIPT}")
NEVER = target("never_ran")
DYING = {kind: target("dies_" + kind.replace(" ", "_")) for kind in FAULTS}
EVERY = (GOOD, BAD, RACY, TAME, HOSTILE, NEVER, *DYING.values())


def sample() -> Run:
    """Everything at once: two forbidden outcomes, a racy scenario that is tame, and a fault of each kind."""
    faults = [
        entry(of, None, Fault(kind, f"its process was lost: {NASTY}", f"Fatal error\n  {NASTY}"), number=20 + number)
        for number, (kind, of) in enumerate(DYING.items())
    ]
    tame = result(TAME, ("fresh", 900, "accepted", "no luck"), latencies=Latencies())
    skipped = ((f"stress/stress_gpu.py::{SCRIPT}", f"needs an accelerator & {NASTY}"),)
    return Run(
        [header(*EVERY, skipped=skipped)],
        [passing(GOOD), failing(BAD), failing(RACY), entry(TAME, tame), failing(HOSTILE, NASTY), *faults],
    )


def before() -> Run:
    """The run before `sample`: `bare_event` still passed, `hand_off` was late less often."""
    return Run([header(GOOD, BAD, RACY, started="2025-01-30T12:00:00+00:00", seed=6)],
               [passing(GOOD, times=3000, late=1), passing(BAD), failing(RACY)])  # fmt: skip


def write_matrix(folder: Path) -> None:
    """Leave the mutant matrix where the report looks for it."""
    (folder / "mutants.json").write_text(json.dumps(MATRIX))


def outcome_rows(run: Run) -> dict[str, list[list[str]]]:
    """What the outcome tables should say, by nodeid."""
    return {
        clean(item.target.nodeid): [
            [
                clean(row.outcome),
                f"{row.times:,}",
                share(row.times, item.result.executions),
                row.grade.value,
                row.meaning,
            ]
            for row in item.result.rows
        ]
        for item in run.items
        if item.result is not None
    }


def matrix_rows() -> list[list[str]]:
    """What the matrix should say."""
    return [
        [
            "RecordsLate event: The record is put behind the signal.",
            "killed 310 ms, hand_off: stale",
            "killed 20.0 ms, wait-before-record: violation",
            "survived",
        ],
        [f"Never{SCRIPT} event: The flag is read without the lock.", "survived", "not tried", "survived"],
    ]


def lanes() -> dict[str, list[str]]:
    """What each thread did and each stream ran in the failures of `sample`, in the order in which it began."""
    names = dict.fromkeys(step.where for step in sorted(STEPS, key=lambda step: step.kind != "thread"))
    by_time = sorted(STEPS, key=lambda step: step.began)
    return {name: [step.what for step in by_time if step.where == name] for name in names}
