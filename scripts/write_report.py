"""Write the report: a self-contained HTML page, and pages and files of single questions beside it.

Reads   comparisons/<comparison>; the manifests of everything behind it; examples/<...>;
        benchmarks/, scores/, categories/ and contamination/ of what is right or wrong
Writes  <artifact>/index.html
        <artifact>/flips/<benchmark>/<run>.html                       questions that flipped
        <artifact>/rows/<benchmark>/<run>.{parquet,csv}               all questions
        <artifact>/rows/<benchmark>.questions.{parquet,csv}           what they say
        <artifact>/legacy/<benchmark>/<candidate>/results.{json,log}  if asked for

Try it  python -m scripts.write_report --help
"""

from collections.abc import Sequence
from typing import Any

from scripts.lib.jobs.job import Job, run_job
from scripts.lib.report.drill_down import RowFolders
from scripts.lib.report.page import ReportSpec, write_report


def work(job: Job) -> dict[str, Any]:
    """Fill the artifact's folder and return its facts."""
    return write_report(
        ReportSpec.from_json(job.spec),
        job.folder("comparison"),
        job.manifests("facts"),
        job.out,
        scores=job.named("scores"),
        examples=job.named("examples"),
        plan=job.options.plan.stem,
        rows=RowFolders(
            scores=job.named("scores"),
            categories=job.named("categories"),
            questions={**job.named("questions"), **job.named("tasks")},
            searches=job.named("searches"),
        ),
        processes=job.options.threads,
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Parse *argv* and make the artifact."""
    run_job("write_report", work, argv, options={"threads": 1})


if __name__ == "__main__":
    main()
