"""pytest as the runner of scenarios: a file `stress_*.py` is collected, each scenario in it is an item.

pytest brings collection, selection, `-n` (pytest-xdist), JUnit and hang limits (pytest-timeout). This plugin adds a
time budget, a seed, the device, the class under test, the outcome tables, and the line that replays a failure.

The scenarios that were selected are run as a campaign before pytest's own loop: side by side, each turn in a process of
its own, most time for what promises news. Pytest's loop then only says how each came out. In a worker of pytest-xdist
(`-n`), and under the sanitizer, they are hammered in that process, one after the other, each for the same time. Loading
this imports no torch.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from cpugpu.campaign import Entry, Item, Run, Shard, Target
from cpugpu.errors import BadInput
from cpugpu.hammer import Result, hammer
from cpugpu.job import Job, process_began, run_job
from cpugpu.pytest_options import (
    BENCH_KEY,
    OPTIONS,
    OPTIONS_KEY,
    add_options,
    bench,
    read_options,
    refuse_without_campaign,
    replay_command,
    too_short,
)
from cpugpu.pytest_simulate import MARKER as SIMULATE_MARKER
from cpugpu.pytest_simulate import (
    simulated_cuda,  # noqa: F401 - pytest finds it here
    use_fixture,
)
from cpugpu.report import is_report_of, item_text, outcome_table
from cpugpu.rig import Scenario

_PROPERTY = "cpugpu"
#: pytest-timeout is the last line of defence: a scenario that hangs is reported by the hammer long before.
_MARGIN_SECONDS = 60.0


_BEGAN_KEY = pytest.StashKey[float]()
_UNWRITTEN_KEY = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Ours: `--stress-...`, each with a twin in the ini file."""
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Check the options. The device and the subjects are looked for only if this run is about scenarios."""
    config.stash[_BEGAN_KEY] = process_began()  # to load plugins takes seconds, and they count
    config.addinivalue_line(
        "markers", "explore(seconds=10, strategy='auto', ...): how the fixture `explore` tries schedules in this test"
    )
    config.addinivalue_line("markers", SIMULATE_MARKER)
    with _told(ValueError):
        config.stash[OPTIONS_KEY] = read_options(config)
        if _asked(config):
            refuse_without_campaign(config)
            bench(config)


def pytest_report_header(config: pytest.Config) -> list[str]:
    """The device and the seed."""
    if BENCH_KEY not in config.stash:
        return []
    options = config.stash[OPTIONS_KEY]
    with bench(config).place():
        device = bench(config).make_device(options.seed).describe()
    part = f", part {options.part}" if options.part.of > 1 else ""
    return [
        f"cpugpu: device {device}{', under the sanitizer' if options.sanitize else ''}",
        f"cpugpu: seed {options.seed}, {options.seconds:g} s in all{part}",
    ]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """On the controller of pytest-xdist: all workers use the seed that it has printed."""
    node.workerinput["cpugpu_seed"] = node.config.stash[OPTIONS_KEY].seed


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
        options.setdefault("seed", request.config.stash[OPTIONS_KEY].seed)

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
    use_fixture(items)
    options = config.stash[OPTIONS_KEY]
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
    if session.testsfailed and not session.config.option.continue_on_collection_errors:
        return  # pytest's loop ends the run at once, for the same reason
    mine = [item for item in session.items if isinstance(item, StressItem)]
    here = session.config.stash[OPTIONS_KEY].sanitize or hasattr(session.config, "workerinput")
    if mine and not session.config.option.collectonly and not here:
        _run_campaign(session.config, mine)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A report that was asked for and is not there is no success."""
    if session.config.stash.get(_UNWRITTEN_KEY, False) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = 2


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """The outcome tables."""
    results = list(_results(terminalreporter.stats.values()))
    if not results:
        return
    terminalreporter.section("outcomes")
    if BENCH_KEY not in config.stash:  # the header could not know; in the workers of pytest-xdist for instance
        terminalreporter.write_line(f"cpugpu: device {results[0].device}, seed {results[0].seed}")
    for result in results:
        terminalreporter.write_line(outcome_table(result), red=not result.passed)


class StressFile(pytest.Module):
    """A file with scenarios. Scenarios that it imports from elsewhere are not its own."""

    def collect(self) -> Iterator[StressItem]:
        """An item a scenario and subject."""
        try:
            subjects = bench(self.config).subjects
        except ValueError as error:
            raise self.CollectError(f"cpugpu: {error}") from error
        mine: list[tuple[str, str, Scenario]] = []
        for attribute, value in vars(self.obj).items():
            if not isinstance(value, Scenario) or value.module != self.obj.__name__:
                continue
            if not subjects or not value.takes_subject:
                mine.append((attribute, "", value))
            else:
                mine += [(attribute, name, value.on(subject)) for name, subject in subjects]
        for attribute, subject, scenario in mine:
            alone = [each for _, other, each in mine if other in ("", subject)]
            yield StressItem.from_parent(
                self,
                name=_name(attribute, subject, scenario, [each for _, _, each in mine]),
                alone=_name(attribute, subject, scenario, alone),
                scenario=scenario,
                attribute=attribute,
                subject=subject,
            )


