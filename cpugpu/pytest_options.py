"""The options of the runner, and what they may be."""

from __future__ import annotations

import importlib
import math
import random
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from cpugpu import settings
from cpugpu.campaign import Part, parse_part

OPTIONS = {
    "seconds": ("10", "SECONDS", "time for all scenarios together, in seconds (default 10)"),
    "seed": ("", "SEED[@N]", "seed of all random choices (default CPUGPU_SEED, else drawn); @N repeats execution N"),
    "device": ("auto", "auto|accelerator|sim", "auto (default): the accelerator where there is one, else simulated"),
    "subject": ("", "MODULE:CLASS", "the class that scenarios make their events of; may be given more than once"),
    "shard": ("", "I/N", "run the I-th of N parts (default: what torchrun, Slurm or Buildkite has set, else all)"),
    "workers": ("", "N", "processes at once (default: a core each on the simulated device, else an accelerator each)"),
    "report": ("", "DIR", "leave index.html, junit.xml, results.json and results.jsonl there (default: no report)"),
    "ray": (
        "",
        "auto|HOST:PORT|local",
        "spread the shards over a Ray cluster: auto (the one that is here), HOST:PORT, or local",
    ),
}


@dataclass(frozen=True)
class Options:
    """The options as they were given, checked as far as that needs no import."""

    seconds: float
    seed: int
    iteration: int | None
    device: str
    subjects: tuple[str, ...]
    part: Part
    processes: int | None
    report: Path | None
    ray: str
    workers: int
    worker: int | None


def add_options(parser: pytest.Parser) -> None:
    """Each option has a twin in the ini file."""
    group = parser.getgroup("cpugpu", "cpugpu: scenarios under stress")
    for name, (default, metavar, text) in OPTIONS.items():
        kind: Literal["args", "string"] = "args" if name == "subject" else "string"
        action = "append" if name == "subject" else "store"
        group.addoption(f"--stress-{name}", action=action, default=None, metavar=metavar, help=text)
        parser.addini(f"stress_{name}", text, default=default, type=kind)


def _value(config: pytest.Config, name: str) -> Any:
    value = config.getoption(f"--stress-{name}")
    return config.getini(f"stress_{name}") if value is None else value


def read_options(config: pytest.Config) -> Options:
    """The options of a run, checked. `ValueError` says what is allowed."""
    worker: dict[str, Any] = getattr(config, "workerinput", {})
    part = parse_part(str(_value(config, "shard")))
    seed, iteration = _parse_seed(str(_value(config, "seed")))
    if "cpugpu_seed" in worker:
        seed = worker["cpugpu_seed"]
    else:
        seed = part.seed(random.SystemRandom().randrange(2**32) if seed is None else seed)
    number = re.search(r"\d+$", str(worker.get("workerid", "")))
    return Options(
        seconds=_parse_seconds(str(_value(config, "seconds"))),
        seed=seed,
        iteration=iteration,
        device=str(_value(config, "device")),
        subjects=tuple(_value(config, "subject")),
        part=part,
        processes=_parse_workers(str(_value(config, "workers"))),
        report=Path(config.invocation_params.dir, report) if (report := str(_value(config, "report"))) else None,
        ray=str(_value(config, "ray")),
        workers=int(worker.get("workercount", 1)),
        worker=int(number[0]) if number else None,
    )


def _parse_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ValueError(f"--stress-seconds={text}: allowed is a number of seconds above 0")
    return seconds


def _parse_workers(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise ValueError(f"--stress-workers={text}: allowed is a number of processes from 1")
    return int(text)


def _parse_seed(text: str) -> tuple[int | None, int | None]:
    seed, at, iteration = text.partition("@")
    if not text:
        return settings.seed(), None
    if not (seed.isascii() and seed.isdigit() and (not at or (iteration.isascii() and iteration.isdigit()))):
        raise ValueError(f"--stress-seed={text}: allowed is an integer from 0, or one and an execution, 123@45")
    return int(seed), int(iteration) if at else None


def load_subject(text: str, config: pytest.Config) -> Callable[[], Any]:
    """The class that `MODULE:CLASS` names. `ValueError` for what cannot be a class under test."""
    allowed = "allowed is MODULE:CLASS, a class with record() and wait() that is made without arguments"
    module, colon, name = text.partition(":")
    if not (module and colon and name):
        raise ValueError(f"--stress-subject={text}: {allowed}")
    here = str(config.invocation_params.dir)
    if here not in sys.path:  # as `python -m` does, for subjects beside the scenarios
        sys.path.insert(0, here)
    try:
        subject: Callable[[], Any] = getattr(importlib.import_module(module), name)
    except Exception as error:
        raise ValueError(
            f"--stress-subject={text} does not import ({type(error).__name__}: {error}); {allowed}"
        ) from error
    missing = [f"{method}()" for method in ("record", "wait") if not callable(getattr(subject, method, None))]
    if missing:
        raise ValueError(f"--stress-subject={text} has no {' and no '.join(missing)}; {allowed}")
    if not callable(subject):
        raise ValueError(f"--stress-subject={text} is no class; {allowed}")
    return subject
