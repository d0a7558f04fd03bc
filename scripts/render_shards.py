"""Render conversations with a model's chat template into token shards.

Reads   chat/<dataset>, models/<model> (tokenizer and template only)
Writes  <artifact>/{train,valid,test}-*.parquet  text, token ids, loss mask
        <artifact>/tokenizer/                    the tokenizer that adapter and model will carry
        <artifact>/control_tokens.json           tokens added to it for the template, if any
        <artifact>/contract.json                 what the template was proved to do
        <artifact>/summary.json                  conversations and tokens kept, dropped by reason

Try it  python -m scripts.render_shards --help
"""

from collections.abc import Sequence
from typing import Any

from scripts.lib.data.rendering import RenderSpec, render_shards, told
from scripts.lib.jobs.job import Job, run_job


def work(job: Job) -> dict[str, Any]:
    """Fill the artifact's folder and return its facts."""
    facts = render_shards(
        RenderSpec(**job.spec),
        job.folder("chat"),
        job.folder("model"),
        job.out,
        processes=job.options.threads,
    )
    print(told(facts["tokens"]), flush=True)
    return facts


def main(argv: Sequence[str] | None = None) -> None:
    """Parse *argv* and make the artifact."""
    run_job("render_shards", work, argv, inputs=("chat", "model"), options={"threads": 1})


if __name__ == "__main__":
    main()
