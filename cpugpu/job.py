"""A stress job: a campaign with its display, its files and its report. What the faces call."""

from __future__ import annotations

import os
import platform
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
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
    ResultsError,
    Run,
    Shard,
    Target,
    append,
    read,
    run,
)
from cpugpu.campaign.results import NAME
from cpugpu.report import write_report
from cpugpu.report.live import Lines, Live, Tally
from cpugpu.rig import Scenario

_PREVIOUS = "previous.jsonl"


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


def run_job(job: Job, write: Callable[[str], None]) -> Run:
    """Run it, show how it goes, leave the report. What was measured is returned even where it cannot be written.

    `ValueError`, before anything was started, for a cluster that cannot be had and a folder that cannot be written.
    """
    results, previous = "", None
    header = _header(job)
    if job.report is not None:
        results = str((job.report / NAME).resolve())
        previous = _begin_files(job.report, header, write)
    recent = {item.target.nodeid for item in previous.items if not item.passed} if previous is not None else set()
    executor = _executor(job)
    began = time.monotonic() if job.ray else job.began  # a cluster may take its time to start
    plan = (
        Budget(job.targets, job.seconds, executor.width, job.scenarios, recent)
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
        results=results,
        paths=tuple(path or str(Path.cwd()) for path in sys.path),
    )
    tally = Tally(job.seconds, began)
    display = Live(tally, sys.stdout) if sys.stdout.isatty() and not settings.in_ci() else Lines(tally, write)
    try:
        found = run(plan, executor, template=template, replays=job.replays, observers=[display], began=began)
    finally:
        display.close()
        executor.close()
    found.headers.append(header)
    if job.report is not None:
        try:
            write(f"cpugpu: report {write_report(found, job.report, previous=previous)}")
        except OSError as error:
            write(f"cpugpu: the report could not be written to {job.report}: {error.strerror or error}")
    return found


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


def _begin_files(folder: Path, header: Header, write: Callable[[str], None]) -> Run | None:
    """Make room for new results; returns the last ones, where there are any that can be read.

    `ValueError` for a folder that cannot be written: better before the time is spent than after it.
    """
    previous = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / NAME).exists():
            os.replace(folder / NAME, folder / _PREVIOUS)
            try:
                previous = read(folder / _PREVIOUS)
            except ResultsError as error:
                write(f"cpugpu: of the last run's results only a part is compared: {error}")
                previous = error.run
        append(folder / NAME, header)
    except OSError as error:
        raise ValueError(f"--stress-report={folder} cannot be written: {error.strerror or error}") from error
    return previous


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
