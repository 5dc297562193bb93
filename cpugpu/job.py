"""A stress job: a campaign with its display, its files and its report. What the faces call."""

from __future__ import annotations

import os
import platform
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

from cpugpu import settings
from cpugpu.campaign import (
    Budget,
    Executor,
    Header,
    LocalProcesses,
    Once,
    Part,
    Run,
    Shard,
    Target,
    folder,
    run,
)
from cpugpu.campaign.results import NAME
from cpugpu.report import write_report
from cpugpu.report.live import Lines, Live, Tally
from cpugpu.rig import Scenario

#: So much of the time is for what comes after the campaign: the report, the tables.
_REPORT_SHARE = 0.04


@dataclass(frozen=True)
class Job:
    """What is to be run, and how. `replays` has the command up to the seed, by nodeid; `began` is monotonic."""

    targets: Sequence[Target]
    scenarios: Mapping[str, Scenario]
    replays: Mapping[str, str]
    skipped: Sequence[tuple[str, str]]
    device: str
    description: str
    seed: int
    iteration: int | None
    seconds: float
    part: Part
    processes: int | None
    report: Path | None
    ray: str
    began: float


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in the middle of a campaign. `run` is what was measured until then."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run


def run_job(job: Job, write: Callable[[str], None]) -> Run:
    """Run it, show how it goes, leave the report. What was measured is returned even where it cannot be written.

    `BadInput`, before anything was started, for a cluster that cannot be had and a folder that cannot be written.
    `Interrupted`, with the report written, on Ctrl-C.
    """
    found = Run([_header(job)])
    with nullcontext() if job.report is None else folder.claimed(job.report), closing(_executor(job)) as executor:
        previous = None if job.report is None else folder.begin(job.report, found.headers[0], write)
        try:
            _campaign(job, executor, previous, found, write)
        except KeyboardInterrupt:
            executor.close()  # the report takes a moment
            write(f"cpugpu: interrupted after {len(found.entries)} shards; {_reported(job, found, previous)}")
            raise Interrupted(found) from None
        if job.report is not None:
            write(f"cpugpu: {_reported(job, found, previous)}")
    return found


def _campaign(job: Job, executor: Executor, previous: Run | None, found: Run, write: Callable[[str], None]) -> None:
    """Run the shards; `found` gets what comes of them."""
    recent = {item.target.nodeid for item in previous.items if not item.passed} if previous is not None else set()
    began = time.monotonic() if job.ray else job.began  # a cluster may take its time to start
    seconds = job.seconds * (1 - _REPORT_SHARE)
    plan = (
        Budget(job.targets, seconds, executor.width, job.scenarios, recent)
        if job.iteration is None
        else Once(job.targets, job.seconds)
    )
    template = Shard(
        number=0,
        target=Target("", "", "", ""),
        device=job.device,
        seed=job.seed,
        seconds=0.0,
        iteration=job.iteration,
        results=str((job.report / NAME).resolve()) if job.report is not None else "",
        paths=tuple(path or str(Path.cwd()) for path in sys.path),
    )
    tally = Tally(seconds, began)
    display = Live(tally, sys.stdout) if sys.stdout.isatty() and not settings.in_ci() else Lines(tally, write)
    with closing(display):
        run(plan, executor, template=template, replays=job.replays, observers=[display], began=began, into=found)


def _reported(job: Job, found: Run, previous: Run | None) -> str:
    """Write the report; returns where it is, or why it is not."""
    if job.report is None:
        return "there is no report without --stress-report"
    try:
        return f"report {write_report(found, job.report, previous=previous)}"
    except OSError as error:
        return f"the report could not be written to {job.report}: {error.strerror or error}"


def process_began() -> float:
    """When this process was started, of `time.monotonic()`; where the system does not tell, now."""
    try:
        # The 22nd field, in ticks since the machine was booted; the second one may hold anything but a last ")".
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError, ValueError, IndexError):
        return time.monotonic()
    return time.monotonic() - age


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _executor(job: Job) -> Executor:
    width = job.processes
    if job.ray:
        from cpugpu.campaign.ray_tasks import RayTasks

        return RayTasks(job.ray, width=width, gpu=job.device == "accelerator")
    if job.device == "accelerator":
        import torch

        return LocalProcesses(width or torch.accelerator.device_count(), preload=["torch"])
    return LocalProcesses(width or cores())


def _header(job: Job) -> Header:
    return Header(
        started=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        machine=f"{platform.system()} {platform.machine()}, {cores()} cores",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        torch=_version("torch"),
        device=job.description,
        seed=job.seed,
        seconds=job.seconds,
        part=str(job.part),
        targets=tuple(job.targets),
        skipped=tuple(job.skipped),
    )


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"
