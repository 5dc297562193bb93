"""pytest as the runner of scenarios: a file `stress_*.py` is collected, each scenario in it is an item.

pytest brings collection, selection, `-n` (pytest-xdist), JUnit and hang limits (pytest-timeout). This plugin adds a
time budget, a seed, the device, the class under test, the outcome tables, and the line that replays a failure. Loading
it imports no torch.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import random
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from cpugpu import settings
from cpugpu.device import Device
from cpugpu.hammer import Result, choose_device, hammer
from cpugpu.report import failure_text, outcome_table
from cpugpu.rig import Scenario

_PROPERTY = "cpugpu"
#: pytest-timeout is the last line of defence: a scenario that hangs is reported by the hammer long before.
_MARGIN_SECONDS = 60.0

_OPTIONS = {
    "seconds": ("10", "SECONDS", "time for all scenarios together, in seconds (default 10)"),
    "seed": ("", "SEED[@N]", "seed of all random choices (default CPUGPU_SEED, else drawn); @N repeats execution N"),
    "device": ("auto", "auto|accelerator|sim", "auto (default): the accelerator where there is one, else simulated"),
    "subject": ("", "MODULE:CLASS", "the class that scenarios make their events of; may be given more than once"),
}


@dataclass(frozen=True)
class Options:
    """The options as they were given, checked as far as that needs no import."""

    seconds: float
    seed: int
    iteration: int | None
    device: str
    subjects: tuple[str, ...]
    workers: int
    worker: int | None


@dataclass(frozen=True)
class Bench:
    """What running a scenario needs: the device (a function of the seed) and the classes under test."""

    make_device: Callable[[int], Device]
    subjects: tuple[tuple[str, Callable[[], Any]], ...]


_OPTIONS_KEY = pytest.StashKey[Options]()
_BENCH_KEY = pytest.StashKey[Bench]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Each option has a twin in the ini file."""
    group = parser.getgroup("cpugpu", "cpugpu: scenarios under stress")
    for name, (default, metavar, text) in _OPTIONS.items():
        kind: Literal["args", "string"] = "args" if name == "subject" else "string"
        action = "append" if name == "subject" else "store"
        group.addoption(f"--stress-{name}", action=action, default=None, metavar=metavar, help=text)
        parser.addini(f"stress_{name}", text, default=default, type=kind)


def pytest_configure(config: pytest.Config) -> None:
    """Check the options. The device and the subjects are looked for only if this run is about scenarios."""
    try:
        config.stash[_OPTIONS_KEY] = _read_options(config)
        if _asked(config):
            _bench(config)
    except ValueError as error:
        pytest.exit(f"cpugpu: {error}", returncode=2)


