"""pytest as the runner of scenarios: a file `stress_*.py` is collected, each scenario in it is an item.

pytest brings collection, selection, `-n` (pytest-xdist), JUnit and hang limits (pytest-timeout). This plugin adds a
time budget, a seed, the device, the class under test, the outcome tables, and the line that replays a failure.

The scenarios that were selected are run as a campaign before pytest's own loop: side by side, each turn in a process of
its own, most time for what promises news. Pytest's loop then only says how each came out. In a worker of pytest-xdist
(`-n`) they are hammered in that worker, one after the other, each for the same time. Loading this imports no torch.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cpugpu import settings
from cpugpu.campaign import Entry, Item, Run, Shard, Target
from cpugpu.device import Device
from cpugpu.device.simulated import SimulatedDevice
from cpugpu.hammer import Result, choose_device, hammer
from cpugpu.job import Job, run_job
from cpugpu.pytest_options import OPTIONS, Options, add_options, load_subject, read_options
from cpugpu.report import item_text, outcome_table
from cpugpu.rig import Scenario

_PROPERTY = "cpugpu"
#: pytest-timeout is the last line of defence: a scenario that hangs is reported by the hammer long before.
_MARGIN_SECONDS = 60.0


@dataclass(frozen=True)
class Bench:
    """What running a scenario needs: the device (a function of the seed) and the classes under test."""

    make_device: Callable[[int], Device]
    device: str
    subjects: tuple[tuple[str, Callable[[], Any]], ...]


_BEGAN_KEY = pytest.StashKey[float]()
_OPTIONS_KEY = pytest.StashKey[Options]()
_BENCH_KEY = pytest.StashKey[Bench]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Ours: `--stress-...`, each with a twin in the ini file."""
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Check the options. The device and the subjects are looked for only if this run is about scenarios."""
    config.stash[_BEGAN_KEY] = time.monotonic()
    config.addinivalue_line(
        "markers", "explore(seconds=10, strategy='auto', ...): how the fixture `explore` tries schedules in this test"
    )
    with _told():
        config.stash[_OPTIONS_KEY] = read_options(config)
        if _asked(config):
            _bench(config)


def pytest_report_header(config: pytest.Config) -> list[str]:
    """The device and the seed."""
    if _BENCH_KEY not in config.stash:
        return []
    options = config.stash[_OPTIONS_KEY]
    device = _bench(config).make_device(options.seed).describe()
    part = f", part {options.part}" if options.part.of > 1 else ""
    return [f"cpugpu: device {device}", f"cpugpu: seed {options.seed}, {options.seconds:g} s in all{part}"]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """On the controller of pytest-xdist: all workers use the seed that it has printed."""
    node.workerinput["cpugpu_seed"] = node.config.stash[_OPTIONS_KEY].seed


@pytest.fixture
def explore(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Try the schedules of a scenario: `explore(scenario)` returns the verdict of `cpugpu.explore`.

    The test fails with the schedule where one fails, and with the reason where nothing can be concluded. Options are
    those of `cpugpu.explore`; a marker `@pytest.mark.explore(seconds=...)` gives those of the whole test.
    """
    from cpugpu.explore import Verdict, VerdictKind
    from cpugpu.explore import explore as explores

    marker = request.node.get_closest_marker("explore")
    options = dict(marker.kwargs) if marker is not None else {}
    seed = request.config.getoption("--stress-seed")
    if seed is not None:
        options.setdefault("seed", request.config.stash[_OPTIONS_KEY].seed)

    def explored(scenario: Scenario, **more: Any) -> Verdict:
        verdict = explores(scenario, **{**options, **more})
        if verdict.kind in (VerdictKind.FAILED, VerdictKind.INCONCLUSIVE):
            pytest.fail(str(verdict), pytrace=False)
        return verdict

    return explored


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """`stress_*.py` holds scenarios."""
    if file_path.suffix == ".py" and file_path.name.startswith("stress_"):
        return StressFile.from_parent(parent, path=file_path)
    return None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the scenarios of other parts to them. In a worker of pytest-xdist, divide the time among the others."""
    options = config.stash[_OPTIONS_KEY]
    mine = [item for item in items if isinstance(item, StressItem)]
    if options.part.of > 1:
        taken = options.part.take(mine)
        others = [item for item in mine if item not in taken]
        items[:] = [item for item in items if item not in others]
        config.hook.pytest_deselected(items=others)
        mine = taken
    for item in mine:
        item.seconds = options.seconds * min(options.workers, len(mine)) / len(mine)
        if config.pluginmanager.hasplugin("timeout"):
            item.add_marker(pytest.mark.timeout(item.seconds + _MARGIN_SECONDS))


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Run the scenarios as a campaign; pytest's loop then finds the results."""
    mine = [item for item in session.items if isinstance(item, StressItem)]
    if mine and not session.config.option.collectonly and not hasattr(session.config, "workerinput"):
        _run_campaign(session.config, mine)


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
        for attribute, value in vars(self.obj).items():
            if not isinstance(value, Scenario) or value.module != self.obj.__name__:
                continue
            if not subjects or not value.takes_subject:
                yield self._item(value, attribute, "")
                continue
            for name, subject in subjects:
                yield self._item(value.on(subject), attribute, name)

    def _item(self, scenario: Scenario, attribute: str, subject: str) -> StressItem:
        return StressItem.from_parent(
            self, name=scenario.title, scenario=scenario, attribute=attribute, subject=subject
        )


