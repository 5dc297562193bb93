"""A run as one HTML file that needs nothing else: no network, no scripts, no fonts.

What scenarios, events and exceptions are called comes from foreign code. The template escapes all of it, characters
that HTML forbids are made visible, and the file's own Content-Security-Policy allows no script and no request at all.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

from cpugpu.campaign import Entry, Item, Run
from cpugpu.report import charts, words
from cpugpu.report.comparison import ABSENT, Z, compare
from cpugpu.report.machine import PERCENTILES
from cpugpu.report.matrix import Matrix
from cpugpu.report.summary import Described, Verdict, described, headline, skipped, totals, verdict

if TYPE_CHECKING:
    import jinja2

_TEMPLATE = "campaign.html.j2"
#: Of a verdict, so that colour is not all that tells.
_SIGNS = {"passed": "✓", "failed": "✕", "fault": "!", "not run": "–", "skipped": "–", ABSENT: "–"}


@dataclass(frozen=True)
class View:
    """A scenario as the template shows it. `anchor` is the id of its section."""

    anchor: str
    item: Item
    verdict: Verdict
    headline: str
    failures: list[Described]
    faults: list[tuple[Entry, str]]  # with the replay line


def render_html(run: Run, *, previous: Run | None = None, matrix: Matrix | None = None, matrix_error: str = "") -> str:
    """The report. `matrix_error` is told in the place of the matrix."""
    views = [_view(number, item) for number, item in enumerate(run.items)]
    order = list(Verdict)
    return (
        environment()
        .get_template(_TEMPLATE)
        .render(
            run=run,
            views=sorted(views, key=lambda view: order.index(view.verdict)),
            totals=totals(run),
            skipped=skipped(run),
            comparison=compare(previous, run) if previous is not None else None,
            previous=previous,
            matrix=matrix,
            matrix_error=matrix_error,
            version=_version(),
            z=Z,
        )
    )


@functools.cache
def environment() -> jinja2.Environment:
    """What renders the template. Jinja is imported here: who writes no report needs none."""
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.PackageLoader("cpugpu", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(duration=words.duration, share=words.share, paragraphs=words.paragraphs)
    made.globals.update(
        histogram=charts.histogram, timeline=charts.timeline, chart=charts, percentiles=PERCENTILES, signs=_SIGNS
    )
    return made


def _version() -> str:
    try:
        return metadata.version("cpugpu")
    except metadata.PackageNotFoundError:
        return "from a source tree"


def _visible(value: Any) -> Any:
    """What the template writes, with no character that HTML forbids."""
    return words.clean(value) if type(value) is str else value  # Markup is made of what has been here


def _view(number: int, item: Item) -> View:
    return View(
        anchor=f"item-{number}",
        item=item,
        verdict=verdict(item),
        headline=headline(item),
        failures=described(item),
        faults=[(entry, f"{entry.replay} --stress-seed={entry.shard.seed}") for entry in item.faults],
    )
