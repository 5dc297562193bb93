"""What several machines have measured, joined in one folder with one report.

Nothing that was measured is overwritten: `results.jsonl` is replaced only where a merge has made it, which a file
beside it tells, and as a whole. All checks come before the first change.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cpugpu.campaign import Entry, Header, ResultsError, Run, append, merge, read
from cpugpu.campaign.results import NAME
from cpugpu.report import matrix
from cpugpu.report.folder import replacing, write_report

#: Beside a `results.jsonl` that a merge has made: what it was made of, and a digest of it.
MARK = "merged.json"


@dataclass
class Parts:
    """What could be read of the parts. `problems`: a line for each that is damaged or not there."""

    files: list[Path] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def join(out: Path, given: Sequence[Path]) -> tuple[Run, Path, Parts]:
    """Join `given`, folders or files of results, in the folder `out`: the run, and the path of its report.

    `ValueError`, before anything is written, for an `out` that holds something else, for a part that is given twice,
    and where nothing can be read.
    """
    files = [each / NAME if each.is_dir() else each for each in given]
    _check_out(out, files)
    _check_twice(files)
    parts = _read(files)
    run = merge(parts.runs)
    if not run.headers and not run.entries:
        raise ValueError("; ".join([*parts.problems, "there is nothing to join, and nothing was written"]))
    out.mkdir(parents=True, exist_ok=True)
    _write(run, out, parts.files)
    _take_matrix(out, parts)
    return run, write_report(run, out), parts


def _check_out(out: Path, files: Sequence[Path]) -> None:
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; the first argument is the folder for the result")
    joined = out / NAME
    if not joined.exists():
        return
    if any(file.exists() and file.samefile(joined) for file in files):
        raise ValueError(f"{out} is one of the folders to be joined; name another one for the result")
    if not _made_by_a_merge(out):
        raise ValueError(
            f"{joined} holds results that no merge has made, and would be overwritten; the first argument is the folder"
            " for the result: name a new one, or remove that file"
        )


def _check_twice(files: Sequence[Path]) -> None:
    seen: set[tuple[int, int]] = set()
    for file in files:
        if file.exists():
            status = file.stat()
            if (status.st_dev, status.st_ino) in seen:
                raise ValueError(f"{file} is given twice; its results would be counted twice")
            seen.add((status.st_dev, status.st_ino))


def _read(files: Sequence[Path]) -> Parts:
    parts = Parts()
    for file in files:
        try:
            run = read(file)
        except ResultsError as error:  # what came before the damage is kept
            parts.problems.append(str(error))
            run = error.run
        except OSError as error:
            parts.problems.append(f"{file}: {error.strerror or error}")
            continue
        parts.files.append(file)
        parts.runs.append(run)
    return parts


def _write(run: Run, out: Path, files: Sequence[Path]) -> None:
    """Whoever is killed between the two files leaves a folder that is not overwritten."""
    records: list[Header | Entry] = [*run.headers, *run.entries]
    with replacing(out / NAME) as path:
        for record in records:
            append(path, record)
        digest = _digest(path)
    with replacing(out / MARK) as path:
        path.write_text(json.dumps({"version": 1, "sha256": digest, "parts": list(map(str, files))}, indent=1) + "\n")


def _take_matrix(out: Path, parts: Parts) -> None:
    """The newest mutant matrix is the report's."""
    folders = dict.fromkeys([out.resolve(), *(file.resolve().parent for file in parts.files)])
    found = [folder / matrix.NAME for folder in folders if (folder / matrix.NAME).is_file()]
    if not found:
        return
    newest = max(found, key=lambda path: path.stat().st_mtime_ns)
    if len(found) > 1:
        parts.notes.append(f"there are {len(found)} files {matrix.NAME}; the newest is taken, {newest}")
    if newest.parent != out.resolve():
        with replacing(out / matrix.NAME) as path:
            shutil.copy2(newest, path)  # with its time, for the next merge


def _made_by_a_merge(out: Path) -> bool:
    try:
        return bool(json.loads((out / MARK).read_text())["sha256"] == _digest(out / NAME))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
