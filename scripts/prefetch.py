"""Say what of a plan was fetched: sizes, pins, places.

Reads   models/, given_adapters/, raw/, benchmarks/: their manifests and files
Writes  a line for each to stdout, and their sum

Try it  python -m scripts.prefetch --help
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.lib.artifacts.store import Store
from scripts.lib.errors import StoreError
from scripts.lib.jobs.prefetching import table
from scripts.lib.plan.missing import read_frozen


def main(argv: Sequence[str] | None = None) -> None:
    """Parse *argv* and print what was fetched.

    Raises:
        SystemExit: with status 1 and a message, when something is not there.
    """
    parser = argparse.ArgumentParser(prog="python -m scripts.prefetch")
    parser.add_argument("--plan", type=Path, required=True, help="the frozen plan (results/plans/)")
    frozen = read_frozen(parser.parse_args(argv).plan)
    store = Store(Path(frozen["results"]), tuple(map(Path, frozen["caches"])))
    try:
        print(*table(frozen, store), sep="\n", flush=True)
    except StoreError as error:
        sys.exit(f"prefetch: {error}")


if __name__ == "__main__":
    main()
