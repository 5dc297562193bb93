"""`make mutants`: does the catalogue catch what it claims to catch?"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from cpugpu.hammer import choose_device
from stress.mutants import PARTS
from stress.mutants.matrix import ALL_ENGINES, choose, head, line, make_matrix, summary


def main() -> int:
    """Put every mutant to every engine and print a line each: the seconds until it was killed, `-` if it was not.

    `explore` is the explorer, whose verdict is the same each time: it also tells that a mutant is equivalent (`equiv`).
    `sanitize` is the sanitizer, for the event alone: one run, in which it has a finding, or there is a bad outcome.

    The first line is the code as it is, which has to survive. The exit status is 1 if it does not, or if fewer mutants
    are killed than is asked for.
    """
    parser = argparse.ArgumentParser(prog="python -m stress.mutants", description=main.__doc__)
    parser.add_argument("mutants", nargs="*", help="names of mutants or parts (default all)")
    parser.add_argument("--device", choices=PARTS, default="sim", help="each shows mutants of its own (default sim)")
    parser.add_argument(
        "--engines", help=f"default: {','.join(ALL_ENGINES['sim'])}; only the first three on an accelerator"
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="for each mutant in each engine (default 10)")
    parser.add_argument("--seed", type=int, default=0, help="of all random choices (default 0)")
    parser.add_argument("--jobs", type=int, default=1, help="processes at once; disturbs the times (default 1)")
    parser.add_argument("--json", type=Path, default=Path("stress-report/mutants.json"), help="default: %(default)s")
    options = parser.parse_args()
    known = ALL_ENGINES[options.device]
    engines = options.engines.split(",") if options.engines is not None else known
    unknown = [engine for engine in engines if engine not in known]
    if unknown:
        parser.error(f"engine {unknown[0]!r} is not one of {', '.join(known)}")
    try:
        mutants = choose(options.mutants, options.device)
        device = choose_device(options.device)(options.seed).describe()
    except ValueError as error:
        parser.error(str(error))
    print(f"device {device}, seed {options.seed}, at most {options.seconds:g} s each")
    print("baseline: a plain loop, uniform sleeps")
    print(head(engines), flush=True)
    matrix = make_matrix(
        mutants,
        engines,
        device=options.device,
        seconds=options.seconds,
        seed=options.seed,
        jobs=options.jobs,
        tell=lambda row: print(line(row), flush=True),
    )
    print()
    print(summary(matrix))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(matrix.to_dict(), indent=1) + "\n", encoding="utf-8")
    print(f"\nwrote {options.json}")
    return 1 if matrix.complaints() else 0


if __name__ == "__main__":
    sys.exit(main())