def pytest_report_header(config: pytest.Config) -> list[str]:
    """The device and the seed."""
    if _BENCH_KEY not in config.stash:
        return []
    options = config.stash[_OPTIONS_KEY]
    device = _bench(config).make_device(options.seed).describe()
    return [f"cpugpu: device {device}", f"cpugpu: seed {options.seed}, {options.seconds:g} s in all"]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """On the controller of pytest-xdist: all workers use the seed that it has printed."""
    node.workerinput["cpugpu_seed"] = node.config.stash[_OPTIONS_KEY].seed


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """`stress_*.py` holds scenarios."""
    if file_path.suffix == ".py" and file_path.name.startswith("stress_"):
        return StressFile.from_parent(parent, path=file_path)
    return None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Divide the time among the scenarios that were selected."""
    mine = [item for item in items if isinstance(item, StressItem)]
    options = config.stash[_OPTIONS_KEY]
    for item in mine:
        item.seconds = options.seconds * min(options.workers, len(mine)) / len(mine)
        if config.pluginmanager.hasplugin("timeout"):
            item.add_marker(pytest.mark.timeout(item.seconds + _MARGIN_SECONDS))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """The outcome tables."""
    results = list(_results(terminalreporter.stats.values()))
    if not results:
        return
    terminalreporter.section("outcomes")
    if _BENCH_KEY not in config.stash:  # the header could not know; in the workers of pytest-xdist for instance
        terminalreporter.write_line(f"cpugpu: device {results[0].device}, seed {results[0].seed}")
    for result in results:
        terminalreporter.write_line(outcome_table(result), red=not result.passed)


class StressFile(pytest.Module):
    """A file with scenarios. Scenarios that it imports from elsewhere are not its own."""

    def collect(self) -> Iterator[StressItem]:
        """An item a scenario and subject."""
        try:
            subjects = _bench(self.config).subjects
        except ValueError as error:
            raise self.CollectError(f"cpugpu: {error}") from error
        for value in vars(self.obj).values():
            if not isinstance(value, Scenario) or value.module != self.obj.__name__:
                continue
            if not subjects or not value.takes_subject:
                yield self._item(value, "")
                continue
            for name, subject in subjects:
                yield self._item(value.on(subject), name)

    def _item(self, scenario: Scenario, subject: str) -> StressItem:
        return StressItem.from_parent(self, name=scenario.title, scenario=scenario, subject=subject)


class StressItem(pytest.Item):
    """A scenario with its subject."""

    def __init__(self, *, scenario: Scenario, subject: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scenario = scenario
        self.subject = subject
        self.seconds = 0.0

    def runtest(self) -> None:
        """Hammer it."""
        missing = self.scenario.missing()
        if missing:
            pytest.skip(f"{self.scenario.subject_name} has no {' and no '.join(missing)}()")
        options = self.config.stash[_OPTIONS_KEY]
        result = hammer(
            self.scenario,
            seconds=self.seconds,
            device=_bench(self.config).make_device(options.seed),
            seed=options.seed,
            iteration=options.iteration,
        )
        self.user_properties.append((_PROPERTY, json.dumps(result.to_dict())))
        if not result.passed:
            raise StressFailed(failure_text(result, self._replay(options)))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], *args: Any, **kwargs: Any) -> Any:
        """The report of a failed scenario, without our own frames."""
        if isinstance(excinfo.value, StressFailed):
            return str(excinfo.value)
        return super().repr_failure(excinfo, *args, **kwargs)

    def reportinfo(self) -> tuple[os.PathLike[str] | str, int | None, str]:
        """Where it is."""
        return self.path, self.scenario.function.__code__.co_firstlineno - 1, self.name

    def _replay(self, options: Options) -> str:
        """The command as it is typed where this run was started, up to the seed."""
        path = os.path.relpath(self.path, self.config.invocation_params.dir)
        subject = f" --stress-subject={self.subject}" if self.subject else ""
        return f"cpugpu stress '{path}::{self.name}' --stress-device={options.device}{subject}"


class StressFailed(Exception):
    """A scenario did what it should not have; the text is the report."""


def _asked(config: pytest.Config) -> bool:
    """Does the command line name an option of ours, or a path that looks like scenarios?"""
    if config.option.collectonly:
        return False
    if any(config.getoption(f"--stress-{name}") is not None for name in _OPTIONS):
        return True
    paths = (Path(str(argument).split("::")[0]) for argument in config.args)
    return any(part.startswith("stress") for path in paths for part in path.parts)


def _value(config: pytest.Config, name: str) -> Any:
    value = config.getoption(f"--stress-{name}")
    return config.getini(f"stress_{name}") if value is None else value


def _read_options(config: pytest.Config) -> Options:
    worker: dict[str, Any] = getattr(config, "workerinput", {})
    seed, iteration = _parse_seed(str(_value(config, "seed")))
    if seed is None:
        seed = worker.get("cpugpu_seed", random.SystemRandom().randrange(2**32))
    number = re.search(r"\d+$", str(worker.get("workerid", "")))
    return Options(
        seconds=_parse_seconds(str(_value(config, "seconds"))),
        seed=seed,
        iteration=iteration,
        device=str(_value(config, "device")),
        subjects=tuple(_value(config, "subject")),
        workers=int(worker.get("workercount", 1)),
        worker=int(number[0]) if number else None,
    )


def _bench(config: pytest.Config) -> Bench:
    """The device and the subjects, looked for once. `ValueError` for what is not there."""
    bench = config.stash.get(_BENCH_KEY, None)
    if bench is None:
        settings.debug_mode(), settings.stall_seconds()  # a wrong one is better told here than by every scenario
        options = config.stash[_OPTIONS_KEY]
        bench = config.stash[_BENCH_KEY] = Bench(
            make_device=choose_device(options.device, index=options.worker),
            subjects=tuple((text, _load_subject(text, config)) for text in options.subjects),
        )
    return bench


def _parse_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ValueError(f"--stress-seconds={text}: allowed is a number of seconds above 0")
    return seconds


def _parse_seed(text: str) -> tuple[int | None, int | None]:
    seed, at, iteration = text.partition("@")
    if not text:
        return settings.seed(), None
    if not (seed.isascii() and seed.isdigit() and (not at or (iteration.isascii() and iteration.isdigit()))):
        raise ValueError(f"--stress-seed={text}: allowed is an integer from 0, or one and an execution, 123@45")
    return int(seed), int(iteration) if at else None


def _load_subject(text: str, config: pytest.Config) -> Callable[[], Any]:
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


def _results(stats: Iterable[Iterable[Any]]) -> Iterator[Result]:
    for reports in stats:
        for report in reports:
            if getattr(report, "when", "") == "call":
                for name, value in report.user_properties:
                    if name == _PROPERTY:
                        yield Result.from_dict(json.loads(value))
