"""Merge one adapter into its base model.

Reads   models/<model>, adapters/<adapter>
Writes  <artifact>/  a complete Hugging Face model with the adapter's tokenizer and template,
        and its model card in README.md

Try it  python -m scripts.merge_adapter --help
"""

from collections.abc import Sequence
from typing import Any

from scripts.lib.job import Job, run_job
from scripts.lib.merging import merge_adapter
from scripts.lib.model_card import CardSpec, write_card


def work(job: Job) -> dict[str, Any]:
    """Fill the artifact's folder and return its facts."""
    facts = merge_adapter(
        job.folder("model"),
        job.folder("adapter"),
        job.out,
        threads=job.options.threads,
    )
    write_card(CardSpec(**job.spec), job.folder("model"), job.out)
    return facts


def main(argv: Sequence[str] | None = None) -> None:
    """Parse *argv* and make the artifact."""
    run_job("merge_adapter", work, argv, inputs=("model", "adapter"), options={"threads": 1})


if __name__ == "__main__":
    main()
