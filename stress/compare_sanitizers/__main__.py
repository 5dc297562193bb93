"""`make compare-sanitizers`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from stress.compare_sanitizers.on_device import SANITIZERS, compare_on_device, run_one, wrong
from stress.compare_sanitizers.table import compare, table


def main() -> int:
    """Compare the sanitizer with CSAN and write the page; exit status 1 if ours is wrong about a program."""
    parser = argparse.ArgumentParser(prog="python -m stress.compare_sanitizers", description=main.__doc__)
    parser.add_argument("page", nargs="?", type=Path, default=Path("docs/sanitizer.md"), help="default: %(default)s")
    parser.add_argument(
        "--on-device", type=Path, metavar="FILE", help="run the programs and the corpus on the GPU instead; JSON there"
    )
    parser.add_argument("--jobs", type=int, default=8, help="processes at once, for --on-device (default %(default)s)")
    parser.add_argument("--one", metavar="NAME", help="only this one, in this process, and print what was found")
    parser.add_argument("--under", choices=SANITIZERS, default="cpugpu", help="for --one")
    parser.add_argument("--right", action="store_true", help="for --one: the form without the defect")
    options = parser.parse_args()
    if options.one:
        run_one(options.one, right=options.right, under=options.under)
        return 0
    if options.on_device:
        return _on_device(options.on_device, options.jobs)
    rows = compare()
    options.page.write_text(table(rows))
    print(table(rows))
    titles = [row.program.title for row in rows if not row.right]
    for title in titles:
        print(f"wrong: {title}")
    return 1 if titles else 0


def _on_device(file: Path, jobs: int) -> int:
    from benchmarks import machine

    found = compare_on_device(jobs)
    command = f"python -m stress.compare_sanitizers --on-device FILE --jobs {jobs}"
    file.write_text(json.dumps(machine.describe() | {"command": command} | found, indent=2) + "\n")
    print(json.dumps(found["totals"], indent=2))
    titles = wrong(found)
    for title in titles:
        print(f"wrong: {title}")
    return 1 if titles else 0


if __name__ == "__main__":
    sys.exit(main())
