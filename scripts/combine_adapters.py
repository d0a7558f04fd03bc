"""Combine the adapters of several runs on one model into one adapter.

Reads   models/<model> (its config only), adapters/<...> of the runs
Writes  <artifact>/adapter_model.safetensors  the combination, an ordinary LoRA adapter
        <artifact>/adapter_config.json        with the rank that the method gives
        <artifact>/prompts.json               prompts of all runs, for the proof of the merge

Try it  python -m scripts.combine_adapters --help
"""

from collections.abc import Sequence
from typing import Any

from scripts.lib.jobs.job import Job, run_job
from scripts.lib.merge.combining import CombineSpec, combine_adapters


def work(job: Job) -> dict[str, Any]:
    """Fill the artifact's folder and return its facts."""
    return combine_adapters(
        CombineSpec.from_json(job.spec), job.folder("model"), job.inputs["adapters"], job.out
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Parse *argv* and make the artifact."""
    run_job("combine_adapters", work, argv, inputs=("model",), options={"threads": 1})


if __name__ == "__main__":
    main()
