"""The kill matrix: mutants against engines, as a table and as JSON."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

from stress.mutants import MUTANTS, PARTS, Mutant
from stress.mutants.engines import ENGINES, Kill
from stress.mutants.explorer import EXPLORE
from stress.mutants.mutant import SANITIZE
from stress.mutants.trial import NONE, try_in_process
from stress.mutants.unordered import UNORDERED

#: What has to be killed on the simulated device, in percent: by the hammer, and by the hammer and the rules together.
#: Of the explorer all is asked for that it can run and that is not proved to be equivalent: see `Matrix.complaints`.
TARGETS: Mapping[tuple[str, ...], float] = {("hammer",): 90.0, ("hammer", "rules"): 95.0}
#: The code as it is gets so many times as long as a mutant: what has to survive is worth a longer look.
CONTROL_TIMES = 3
#: The explorer's schedules and the sanitizer's runs are counted; the time only has to be enough on a slow machine.
COUNTED_TIMES = 12
_NAMES = {EXPLORE: "explorer", SANITIZE: "sanitizer"}
_CONTROL = Mutant(NONE, "event", "", "", "the code as it is")


@dataclass
class Row:
    """A mutant and what each engine made of it."""

    mutant: Mutant
    results: dict[str, Kill] = field(default_factory=dict)

    @property
    def equivalent(self) -> bool:
        """Has the explorer tried every trace of the programs about its part, which can show it, and none failed?"""
        kill = self.results.get(EXPLORE)
        return kill is not None and not kill.killed and kill.proved > 0 and not self.mutant.unexplored

    @property
    def overlooked(self) -> bool:
        """Did it survive the explorer, and neither is equivalent nor is there a reason?"""
        kill = self.results.get(EXPLORE)
        return kill is not None and not (kill.killed or self.equivalent or self.mutant.unexplored)

    @property
    def unfound(self) -> bool:
        """Does the sanitizer find nothing in it, and there is no reason?"""
        kill = self.results.get(SANITIZE)
        return kill is not None and not (kill.finding or self.mutant.name in UNORDERED)


@dataclass
class Matrix:
    """What came out. `control` is the code as it is, which has to survive everything."""

    engines: Sequence[str]
    device: str
    seconds: float
    seed: int
    control: Row
    rows: list[Row]

    def share(self, *engines: str) -> float:
        """The percentage of mutants that at least one of `engines` has killed, of those that they were put to."""
        met = [row for row in self.rows if set(engines) <= set(row.results)]
        return 100 * sum(any(row.results[engine].killed for engine in engines) for row in met) / (len(met) or 1)

    @property
    def targets(self) -> Mapping[tuple[str, ...], float]:
        """What is asked for. Not on an accelerator, where half of the time goes into starting it."""
        return TARGETS if self.device == "sim" else {}

    def complaints(self) -> list[str]:
        """What is not as it has to be; nothing is asked of engines that were left out."""
        found = [
            f"{engine} kills the code as it is: {kill.by}, {kill.outcome}"
            for engine, kill in self.control.results.items()
            if kill.killed
        ]
        overlooked = [row.mutant.name for row in self.rows if row.overlooked]
        if overlooked:
            found.append(f"{EXPLORE} neither kills nor proves, and nobody knows why: {', '.join(overlooked)}")
        unfound = [row.mutant.name for row in self.rows if row.unfound]
        if unfound:
            found.append(f"{SANITIZE} finds nothing, and nobody knows why: {', '.join(unfound)}")
        for engines, least in self.targets.items():
            if self.rows and set(engines) <= set(self.engines) and self.share(*engines) < least:
                found.append(
                    f"{' and '.join(engines)}: {self.share(*engines):.1f} % killed, and {least:g} % are asked for"
                )
        return found

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "version": 1,
            "device": self.device,
            "seconds": self.seconds,
            "seed": self.seed,
            "python": platform.python_version(),
            "machine": f"{platform.machine()}, {platform.system()} {platform.release()}",
            "engines": list(self.engines),
            "control": _row(self.control),
            "rows": [_row(row) for row in self.rows],
        }


def make_matrix(
    mutants: Iterable[Mutant],
    engines: Sequence[str],
    *,
    device: str,
    seconds: float,
    seed: int,
    jobs: int = 1,
    tell: Callable[[Row], None] = lambda _: None,
) -> Matrix:
    """Try everything against everything. `tell` gets each row when it is complete, the control first.

    `jobs`: how many processes at once. What a mutant is killed by, and how fast, is disturbed where they share cores.
    """
    rows = [Row(_CONTROL), *(Row(mutant) for mutant in mutants)]
    with ThreadPoolExecutor(jobs) as pool:
        tries = [
            {
                engine: pool.submit(
                    try_in_process,
                    engine,
                    row.mutant.name,
                    device=device,
                    seconds=seconds * _times(engine, row.mutant),
                    seed=seed,
                )
                for engine in engines
                if engine != SANITIZE or row.mutant.part == "event"
            }
            for row in rows
        ]
        try:
            for row, futures in zip(rows, tries, strict=True):
                row.results = {engine: future.result() for engine, future in futures.items()}
                tell(row)
        finally:
            pool.shutdown(cancel_futures=True)
    return Matrix(engines, device, seconds, seed, rows[0], rows[1:])


def _times(engine: str, mutant: Mutant) -> int:
    if engine in (EXPLORE, SANITIZE):
        return COUNTED_TIMES * (3 if mutant.name == NONE else 1)  # which meets the stages of three parts
    return CONTROL_TIMES if mutant.name == NONE else 1


def head(engines: Sequence[str]) -> str:
    """The head of the table."""
    return f"{'mutant':33}  {'part':6}" + "".join(f"  {engine:>8}" for engine in engines) + "  killed by (outcome)"


def line(row: Row) -> str:
    """A line of the table: seconds until the kill, or `-` for one that survived, `equiv` for one that is no mistake.

    The sanitizer's one run has no such time: a finding, or the outcome that gave the mutant away without one.
    """
    cells = "".join(f"  {_cell(row, engine):>8}" for engine in row.results)
    killer = next((kill for kill in row.results.values() if kill.killed), None)
    by = f"  {killer.by} ({killer.finding or killer.outcome})" if killer is not None else ""
    part = "" if row is None or row.mutant.name == NONE else row.mutant.part
    return f"{row.mutant.name:33}  {part:6}{cells}{by}".rstrip()


def _cell(row: Row, engine: str) -> str:
    kill = row.results[engine]
    if kill.killed and engine == SANITIZE:
        return "finding" if kill.finding else "outcome"
    if kill.killed:
        return f"{kill.seconds:.2f}"
    if engine != EXPLORE or not row.equivalent:
        return "-"
    return "proved" if row.mutant.name == NONE else "equiv"


def summary(matrix: Matrix) -> str:
    """The figures, and the survivors with their reasons."""
    counted = f"{EXPLORE}: by its count of schedules; {SANITIZE}: of those of the event, by one run"
    lines = [f"killed, of {len(matrix.rows)}, within {matrix.seconds:g} s each ({counted}):"]
    columns: list[tuple[str, ...]] = [(engine,) for engine in matrix.engines]
    if {"hammer", "rules"} <= set(matrix.engines):
        columns.append(("hammer", "rules"))
    for engines in columns:
        share, least = matrix.share(*engines), matrix.targets.get(engines)
        target = "" if least is None else f"   (at least {least:g} % are asked for)"
        lines.append(f"  {' or '.join(engines):16} {share:5.1f} %{target}")
    if SANITIZE in matrix.engines:
        met = [row for row in matrix.rows if SANITIZE in row.results]
        silent = [row for row in met if row.results[SANITIZE].killed and not row.results[SANITIZE].finding]
        found = sum(bool(row.results[SANITIZE].finding) for row in met)
        lines += ["", f"the sanitizer has a finding in {found} of {len(met)}; {len(silent)} have an outcome, and none:"]
        lines += [f"  {row.mutant.name}: {_why(row, SANITIZE)}" for row in silent]
    for engine in (each for each in ("hammer", "rules", EXPLORE, SANITIZE) if each in matrix.engines):
        listed = [row for row in matrix.rows if engine in row.results and not row.results[engine].killed]
        title = f"survived the {_NAMES.get(engine, engine)}"
        if engine == "rules":
            listed = [row for row in listed if row.mutant.part == "rules"]
            title = "mutants of the rules that survived the rules"
        lines += ["", f"{title}: {len(listed) or 'none'}"]
        for row in listed:
            others = [each for each, kill in row.results.items() if kill.killed]
            seen = f"seen by {' and '.join(others)}" if others else "seen by none"
            lines.append(f"  {row.mutant.name} ({seen}): {row.mutant.what}")
            lines.append(f"      {_why(row, engine)}")
    return "\n".join([*lines, *(f"\nFAILED: {complaint}" for complaint in matrix.complaints())])


def _why(row: Row, engine: str) -> str:
    """Why an engine has not killed it."""
    if engine == SANITIZE:
        return UNORDERED.get(row.mutant.name, "no reason is known")
    if engine != EXPLORE:
        return row.mutant.reason or "no reason is known"
    if row.equivalent:
        proved = f"equivalent: every trace of {row.results[engine].proved} programs was tried, and none fails"
        return f"{proved}; {row.mutant.reason}" if row.mutant.reason else proved
    return row.mutant.unexplored or "no reason is known"


def choose(names: Sequence[str], device: str) -> list[Mutant]:
    """The mutants with these names, or of these parts; for none all that `device` can show.

    `ValueError` for an unknown one, and for one that `device` cannot show.
    """
    shown = [each for each in MUTANTS.values() if each.part in PARTS[device]]
    known = {mutant.name for mutant in shown} | {mutant.part for mutant in shown}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is neither a mutant nor a part for {device}: {', '.join(PARTS[device])}")
    return [each for each in shown if not names or each.name in names or each.part in names]


def _row(row: Row) -> dict[str, Any]:
    mutant = row.mutant
    return {
        "mutant": mutant.name,
        "part": mutant.part,
        "what": mutant.what,
        "reason": mutant.reason,
        "unexplored": mutant.unexplored,
        "unordered": UNORDERED.get(mutant.name, ""),
        "results": {engine: asdict(kill) for engine, kill in row.results.items()},
    }


#: By device; the explorer has one of its own.
ALL_ENGINES: Mapping[str, tuple[str, ...]] = {"sim": (*ENGINES, EXPLORE, SANITIZE), "accelerator": tuple(ENGINES)}
