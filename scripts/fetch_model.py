"""Bring one base model into results/.

Reads   a hub repository at a commit, a local folder, or a GGUF file
Writes  <artifact>/  a complete Hugging Face model: safetensors, config, tokenizer

Try it  python -m scripts.fetch_model --help
"""

from collections.abc import Sequence
from typing import Any

from scripts.lib.fetch.models import fetch_model
from scripts.lib.jobs.job import Job, run_job


def work(job: Job) -> dict[str, Any]:
    """Fill the artifact's folder and return its facts."""
    return fetch_model(job.spec, job.sources, job.out)


def main(argv: Sequence[str] | None = None) -> None:
    """Parse *argv* and make the artifact."""
    run_job("fetch_model", work, argv)


if __name__ == "__main__":
    main()
