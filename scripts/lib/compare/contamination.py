"""How a fine-tune differs from its base on the questions that do not stand in its training rows."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, ModuleType

import numpy as np

from scripts.lib.compare.contamination_words import sentences
from scripts.lib.compare.document import (
    BenchmarkResult,
    Contaminated,
    Contamination,
    Untouched,
    UntouchedMeasure,
)
from scripts.lib.compare.spec import ComparedCandidate, beside_base
from scripts.lib.contamination.document import FoundQuestion, Searched, found_in, method_words
from scripts.lib.questions.categories import AVERAGE
from scripts.lib.score.aggregation import tally
from scripts.lib.score.answers import Answers, read_answers
from scripts.lib.score.statistics import paired_difference

_EXAMPLES = 3
UNTOUCHED = "Average of untouched questions"
"""The category of these in the lines of the CSV."""


def contamination_of(
    candidates: Sequence[ComparedCandidate],
    results: Mapping[str, BenchmarkResult],
    artifacts: Mapping[str, Path],
    searches: Mapping[str, Path],
    special: Mapping[str, ModuleType] = MappingProxyType({}),
) -> Contamination:
    """Return what of each benchmark stands in what each tuned candidate was trained on.

    Args:
        candidates: All of them.
        results: Benchmark with questions that are right or wrong -> its results.
        artifacts: Folder of every category score that the candidates name.
        searches: Folder of every search that they name.
        special: Benchmark with a section of its own -> its kind's module for comparisons.
    """
    named = {one.name: one for one in candidates}
    summaries = {id_: _summary(folder) for id_, folder in searches.items()}
    of_candidates = {
        one.name: {
            benchmark: _contaminated(
                benchmark,
                one,
                named.get(str(one.base)),
                results.get(benchmark),
                artifacts,
                {id_: (searches[id_], summaries[id_]) for id_ in ids},
                special.get(benchmark),
            )
            for benchmark, ids in one.searches.items()
            if benchmark in one.categories
        }
        for one in beside_base(candidates)
        if one.base is not None
    }
    # All searches of a configuration go by one method.
    method = next((method_words(summary) for summary in summaries.values()), None)
    return {"method": method, "candidates": of_candidates}


def _summary(folder: Path) -> Searched:
    summary: Searched = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return summary


def _contaminated(
    benchmark: str,
    run: ComparedCandidate,
    base: ComparedCandidate | None,
    result: BenchmarkResult | None,
    artifacts: Mapping[str, Path],
    searches: Mapping[str, tuple[Path, Searched]],
    measured: ModuleType | None,
) -> Contaminated:
    found: dict[str, FoundQuestion] = {}
    for folder, _ in searches.values():
        for id_, question in found_in(folder, "train").items():
            if id_ not in found or question["share"] > found[id_]["share"]:
                found[id_] = question
    n = max((one["questions"] for _, one in searches.values()), default=0)
    measure: UntouchedMeasure | None = None
    if measured and base and searches:
        ids, measure = measured.untouched(benchmark, base, run, artifacts, found.keys())
        found = {id_: question for id_, question in found.items() if id_ in ids}
        n = len(ids)
    answers: Answers | None = None
    if result and found:
        answers = _asked(run, benchmark, artifacts)
        asked = {*answers.ids}
        found = {id_: question for id_, question in found.items() if id_ in asked}
    if result:
        n = result["candidates"][run.name][AVERAGE]["n"]
    best = sorted(found.values(), key=lambda one: (-one["share"], one["question_id"]))
    untouched = None
    if found and answers and base:
        untouched = _untouched(answers, _asked(base, benchmark, artifacts), base.name, found)
    return {
        "known": run.data_known,
        "searched": len(searches),
        "questions": n,
        "found": len(found),
        "exact": sum(one["how"] == "exact" for one in found.values()),
        "conversations": sum(one["holding"]["train"] for _, one in searches.values()),
        "untouched": untouched,
        "untouched_measure": measure,
        "examples": best[:_EXAMPLES],
    }


def _asked(one: ComparedCandidate, benchmark: str, artifacts: Mapping[str, Path]) -> Answers:
    return read_answers(artifacts[one.categories[benchmark]], benchmark)


def _untouched(
    answers: Answers,
    of_base: Answers,
    base: str,
    found: Mapping[str, FoundQuestion],
) -> Untouched | None:
    """Return scores and difference on the questions that were not found; None without any."""
    # Both were asked the same questions: compare_runs refuses others.
    kept = np.array([id_ not in found for id_ in answers.ids], bool)
    before, after = of_base.all.values[kept], answers.all.values[kept]
    if not len(after):
        return None
    return {
        "base": tally(before.tolist()),
        "run": tally(after.tolist()),
        "difference": {**paired_difference(before, after), "base": base, "noise": None},
    }


def contamination_markdown(
    section: Contamination, results: Mapping[str, BenchmarkResult]
) -> list[str]:
    """Return the lines of the section in Markdown; none where nothing was tuned."""
    told = list(sentences(section, results))
    if not told:
        return []
    lines = ["## Questions in the training rows\n"]
    lines += [f"- {words}" for _, _, _, words in told]
    lines += ["", f"{section['method']}.\n"] if section["method"] else [""]
    return lines


def contamination_rows(
    section: Contamination, bases: Mapping[str, str | None]
) -> Iterator[Mapping[str, object]]:
    """Yield a line of the CSV for each candidate and benchmark with questions left out.

    Args:
        section: What was found of all.
        bases: Candidate -> its base.
    """
    for name, found in section["candidates"].items():
        for benchmark, one in found.items():
            if not one["searched"]:
                continue
            row: dict[str, object] = {
                "benchmark": benchmark,
                "category": UNTOUCHED,
                "candidate": name,
                "contaminated": one["found"],
            }
            if measure := one["untouched_measure"]:
                low, high = measure["interval"] or (None, None)
                if measure["measure"] == "win_rate":
                    row["win_rate"] = measure["run"] / 100
                row |= {
                    "n": measure["n"],
                    "base": bases[name],
                    "difference": measure["difference"],
                    "difference_low": low,
                    "difference_high": high,
                    **{key: measure[key] for key in ("p_value", "verdict")},
                }
            if untouched := one["untouched"]:
                change = untouched["difference"]
                low, high = change["interval"] or (None, None)
                row |= {
                    **untouched["run"],
                    "base": change["base"],
                    "difference": change["difference"],
                    "difference_stderr": change["stderr"],
                    "difference_low": low,
                    "difference_high": high,
                    **{key: change[key] for key in ("gained", "lost", "p_value", "verdict")},
                }
            yield row
