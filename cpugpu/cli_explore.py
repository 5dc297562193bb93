"""The command `cpugpu explore`: the scenarios of files, folders or `FILE::scenario`, one verdict each."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from cpugpu import settings
from cpugpu.rig import Scenario

if TYPE_CHECKING:
    from cpugpu.explore import Verdict

_LINE_SECONDS = 0.2


def add_parser(commands: Any) -> None:
    """`cpugpu explore` and its options."""
    parser = commands.add_parser("explore", help="try every interleaving of threads and streams of a scenario")
    parser.add_argument("paths", nargs="*", default=["stress"], metavar="PATH[::SCENARIO]", help="(default: stress)")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each scenario (default 10)")
    parser.add_argument("--strategy", default="auto", help="auto, dfs, dpor, random, pct, pos or urw (default auto)")
    parser.add_argument("--bound", type=int, help="at most so many preemptions; for auto and dfs")
    parser.add_argument("--seed", type=int, help="of random choices (default: CPUGPU_SEED, else drawn)")
    parser.add_argument("--replay", help="the text of a schedule, for one scenario")
    parser.add_argument("--trace", action="append", default=[], metavar="MODULE:CLASS", help="each line is a step too")
    parser.add_argument(
        "--spurious",
        type=int,
        nargs="?",
        const=1,
        default=0,
        metavar="N",
        help="so many waits of each thread on a condition may end unnotified (without a number: 1)",
    )
    parser.add_argument("--subject", metavar="MODULE:CLASS", help="the class to put in the place of make_event")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    if importlib.util.find_spec("greenlet") is None:
        raise ValueError("cpugpu explore needs greenlet: pip install 'cpugpu[stress]'")
    from cpugpu.explore import VerdictKind, explore
    from cpugpu.explore.rig import Place

    sys.path.insert(0, str(Path.cwd()))
    trace = [_class(text) for text in options.trace]
    found = [scenario for path in options.paths for scenario in _scenarios(path)]
    if options.subject is not None:
        subject = _class(options.subject)
        found = [scenario.on(subject) for scenario in found if scenario.takes_subject]
    if not found:
        raise ValueError(f"there is no scenario in {', '.join(options.paths)}")
    if options.replay is not None and len(found) != 1:
        raise ValueError(f"--replay is for one scenario, and {', '.join(options.paths)} has {len(found)}")
    counts: dict[str, int] = {}
    unexpected = 0
    for scenario in found:
        reason = scenario.unfit(Place()) or " and ".join(f"has no {name}()" for name in scenario.missing())
        if reason:
            print(f"{scenario.title} skipped: {reason}")
            counts["skipped"] = counts.get("skipped", 0) + 1
            continue
        with _Progress(scenario) as progress:
            verdict = explore(
                scenario,
                seconds=options.seconds,
                strategy=options.strategy,
                bound=options.bound,
                seed=options.seed,
                replay=options.replay,
                trace=trace,
                spurious=options.spurious,
                tell=progress.tell,
            )
        failed = verdict.kind is VerdictKind.FAILED
        kind = "racy, as they should be" if scenario.racy and failed else verdict.kind.value
        counts[kind] = counts.get(kind, 0) + 1
        if scenario.racy and failed:
            assert verdict.failure is not None
            print(
                f"{scenario.title} racy, as it should be: {verdict.failure.outcome} ({verdict.schedules:,} schedules)"
            )
        else:
            print(_told(scenario, verdict, options))
            unexpected += failed or (scenario.racy and verdict.kind is VerdictKind.PROVED)
    if len(found) > 1:
        print(", ".join(f"{number} {kind}" for kind, number in sorted(counts.items())))
    return 1 if unexpected else 0


def _told(scenario: Scenario, verdict: Verdict, options: argparse.Namespace) -> str:
    """The verdict; of a failure also the line to paste, with the options that the schedule belongs to."""
    if verdict.failure is None:
        return str(verdict)
    module = sys.modules[scenario.function.__module__]
    path = Path(module.__file__ or "")
    place = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    belongs = [f" --trace {text}" for text in options.trace]
    belongs += [f" --subject {options.subject}"] if options.subject is not None else []
    belongs += [f" --spurious {options.spurious}"] if options.spurious else []
    return f"{verdict}\n  cpugpu explore {place}::{scenario.name}{''.join(belongs)} --replay {verdict.failure.replay}\n"


def _scenarios(path: str) -> list[Scenario]:
    """Those of a file or a folder, or the one that `FILE::scenario` names."""
    where, _, name = path.partition("::")
    place = Path(where)
    if not place.exists():
        raise ValueError(f"{where} is not there")
    files = sorted(place.rglob("stress_*.py")) if place.is_dir() else [place]
    found = [scenario for file in files for scenario in _of(_module(file))]
    if name:
        found = [scenario for scenario in found if name in (scenario.name, scenario.title)]
        if not found:
            raise ValueError(f"{where} has no scenario {name!r}")
    return found


def _of(module: ModuleType) -> Iterator[Scenario]:
    for value in vars(module).values():
        if isinstance(value, Scenario) and value.module == module.__name__:
            yield value


def _module(file: Path) -> ModuleType:
    """The module of a file, by its dotted name where that leads there."""
    path = file.resolve()
    relative = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else Path(path.name)
    name = ".".join(relative.with_suffix("").parts)
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        spec = None
    if spec is not None and spec.origin is not None and Path(spec.origin).resolve() == path:
        return importlib.import_module(name)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{file} is no Python file")
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _class(text: str) -> Any:
    module, colon, name = text.partition(":")
    if not colon:
        raise ValueError(f"{text!r}: allowed is MODULE:CLASS")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{text!r}: {error}") from error


class _Progress:
    """A line that tells how far an exploration is, where somebody watches."""

    def __init__(self, scenario: Scenario) -> None:
        self._title = scenario.title
        self._shown = sys.stderr.isatty() and not settings.in_ci()
        self._next = 0.0

    def tell(self, strategy: str, schedules: int, failing: int) -> None:
        """From time to time, write the line anew."""
        now = time.monotonic()
        if self._shown and now >= self._next:
            self._next = now + _LINE_SECONDS
            text = f"{self._title}: {strategy}, {schedules:,} schedules, {failing:,} failing"
            print(f"\r\x1b[K{text[:100]}", end="", file=sys.stderr, flush=True)

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
