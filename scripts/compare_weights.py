"""Say how a finished checkpoint differs from the base that it is compared with.

Reads   models/<base>, models/<checkpoint>
Writes  <artifact>/changes.json  architecture, vocabulary, and how many weights differ

Try it  python -m scripts.compare_weights --help
"""

from collections.abc import Sequence
from typing import Any

from scripts.lib.files import write_json
from scripts.lib.jobs.job import Job, run_job
from scripts.lib.merge.weight_changes import compare_weights


def work(job: Job) -> dict[str, Any]:
    """Fill the artifact's folder and return its facts."""
    changes = compare_weights(job.folder("model"), job.folder("checkpoint"))
    write_json(job.out / "changes.json", changes)
    return {"changes": changes}


def main(argv: Sequence[str] | None = None) -> None:
    """Parse *argv* and make the artifact."""
    run_job("compare_weights", work, argv, inputs=("model", "checkpoint"), options={"threads": 1})


if __name__ == "__main__":
    main()
