"""Let a model behind a service judge the answers of a base model and of what was tuned from it.

Reads   scores/<...> of both, benchmarks/<benchmark>; the key of the service (environment)
Writes  <artifact>/judgements.parquet  one row per prompt: both answers, the reply in either order
        <artifact>/protocol.json       who judged, and how the answers were made

Try it  python -m scripts.ask_judge --help
"""

from collections.abc import Sequence
from typing import Any

from scripts.lib.jobs.job import Job, run_job
from scripts.lib.judge.files import load_pairs, write_judgements
from scripts.lib.judge.remote import RemoteJudgeSpec, judge_facts, judge_remotely
from scripts.lib.judge.service import ChatService


def work(job: Job) -> dict[str, Any]:
    """Fill the artifact's folder and return its facts."""
    base, run, benchmark = (job.folder(name) for name in ("base", "run", "benchmark"))
    spec = RemoteJudgeSpec(**job.spec)
    service = ChatService(spec.endpoint, spec.model, job.execution["api_key_env"])
    pairs = load_pairs(base, run, benchmark)
    replies = judge_remotely(spec, pairs, service, job.scratch)
    return write_judgements(pairs, replies, judge_facts(spec, replies), base, run, job.out)


def main(argv: Sequence[str] | None = None) -> None:
    """Parse *argv* and make the artifact."""
    run_job("ask_judge", work, argv, inputs=("benchmark",))


if __name__ == "__main__":
    main()
