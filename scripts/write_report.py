"""Write the report: one self-contained HTML page.

Reads   comparisons/<comparison>; the manifests of everything behind it; examples/<...>
        and, where the old layout is asked for, the scores of MMLU
Writes  <artifact>/index.html
        <artifact>/legacy/<benchmark>/<candidate>/results.{json,log}  if asked for

Try it  python -m scripts.write_report --help
"""

from collections.abc import Sequence
from typing import Any

from scripts.lib.jobs.job import Job, run_job
from scripts.lib.report.page import ReportSpec, write_report


def work(job: Job) -> dict[str, Any]:
    """Fill the artifact's folder and return its facts."""
    return write_report(
        ReportSpec.from_json(job.spec),
        job.folder("comparison"),
        job.manifests("facts"),
        job.out,
        scores=job.named("scores") if "scores" in job.inputs else {},
        examples=job.named("examples"),
        plan=job.options.plan.stem,
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Parse *argv* and make the artifact."""
    run_job("write_report", work, argv)


if __name__ == "__main__":
    main()
