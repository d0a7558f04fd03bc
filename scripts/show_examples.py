"""Show what is trained on: every token of a few conversations, and rows of each reason.

Reads   raw/<dataset>, chat/<dataset> (conversations and ledger), shards/<...> (tokens, tokenizer)
Writes  <artifact>/index.html     a page that works offline
        <artifact>/examples.json  what it shows

Try it  python -m scripts.show_examples --help
"""

from collections.abc import Sequence
from typing import Any

from scripts.lib.examples.choosing import show_examples
from scripts.lib.jobs.job import Job, run_job


def work(job: Job) -> dict[str, Any]:
    """Fill the artifact's folder and return its facts."""
    raw, chat, shards = (job.folder(name) for name in ("raw", "chat", "shards"))
    return dict(show_examples(raw, chat, shards, job.out))


def main(argv: Sequence[str] | None = None) -> None:
    """Parse *argv* and make the artifact."""
    run_job("show_examples", work, argv, inputs=("raw", "chat", "shards"))


if __name__ == "__main__":
    main()
