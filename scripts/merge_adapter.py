"""Merge one adapter into its base model.

Reads   models/<model>, adapters/<adapter>
Writes  <artifact>/  a complete Hugging Face model with the adapter's tokenizer and template,
        a generation config that stops where scoring stops, and its model card in README.md

Try it  python -m scripts.merge_adapter --help
"""

from collections.abc import Sequence
from typing import Any

from scripts.lib.jobs.job import Job, run_job
from scripts.lib.merge.merging import merge_adapter
from scripts.lib.merge.stopping import name_stops
from scripts.lib.report.card import CardSpec, write_card


def work(job: Job) -> dict[str, Any]:
    """Fill the artifact's folder and return its facts."""
    model, adapter = job.folder("model"), job.folder("adapter")
    facts = merge_adapter(model, adapter, job.out, threads=job.options.threads)
    stops = name_stops(model, adapter, job.out)
    write_card(CardSpec(**job.spec), model, job.out, stops)
    return {**facts, "stops": stops}


def main(argv: Sequence[str] | None = None) -> None:
    """Parse *argv* and make the artifact."""
    run_job("merge_adapter", work, argv, inputs=("model", "adapter"), options={"threads": 1})


if __name__ == "__main__":
    main()
