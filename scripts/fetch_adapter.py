"""Bring one LoRA adapter that exists already into results/, in the form of this project's own.

Reads   a hub repository at a commit or a local folder; models/<model>, the base that it is put on
Writes  <artifact>/adapter_model.safetensors  with adapter_config.json
        <artifact>/tokenizer.json, ...        its tokenizer, or that of the base
        <artifact>/prompts.json               short conversations, for the proof of the merge

Try it  python -m scripts.fetch_adapter --help
"""

from collections.abc import Sequence
from typing import Any

from scripts.lib.fetch.adapters import fetch_adapter
from scripts.lib.jobs.job import Job, run_job


def work(job: Job) -> dict[str, Any]:
    """Fill the artifact's folder and return its facts."""
    return fetch_adapter(job.spec, job.sources, job.folder("model"), job.out)


def main(argv: Sequence[str] | None = None) -> None:
    """Parse *argv* and make the artifact."""
    run_job("fetch_adapter", work, argv, inputs=("model",))


if __name__ == "__main__":
    main()