def _name(attribute: str, subject: str, scenario: Scenario, among: Iterable[Scenario]) -> str:
    """The title, or, where another scenario of the file has the same, what tells them apart: `hand_off[mine:Event]`."""
    if sum(other.title == scenario.title for other in among) == 1:
        return scenario.title
    return f"{attribute}[{subject}]" if subject else attribute


class StressItem(pytest.Item):
    """A scenario with its subject."""

    def __init__(self, *, scenario: Scenario, attribute: str, subject: str, alone: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scenario = scenario
        self.alone = alone  # its name where its subject is the only one, as in a replay
        self.attribute = attribute  # its name in the module
        self.subject = subject
        self.seconds = 0.0
        self.outcome: Item | None = None  # what the campaign has found

    def runtest(self) -> None:
        """Say how it came out; where there is no campaign, hammer it."""
        with bench(self.config).place():
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
        options = self.config.stash[OPTIONS_KEY]
        return self.scenario.unfit(bench(self.config).make_device(options.seed))

    def target(self) -> Target:
        """What another process needs to find it."""
        story = inspect.getdoc(sys.modules[self.scenario.function.__module__]) or ""
        return Target(
            nodeid=self.nodeid,
            path=str(self.path),
            module=self.scenario.module,
            name=self.attribute,
            subject=self.subject,
            title=self.name,
            story=story.partition("\n\n    $ ")[0],
            racy=self.scenario.racy,
        )

    def replay(self) -> str:
        """The command as it is typed where this run was started, up to the seed."""
        path = os.path.relpath(self.path, self.config.invocation_params.dir)
        return replay_command(self.config, f"{path}::{self.alone}", self.subject)

    def _hammered(self) -> Item:
        options = self.config.stash[OPTIONS_KEY]
        with self._watched() as scenario:
            result = hammer(
                scenario,
                seconds=self.seconds,
                device=bench(self.config).make_device(options.seed),
                seed=options.seed,
                iteration=options.iteration,
            )
        shard = Shard(0, self.target(), options.device, options.seed, self.seconds, replay=self.replay())
        return Run(entries=[Entry(shard, result, None, shard.replay)]).items[0]

    def _watched(self) -> contextlib.AbstractContextManager[Scenario]:
        if not self.config.stash[OPTIONS_KEY].sanitize:
            return contextlib.nullcontext(self.scenario)
        from cpugpu.sanitize.scenarios import sanitized

        return sanitized(self.scenario)

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


@contextlib.contextmanager
def _told(kind: type[ValueError]) -> Iterator[None]:
    """Bad input is one line, and exit status 2. Of a whole campaign only `BadInput` is: the rest would be a mistake."""
    try:
        yield
    except kind as error:
        pytest.exit(f"cpugpu: {error}", returncode=2)


def _run_campaign(config: pytest.Config, items: Sequence[StressItem]) -> None:
    """Run the scenarios, and hand each item what was found."""
    options, found = config.stash[OPTIONS_KEY], bench(config)
    reporter = config.pluginmanager.getplugin("terminalreporter")
    capture = config.pluginmanager.getplugin("capturemanager")
    fit = {item.nodeid: item for item in items if not item.unfit()}
    write: Callable[[str], None] = reporter.write_line if reporter else print
    with _told(BadInput), capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
        _check_distinct(items)
        if tight := too_short(options, len(fit)):
            write(f"cpugpu: {tight}")
        run = run_job(
            Job(
                targets=[item.target() for item in fit.values()],
                scenarios={nodeid: item.scenario for nodeid, item in fit.items()},
                replays={nodeid: item.replay() for nodeid, item in fit.items()},
                skipped=[(item.nodeid, item.unfit()) for item in items if item.nodeid not in fit],
                device=found.device,
                description=found.make_device(options.seed).describe(),
                seed=options.seed,
                iteration=options.iteration,
                seconds=options.seconds,
                part=options.part,
                processes=options.processes,
                report=options.report,
                ray=options.ray,
                began=config.stash[_BEGAN_KEY],
            ),
            write=write,
        )
    for item in run.items:
        fit[item.target.nodeid].outcome = item
    config.stash[_UNWRITTEN_KEY] = options.report is not None and not is_report_of(run, options.report)


def _check_distinct(items: Sequence[StressItem]) -> None:
    """What was found is handed out by nodeid; of two with the same one a failure would be lost."""
    names = Counter(item.nodeid for item in items)
    twice = [nodeid for nodeid, times in names.items() if times > 1]
    if twice:
        raise BadInput(f"{twice[0]} was collected more than once; results could not be told apart")


def _results(stats: Iterable[Iterable[Any]]) -> Iterator[Result]:
    for reports in stats:
        for report in reports:
            if getattr(report, "when", "") == "call":
                for name, value in report.user_properties:
                    if name == _PROPERTY:
                        yield Result.from_dict(json.loads(value))
