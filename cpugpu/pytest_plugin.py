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
class Settings:
    """The options, checked."""

    seconds: float
    seed: int
    iteration: int | None
    device_choice: str
    make_device: Callable[[int], Device]
    device: str
    subjects: tuple[tuple[str, Callable[[], Any]], ...]
    workers: int


_SETTINGS = pytest.StashKey[Settings]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Each option has a twin in the ini file."""
    group = parser.getgroup("cpugpu", "cpugpu: scenarios under stress")
    for name, (default, metavar, text) in _OPTIONS.items():
        kind: Literal["args", "string"] = "args" if name == "subject" else "string"
        action = "append" if name == "subject" else "store"
        group.addoption(f"--stress-{name}", action=action, default=None, metavar=metavar, help=text)
        parser.addini(f"stress_{name}", text, default=default, type=kind)


def pytest_configure(config: pytest.Config) -> None:
    """Check the options, unless this run can have nothing to do with scenarios."""
    if config.option.collectonly or not _asked(config):
        return
    try:
        config.stash[_SETTINGS] = _read_settings(config)
    except ValueError as error:
        pytest.exit(f"cpugpu: {error}", returncode=2)


def pytest_report_header(config: pytest.Config) -> list[str]:
    """The device and the seed."""
    chosen = config.stash.get(_SETTINGS, None)
    return [] if chosen is None else [_header(chosen)]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """On the controller of pytest-xdist: all workers use the seed that it has printed."""
    chosen = node.config.stash.get(_SETTINGS, None)
    if chosen is not None:
        node.workerinput["cpugpu_seed"] = chosen.seed


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """`stress_*.py` holds scenarios."""
    if file_path.suffix == ".py" and file_path.name.startswith("stress_"):
        return StressFile.from_parent(parent, path=file_path)
    return None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Divide the time among the scenarios that were selected."""
    mine = [item for item in items if isinstance(item, StressItem)]
    if not mine:
        return
    if _SETTINGS not in config.stash:  # only collected on the way, `pytest` in a project's root for instance
        try:
            config.stash[_SETTINGS] = _read_settings(config)
        except ValueError as error:
            raise pytest.UsageError(f"cpugpu: {error}") from error
    chosen = config.stash[_SETTINGS]
    seconds = chosen.seconds * min(chosen.workers, len(mine)) / len(mine)
    for item in mine:
        item.seconds = seconds
        item.add_marker(pytest.mark.timeout(seconds + _MARGIN_SECONDS))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The outcome tables."""
    results = [result for result, _ in _results(terminalreporter.stats.values())]
    if results:
        terminalreporter.section("outcomes")
        for result in results:
            terminalreporter.write_line(outcome_table(result), red=not result.passed)


class StressFile(pytest.Module):
    """A file with scenarios. Scenarios that it imports from elsewhere are not its own."""

    def collect(self) -> Iterator[StressItem]:
        """An item a scenario and subject."""
        subjects = _load_subjects(self.config)
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
        chosen = self.config.stash[_SETTINGS]
        result = hammer(
            self.scenario,
            seconds=self.seconds,
            device=chosen.make_device(chosen.seed),
            seed=chosen.seed,
            iteration=chosen.iteration,
        )
        self.user_properties.append((_PROPERTY, json.dumps(result.to_dict())))
        if not result.passed:
            raise StressFailed(failure_text(result, self._replay(chosen)))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], *args: Any, **kwargs: Any) -> Any:
        """The report of a failed scenario, without our own frames."""
        if isinstance(excinfo.value, StressFailed):
            return str(excinfo.value)
        return super().repr_failure(excinfo, *args, **kwargs)

    def reportinfo(self) -> tuple[os.PathLike[str] | str, int | None, str]:
        """Where it is."""
        return self.path, self.scenario.function.__code__.co_firstlineno - 1, self.name

    def _replay(self, chosen: Settings) -> str:
        subject = f" --stress-subject={self.subject}" if self.subject else ""
        return f"cpugpu stress '{self.nodeid}' --stress-device={chosen.device_choice}{subject}"


class StressFailed(Exception):
    """A scenario did what it should not have; the text is the report."""


def _asked(config: pytest.Config) -> bool:
    """Does the command line name an option of ours, or a path that looks like scenarios?"""
    if any(config.getoption(f"--stress-{name}") is not None for name in _OPTIONS):
        return True
    return any(Path(str(argument).split("::")[0]).name.startswith("stress") for argument in config.args)


def _value(config: pytest.Config, name: str) -> Any:
    value = config.getoption(f"--stress-{name}")
    return config.getini(f"stress_{name}") if value is None else value


def _read_settings(config: pytest.Config) -> Settings:
    settings.debug_mode(), settings.stall_seconds()  # a wrong one is better told here than by every scenario
    worker: dict[str, Any] = getattr(config, "workerinput", {})
    number = str(worker.get("workerid", ""))[2:]  # "gw3"
    choice = str(_value(config, "device"))
    make_device = choose_device(choice, index=int(number) if number else None)
    seed, iteration = _parse_seed(str(_value(config, "seed")))
    if seed is None:
        seed = worker.get("cpugpu_seed", random.SystemRandom().randrange(2**32))
    processes = worker.get("workercount") or getattr(config.option, "numprocesses", None) or 1
    return Settings(
        seconds=_parse_seconds(str(_value(config, "seconds"))),
        seed=seed,
        iteration=iteration,
        device_choice=choice,
        make_device=make_device,
        device=make_device(0).describe(),
        subjects=_load_subjects(config),
        workers=int(processes),
    )


def _header(chosen: Settings) -> str:
    return f"cpugpu: device {chosen.device}\ncpugpu: seed {chosen.seed}, {chosen.seconds:g} s in all"


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


def _load_subjects(config: pytest.Config) -> tuple[tuple[str, Callable[[], Any]], ...]:
    return tuple((text, _load_subject(text, config)) for text in _value(config, "subject"))


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
    missing = [method for method in ("record", "wait") if not callable(getattr(subject, method, None))]
    if missing or not callable(subject):
        raise ValueError(f"--stress-subject={text} has no {' and no '.join(missing)}(); {allowed}")
    return subject


def _results(stats: Iterable[Iterable[Any]]) -> Iterator[tuple[Result, str]]:
    for reports in stats:
        for report in reports:
            if getattr(report, "when", "") == "call":
                for name, value in report.user_properties:
                    if name == _PROPERTY:
                        yield Result.from_dict(json.loads(value)), report.nodeid
