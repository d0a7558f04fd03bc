"""Turn one raw dataset into conversations.

Reads   raw/<dataset>   rows as published
Writes  <artifact>/{train,valid,test}.parquet  one conversation per row
        <artifact>/ledger.parquet              a verdict for every raw row
        <artifact>/summary.json                rows, kept, fixed, dropped by reason; ignored keys

Try it  python -m scripts.format_chat --help
"""

from collections.abc import Sequence
from typing import Any

from scripts.lib.data.format_spec import FormatSpec
from scripts.lib.data.formatting import format_chat
from scripts.lib.data.tally import told
from scripts.lib.jobs.job import Job, run_job


def work(job: Job) -> dict[str, Any]:
    """Fill the artifact's folder and return its facts."""
    facts = format_chat(
        FormatSpec(**job.spec), job.folder("raw"), job.out, processes=job.options.threads
    )
    print(told(facts["summary"]), flush=True)
    return facts


def main(argv: Sequence[str] | None = None) -> None:
    """Parse *argv* and make the artifact."""
    run_job("format_chat", work, argv, inputs=("raw",), options={"threads": 1})


if __name__ == "__main__":
    main()
