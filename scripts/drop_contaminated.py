"""Leave out the training conversations that hold a question of a benchmark.

Reads   chat/<dataset>, contamination/<...> of the dataset and every benchmark
Writes  <artifact>/{train,valid,test}.parquet  the conversations that are left
        <artifact>/ledger.parquet              a verdict for every raw row
        <artifact>/summary.json                rows, kept, fixed, dropped by reason

Try it  python -m scripts.drop_contaminated --help
"""

from collections.abc import Sequence
from typing import Any

from scripts.lib.contamination.dropping import REASON, drop_contaminated
from scripts.lib.jobs.job import Job, run_job


def work(job: Job) -> dict[str, Any]:
    """Fill the artifact's folder and return its facts."""
    facts = drop_contaminated(job.folder("chat"), job.named("searches"), job.out)
    dropped = facts["summary"]["by_reason"].get(REASON, 0)
    print(f"{dropped:,} conversations hold a question of a benchmark and were dropped", flush=True)
    return facts


def main(argv: Sequence[str] | None = None) -> None:
    """Parse *argv* and make the artifact."""
    run_job("drop_contaminated", work, argv, inputs=("chat",))


if __name__ == "__main__":
    main()
