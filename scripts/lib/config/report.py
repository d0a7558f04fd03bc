"""What the report shows and what it holds fine-tunes against, as a configuration says it."""

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator

from scripts.lib.config.fields import (
    Flag,
    JsonMapping,
    PositiveNumber,
    Settings,
    Text,
    group,
    refusal,
    setting,
)
from scripts.lib.config.problems import Problem, is_unknown


def _margins(value: object) -> object:
    """Return benchmark -> measure -> margin, if it is that."""
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise refusal("is no mapping from benchmarks to margins, such as {mmlu: {average: -0.5}}")
    return {name: _of_benchmark(name, margins) for name, margins in value.items()}


def _of_benchmark(name: str, margins: object) -> dict[str, float]:
    if not isinstance(margins, Mapping) or not margins:
        raise refusal("names no margin; allowed: such as {average: -0.5}", name)
    found = {}
    for measure, margin in margins.items():
        if not isinstance(measure, str):
            raise refusal(
                f"has the measure {measure!r}, which is no text; write it in quotes", name
            )
        try:
            found[measure] = math.nan if isinstance(margin, bool) else float(margin)
        except (TypeError, ValueError):
            found[measure] = math.nan
        if not math.isfinite(found[measure]):
            raise refusal(f"gives {measure} a margin that is no number: {margin!r}", name)
    return found


Margins = Annotated[JsonMapping, BeforeValidator(_margins)]


class NoiseNats(Settings):
    """How far another scoring moves a margin, by precision."""

    float32: PositiveNumber | None = setting(
        "Standard deviation (nats) of what another scoring in float32 adds to the difference of two"
        " choices' log-probabilities, as `make score-noise` prints it for your model and machine;"
        " null for what docs/scoring.md names.",
        "report",
        None,
    )
    bfloat16: PositiveNumber | None = setting("The same in bfloat16.", "report", None)


class Report(Settings):
    """What the report shows."""

    title: Text = setting("Title of the page.", "report", "What the fine-tunes changed")
    legacy_results: Flag = setting(
        "Write MMLU's results also as LLaMA-Factory's `eval` did: results.json and results.log, in"
        " results/report/legacy/BENCHMARK/CANDIDATE.",
        "report",
        False,
    )
    texts: Flag = setting(
        "Whether the report may quote rows of datasets and benchmarks, and what models said; false"
        " for rows that may not be shared: pages and files of single questions (docs/report.md)"
        " then hold ids, scores and the letters of choices, and examples are left out.",
        "report",
        True,
    )
    noise_nats: NoiseNats = group(
        "How far rounding moves a margin between two choices: what lies within it is said to.",
        NoiseNats,
    )

    budget: Margins = setting(
        "Least difference from its base that every tuned candidate must keep, by benchmark and"
        " measure: `average`, a category or a subject; of held-out conversations `perplexity`,"
        " `stops`, `format` or `language`. In percentage points, such as -1.0 (of judged pairs from"
        " a win rate of 50); for perplexity the largest difference, in nats per token, such as"
        " 0.05. The workflow fails after its report where one is broken (docs/budget.md).",
        "report",
        JsonMapping(),
        allowed="a mapping such as `{mmlu: {average: -0.5, Humanities: -1.0}}`",
    )
    on_undecided: Literal["fail", "pass"] = setting(
        "What becomes of the workflow where there are too few questions to tell whether the budget"
        " is kept: it fails, as a budget that is not shown to be kept is none, or passes.",
        "gate",
        "fail",
    )

    def noise(self) -> dict[str, float]:
        """Return precision -> standard deviation of the noise, where it is given."""
        return self.noise_nats.model_dump(exclude_none=True)


def budget_problems(
    report: Report, benchmarks: Mapping[str, object], *, compared: bool
) -> Iterator[Problem]:
    """Yield the benchmarks of a budget that nobody declares, and one that nothing is held against.

    Args:
        report: What is said of the report.
        benchmarks: The benchmarks by name.
        compared: Whether there is anything that is compared with a base.
    """
    for name in report.budget:
        if name not in benchmarks:
            yield Problem(("report", "budget", name), is_unknown(name, "benchmark", benchmarks))
    if report.budget and not compared:
        text = "holds nothing: there is no run, and no candidate, to compare with a base"
        yield Problem(("report", "budget"), f"{text}; add one, or leave it out")
