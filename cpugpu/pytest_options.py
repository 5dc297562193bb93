"""The options of the runner, what they may be, and what they name: the device and the classes under test."""

from __future__ import annotations

import functools
import importlib
import math
import random
import re
import shlex
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from cpugpu import settings
from cpugpu.campaign import Part, parse_part
from cpugpu.campaign.budget import SHORTEST_SECONDS
from cpugpu.device import Device
from cpugpu.device.simulated import SimulatedDevice
from cpugpu.hammer import SIMULATED_DEVICES, choose_device
from cpugpu.job import cores

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


SANITIZE = "each execution under the sanitizer; without a GPU, torch.cuda is the simulated device"


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
    sanitize: bool


@dataclass(frozen=True)
class Bench:
    """What running a scenario needs: the device (a function of the seed) and the classes under test.

    The device is to be made, and used, in the `place`.
    """

    make_device: Callable[[int], Device]
    device: str
    subjects: tuple[tuple[str, Callable[[], Any]], ...]
    place: Callable[[], AbstractContextManager[object]] = nullcontext


OPTIONS_KEY = pytest.StashKey[Options]()
BENCH_KEY = pytest.StashKey[Bench]()


def add_options(parser: pytest.Parser) -> None:
    """Each option has a twin in the ini file."""
    group = parser.getgroup("cpugpu", "cpugpu: scenarios under stress")
    for name, (default, metavar, text) in OPTIONS.items():
        kind: Literal["args", "string"] = "args" if name == "subject" else "string"
        action = "append" if name == "subject" else "store"
        group.addoption(f"--stress-{name}", action=action, default=None, metavar=metavar, help=text)
        parser.addini(f"stress_{name}", text, default=default, type=kind)
    group.addoption("--stress-sanitize", action="store_true", default=None, help=SANITIZE)
    parser.addini("stress_sanitize", SANITIZE, default=False, type="bool")


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
        sanitize=bool(_value(config, "sanitize")),
    )


def bench(config: pytest.Config) -> Bench:
    """The device and the subjects, looked for once. `ValueError` for what is not there."""
    made = config.stash.get(BENCH_KEY, None)
    if made is None:
        settings.debug_mode(), settings.stall_seconds()  # a wrong one is better told here than by every scenario
        options = config.stash[OPTIONS_KEY]
        make_device = choose_device(options.device, index=options.worker)
        simulated = isinstance(make_device(options.seed), SimulatedDevice)
        in_torch = simulated and options.sanitize
        made = config.stash[BENCH_KEY] = Bench(
            make_device=_torch_cuda if in_torch else make_device,
            device="sim" if simulated else "accelerator",
            subjects=tuple((text, load_subject(text, config)) for text in dict.fromkeys(options.subjects)),
            place=functools.partial(_simulated, options.seed) if in_torch else nullcontext,
        )
    return made


def _simulated(seed: int) -> AbstractContextManager[object]:
    from cpugpu.simulate import simulate

    return simulate(SIMULATED_DEVICES, seed=seed)


def _torch_cuda(seed: int) -> Device:
    """In a simulation torch has an accelerator; a new device each time, for it belongs to that simulation."""
    return choose_device("accelerator")(seed)


def refuse_without_campaign(config: pytest.Config) -> None:
    """`ValueError` for what is the campaign's, where this process or the workers of pytest-xdist take its place."""
    if hasattr(config, "workerinput"):
        return
    if getattr(config.option, "dist", "no") != "no":
        why = "-n: pytest-xdist's workers hammer without a campaign; leave -n out, the campaign has its own processes"
    elif config.stash[OPTIONS_KEY].sanitize:
        why = "--stress-sanitize: it watches this process, without a campaign; for more of them there is -n"
    else:
        return
    for name in ("report", "ray", "workers"):
        if value := _value(config, name):
            raise ValueError(f"--stress-{name}={value} has no effect with {why}")


def too_short(options: Options, scenarios: int) -> str:
    """A sentence where the time is not enough for a turn of every scenario; else nothing."""
    width = options.processes or cores()
    needed = scenarios * SHORTEST_SECONDS / width
    if options.ray or options.iteration is not None or options.seconds >= needed:
        return ""
    return (
        f"{options.seconds:g} s are too short for {scenarios} scenarios: each gets one turn of {SHORTEST_SECONDS:g} s,"
        f" so that this takes at least {needed:.1f} s, and shows little"
    )


def replay_command(config: pytest.Config, scenario: str, subject: str) -> str:
    """The command up to the seed, for a shell. `scenario`: its path and name.

    The seed of a part is derived from the one that was given. The printed one is the part's, so that a replay must not
    be a part again, whatever the environment and the ini file say.
    """
    options = config.stash[OPTIONS_KEY]
    words = ["cpugpu", "stress", scenario, f"--stress-device={bench(config).device}"]
    if subject:
        words.append(f"--stress-subject={subject}")
    if options.sanitize:
        words.append("--stress-sanitize")
    if options.part.of > 1 or config.getoption("--stress-shard") is not None:
        words.append("--stress-shard=1/1")
    return shlex.join(words)


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
