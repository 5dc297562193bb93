"""A failing schedule as a table: a line a step, a column a thread and a stream, the switches marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cpugpu.explore.execution import Actor, Key, Step
from cpugpu.explore.operation import WRITE, Footprint
from cpugpu.explore.run import Ending, Run
from cpugpu.explore.schedule import is_switch

#: A table of few columns has room for whole lines of code; one of many is to fit into a window all the same.
_WIDTH, _NARROWEST, _WIDEST = 150, 30, 60
_MARK = "»"
#: More columns than that are wider than anybody's window; more lines than that nobody reads.
_MOST_COLUMNS, _MOST_LINES = 8, 100


def schedule_table(run: Run) -> str:
    """The steps of a run. A step that is marked with » was a preemption: somebody else could have gone on."""
    columns = _columns(run.steps)
    names = _names(run)
    if len(columns) > _MOST_COLUMNS:
        return _list(run.steps, names)
    widest = min(max(_WIDTH // max(len(columns), 1) - 2, _NARROWEST), _WIDEST)
    widths = [
        max(len(names[actor.key]), *(len(_cell(step, widest)) for step in run.steps if step.actor is actor))
        for actor in columns
    ]
    lines = ["      " + "  ".join(names[actor.key].ljust(width) for actor, width in zip(columns, widths, strict=True))]
    before: Actor | None = None
    for number, step in enumerate(run.steps, 1):
        mark = _MARK if is_switch(step, before) else " "
        cells = [
            (_cell(step, widest) if actor is step.actor else "").ljust(width)
            for actor, width in zip(columns, widths, strict=True)
        ]
        lines.append(f"{number:4}{mark} " + "  ".join(cells))
        before = step.actor
    return "\n".join(line.rstrip() for line in lines)


def _list(steps: Sequence[Step], names: Mapping[Key, str]) -> str:
    """Of very many actors: who takes each step, of the last ones."""
    width = max(map(len, names.values()))
    left_out = max(0, len(steps) - _MOST_LINES)
    lines = [f"      (the first {left_out} steps are left out)"] if left_out else []
    before = steps[left_out - 1].actor if left_out else None
    for number, step in enumerate(steps[left_out:], left_out + 1):
        mark = _MARK if is_switch(step, before) else " "
        lines.append(f"{number:4}{mark} {names[step.actor.key]:{width}}  {step.label}")
        before = step.actor
    return "\n".join(lines)


def ending_text(run: Run) -> str:
    """How it came to its end, where that was not an outcome."""
    names = _names(run)
    if run.ending is Ending.DEADLOCK:
        lines = ["deadlock: nobody can go on"]
        for each in run.pending:
            if not each.enabled and each.actor.kind != "clock":
                touched = _last_touch(run, each.operation.footprint, names)
                lines.append(f"  {names[each.actor.key]} waits: {each.operation.label}{touched}")
        cycle = wait_cycle(run)
        if cycle:
            lines.append(f"  in a circle: {' → '.join(names[actor.key] for actor in (*cycle, cycle[0]))}")
        return "\n".join(lines)
    if run.ending is Ending.LIVELOCK:
        steps = "\n".join(f"  {names[step.actor.key]}: {step.label}" for step in run.cycle)
        return f"livelock: these steps repeat, and change nothing\n{steps}"
    return run.details


def wait_cycle(run: Run) -> list[Actor]:
    """Actors that wait for each other: each for something that the next one has touched last."""
    waits = {
        each.actor.key: holder
        for each in run.pending
        if not each.enabled and (holder := _holder(run, each.actor, each.operation.footprint)) is not None
    }
    for each in run.pending:
        path: list[Actor] = [each.actor]
        while (following := waits.get(path[-1].key)) is not None:
            keys = [actor.key for actor in path]
            if following.key in keys:
                return path[keys.index(following.key) :]
            path.append(following)
    return []


def _holder(run: Run, waiting: Actor, footprint: Footprint) -> Actor | None:
    keys = {resource.key for resource, access in footprint if access is WRITE}
    pending = {each.actor.key for each in run.pending}
    for step in reversed(run.steps):
        if step.actor is not waiting and any(its.key in keys and how is WRITE for its, how in step.footprint):
            return step.actor if step.actor.key in pending else None
    return None


def _last_touch(run: Run, footprint: Footprint, names: Mapping[Key, str]) -> str:
    keys = {resource.key for resource, _ in footprint}
    for number, step in reversed(list(enumerate(run.steps, 1))):
        if any(its.key in keys and how is WRITE for its, how in step.footprint):
            return f" (last touched by {names[step.actor.key]} in step {number})"
    return ""


def _columns(steps: Sequence[Step]) -> list[Actor]:
    """The actors, threads first, each kind in the order of their first steps."""
    seen = list({step.actor.key: step.actor for step in steps}.values())
    kinds = ("thread", "clock", "stream")
    return sorted(seen, key=lambda actor: kinds.index(actor.kind))


def _names(run: Run) -> dict[Key, str]:
    """A name for each actor; those of one name get numbers."""
    names: dict[Key, str] = {}
    met = {step.actor.key: step.actor for step in run.steps} | {each.actor.key: each.actor for each in run.pending}
    actors = sorted(met.values(), key=lambda actor: str(actor.key))
    for actor in actors:
        same = [other for other in actors if other.name == actor.name]
        number = f" {same.index(actor) + 1}" if len(same) > 1 else ""
        names[actor.key] = f"{actor.name}{number}"
    return names


def _cell(step: Step, widest: int) -> str:
    label = step.label
    where, line, code = label.partition("  ")
    if line:  # "Class.method:12  code": the class is the same everywhere, and the code is what people look for
        label = f"{where.rpartition('.')[2]}  {code}"
    return label if len(label) <= widest else label[: widest - 1] + "…"
