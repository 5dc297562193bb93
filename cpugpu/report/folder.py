"""The folder that a campaign leaves: `index.html` for people, `junit.xml` for CI, `results.json` for machines."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cpugpu.campaign import Run
from cpugpu.report.html import render_html
from cpugpu.report.junit import render_junit
from cpugpu.report.machine import render_json
from cpugpu.report.matrix import MatrixError, read_matrix

_LAST = "results.json"


def write_report(run: Run, folder: Path, *, previous: Run | None = None) -> Path:
    """Write the three files and return the path of `index.html`. A reader sees a file's old text or the new, whole.

    The mutant matrix comes from `mutants.json` in `folder`, where there is one. `OSError` where `folder` cannot be
    written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    matrix, matrix_error = None, ""
    try:
        matrix = read_matrix(folder)
    except MatrixError as error:
        matrix_error = str(error)
    page = render_html(run, previous=previous, matrix=matrix, matrix_error=matrix_error)
    _replace(folder / "junit.xml", render_junit(run))
    index = folder / "index.html"
    _replace(index, page.encode())
    _replace(folder / _LAST, render_json(run).encode())
    return index


def is_report_of(run: Run, folder: Path) -> bool:
    """Have all files of the report in `folder` been written for `run`? The last of them tells."""
    try:
        return (folder / _LAST).read_bytes() == render_json(run).encode()
    except OSError:
        return False


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to, which takes the place of `path` at the end; not if there was an exception."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.unlink(missing_ok=True)
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _replace(path: Path, data: bytes) -> None:
    with replacing(path) as part:
        part.write_bytes(data)
