"""`make compare-sanitizers`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from stress.compare_sanitizers.table import compare, table


def main() -> int:
    """Compare the sanitizer with CSAN and write the page; exit status 1 if ours is wrong about a program."""
    parser = argparse.ArgumentParser(prog="python -m stress.compare_sanitizers", description=main.__doc__)
    parser.add_argument("page", nargs="?", type=Path, default=Path("docs/sanitizer.md"), help="default: %(default)s")
    options = parser.parse_args()
    rows = compare()
    options.page.write_text(table(rows))
    print(table(rows))
    wrong = [row.program.title for row in rows if not row.right]
    for title in wrong:
        print(f"wrong: {title}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
