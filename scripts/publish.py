"""Push the models that a plan lists to the hub, each with a model card that has its scores.

Reads   merged/<model> and proofs/<...>, or trained/<model> and models/<base>; comparisons/<...>;
        HF_TOKEN and HF_ENDPOINT (environment)
Writes  a commit on the hub, and results/published/<repository>.json, which says what was pushed

Try it  python -m scripts.publish --help
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.lib.artifacts.store import Store
from scripts.lib.errors import PipelineError
from scripts.lib.jobs.publishing import Publication, publish_model
from scripts.lib.plan.missing import read_frozen


def main(argv: Sequence[str] | None = None) -> None:
    """Parse *argv* and push what the plan lists.

    Raises:
        SystemExit: with status 1 and a message, when something must not or cannot be pushed.
    """
    parser = argparse.ArgumentParser(prog="python -m scripts.publish")
    parser.add_argument("--plan", type=Path, required=True, help="the frozen plan (results/plans/)")
    frozen = read_frozen(parser.parse_args(argv).plan)
    store = Store(Path(frozen["results"]), tuple(map(Path, frozen["caches"])))
    if not frozen["publish"]:
        sys.exit("publish: no run declares `publish: {repo_id: ...}`; see docs/publishing.md")
    for item in frozen["publish"]:
        try:
            print(
                publish_model(
                    Publication.from_plan(item), store, token=os.environ.get("HF_TOKEN", "")
                ),
                flush=True,
            )
        except PipelineError as error:
            sys.exit(f"publish: {item['name']}: {error}")


if __name__ == "__main__":
    main()