class StressItem(pytest.Item):
    """A scenario with its subject."""

    def __init__(self, *, scenario: Scenario, attribute: str, subject: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scenario = scenario
        self.attribute = attribute  # its name in the module
        self.subject = subject
        self.seconds = 0.0
        self.outcome: Item | None = None  # what the campaign has found

    def runtest(self) -> None:
        """Say how it came out; in a worker of pytest-xdist, hammer it."""
        reason = self.unfit()
        if reason:
            pytest.skip(reason)
        if self.outcome is None:
            self.outcome = self._hammered()
        item = self.outcome
        if item.result is not None:
            self.user_properties.append((_PROPERTY, json.dumps(item.result.to_dict())))
        if not item.passed:
            raise StressFailed(item_text(item))

    def unfit(self) -> str:
        """Why it cannot run here; empty if it can."""
        missing = self.scenario.missing()
        if missing:
            return f"{self.scenario.subject_name} has no {' and no '.join(missing)}()"
        options = self.config.stash[_OPTIONS_KEY]
        return self.scenario.unfit(_bench(self.config).make_device(options.seed))

    def target(self) -> Target:
        """What another process needs to find it."""
        story = inspect.getdoc(sys.modules[self.scenario.function.__module__]) or ""
        return Target(
            nodeid=self.nodeid,
            path=str(self.path),
            module=self.scenario.module,
            name=self.attribute,
            subject=self.subject,
            title=self.scenario.title,
            story=story.partition("\n\n    $ ")[0],
            racy=self.scenario.racy,
        )

    def replay(self) -> str:
        """The command as it is typed where this run was started, up to the seed."""
        path = os.path.relpath(self.path, self.config.invocation_params.dir)
        subject = f" --stress-subject={self.subject}" if self.subject else ""
        device = self.config.stash[_OPTIONS_KEY].device
        return f"cpugpu stress '{path}::{self.name}' --stress-device={device}{subject}"

    def _hammered(self) -> Item:
        options = self.config.stash[_OPTIONS_KEY]
        result = hammer(
            self.scenario,
            seconds=self.seconds,
            device=_bench(self.config).make_device(options.seed),
            seed=options.seed,
            iteration=options.iteration,
        )
        shard = Shard(0, self.target(), options.device, options.seed, self.seconds, replay=self.replay())
        return Run(entries=[Entry(shard, result, None, shard.replay)]).items[0]

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], *args: Any, **kwargs: Any) -> Any:
        """The report of a failed scenario, without our own frames."""
        if isinstance(excinfo.value, StressFailed):
            return str(excinfo.value)
        return super().repr_failure(excinfo, *args, **kwargs)

    def reportinfo(self) -> tuple[os.PathLike[str] | str, int | None, str]:
        """Where it is."""
        return self.path, self.scenario.function.__code__.co_firstlineno - 1, self.name


class StressFailed(Exception):
    """A scenario did what it should not have; the text is the report."""


def _asked(config: pytest.Config) -> bool:
    """Does the command line name an option of ours, or a path that looks like scenarios?"""
    if config.option.collectonly:
        return False
    if any(config.getoption(f"--stress-{name}") is not None for name in OPTIONS):
        return True
    paths = (Path(str(argument).split("::")[0]) for argument in config.args)
    return any(part.startswith("stress") for path in paths for part in path.parts)


def _bench(config: pytest.Config) -> Bench:
    """The device and the subjects, looked for once. `ValueError` for what is not there."""
    bench = config.stash.get(_BENCH_KEY, None)
    if bench is None:
        settings.debug_mode(), settings.stall_seconds()  # a wrong one is better told here than by every scenario
        options = config.stash[_OPTIONS_KEY]
        make_device = choose_device(options.device, index=options.worker)
        simulated = isinstance(make_device(options.seed), SimulatedDevice)
        bench = config.stash[_BENCH_KEY] = Bench(
            make_device=make_device,
            device="sim" if simulated else "accelerator",
            subjects=tuple((text, load_subject(text, config)) for text in options.subjects),
        )
    return bench


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Bad input is one line, and exit status 2."""
    try:
        yield
    except ValueError as error:
        pytest.exit(f"cpugpu: {error}", returncode=2)


def _run_campaign(config: pytest.Config, items: Sequence[StressItem]) -> None:
    """Run the scenarios, and hand each item what was found."""
    options, bench = config.stash[_OPTIONS_KEY], _bench(config)
    reporter = config.pluginmanager.getplugin("terminalreporter")
    capture = config.pluginmanager.getplugin("capturemanager")
    fit = {item.nodeid: item for item in items if not item.unfit()}
    with _told(), capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
        run = run_job(
            Job(
                targets=[item.target() for item in fit.values()],
                scenarios={nodeid: item.scenario for nodeid, item in fit.items()},
                replays={nodeid: item.replay() for nodeid, item in fit.items()},
                skipped=[(item.nodeid, item.unfit()) for item in items if item.nodeid not in fit],
                device=bench.device,
                description=bench.make_device(options.seed).describe(),
                seed=options.seed,
                iteration=options.iteration,
                seconds=options.seconds,
                part=options.part,
                processes=options.processes,
                report=options.report,
                ray=options.ray,
                began=config.stash[_BEGAN_KEY],
            ),
            write=reporter.write_line if reporter else print,
        )
    for item in run.items:
        fit[item.target.nodeid].outcome = item


def _results(stats: Iterable[Iterable[Any]]) -> Iterator[Result]:
    for reports in stats:
        for report in reports:
            if getattr(report, "when", "") == "call":
                for name, value in report.user_properties:
                    if name == _PROPERTY:
                        yield Result.from_dict(json.loads(value))
