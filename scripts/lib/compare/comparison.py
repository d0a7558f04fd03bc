"""Set every fine-tune beside its base, on the same questions, with the error of the difference.

The answers are paired: base and run met the very same prompts. So the difference has its own,
smaller standard error (of the per-question differences) and its own test (exact McNemar on the
questions that flipped). Treating the two scores as unrelated hides real changes.
"""

import math
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from statistics import fmean
from types import MappingProxyType

from scripts.lib.compare.between_seeds import Measure
from scripts.lib.compare.budget import decide_budget
from scripts.lib.compare.chain import check_chain
from scripts.lib.compare.changes import changes_of
from scripts.lib.compare.contamination import contamination_of
from scripts.lib.compare.document import (
    BenchmarkResult,
    Comparison,
    Difference,
    Section,
    SeedResult,
    parts_of,
)
from scripts.lib.compare.headline import headline
from scripts.lib.compare.notes import (
    control_text_note,
    differing_note,
    marker_notes,
    other_prompts_note,
    unmerged_note,
)
from scripts.lib.compare.numeric_noise import USUAL_NATS, noise_note, numeric_noise
from scripts.lib.compare.replicates import beside_seeds, seed_groups, seed_result
from scripts.lib.compare.scored import Scored, load_scored
from scripts.lib.compare.spec import ComparedCandidate, CompareSpec, JoinedManifest, beside_base
from scripts.lib.compare.tables import write_tables
from scripts.lib.compare.thoughts import thought_notes, thoughts_of
from scripts.lib.compare.without_texts import without_texts
from scripts.lib.errors import ScoreError
from scripts.lib.questions.categories import AVERAGE
from scripts.lib.score.aggregation import tally
from scripts.lib.score.answers import Scores
from scripts.lib.score.corrections import decide_together
from scripts.lib.score.documents import Note, Tally
from scripts.lib.score.statistics import paired_difference

# Guessing among four choices.
_CHANCE = {"mmlu": 0.25}


def compare_runs(
    spec: CompareSpec,
    artifacts: Mapping[str, Path],
    manifests: Mapping[str, JoinedManifest],
    out: Path,
    searches: Mapping[str, Path] = MappingProxyType({}),
) -> dict[str, int | str]:
    """Write `comparison.json`, `comparison.csv` and `comparison.md`.

    Args:
        spec: Candidates and benchmarks.
        artifacts: Folder of every category score that the spec names.
        manifests: Manifests by artifact id; where one names another as its input, the contents
            have to agree.
        out: Existing empty folder.
        searches: Folder of every search for questions in training rows that the spec names.

    Returns:
        `{"rows"}`, the lines of the CSV; with a budget also `{"budget"}`, its verdict.

    Raises:
        ScoreError: A run and its base were not asked the same prompts. A checkpoint that brings a
            chat template of its own may have been; a note then says so.
        StoreError: An artifact was made from other bytes than its input has now.
    """
    check_chain(manifests)
    special = {"held_out": spec.held_out, "judged": spec.judged}
    parts = parts_of("compare_runs", special)
    found: dict[str, dict[str, Section]] = {
        section: {
            name: parts[section].section(name, spec.candidates, artifacts, manifests)
            for name in names
        }
        for section, names in special.items()
    }
    replicated = beside_seeds(spec.candidates)
    seeds: dict[str, SeedResult] = {}
    benchmarks: dict[str, BenchmarkResult] = {}
    for name in spec.benchmarks:
        benchmarks[name], measures = _compare_benchmark(
            name, spec.candidates, artifacts, replicated, {**USUAL_NATS, **spec.noise_nats}
        )
        seeds[name] = seed_result(spec.candidates, measures)
    for section, names in special.items():
        for name in names if replicated else ():
            measures = parts[section].measures(name, spec.candidates, artifacts, replicated)
            seeds[name] = seed_result(spec.candidates, measures)
    document: Comparison = {
        "benchmarks": benchmarks,
        "held_out": found["held_out"],
        "judged": found["judged"],
        "contamination": contamination_of(
            spec.candidates,
            benchmarks,
            artifacts,
            searches,
            {name: parts[section] for section, names in special.items() for name in names},
        ),
        "candidates": [
            {
                "name": c.name,
                "kind": c.kind,
                "base": c.base,
                "unmerged": c.unmerged,
                "group": c.group,
            }
            for c in beside_base(spec.candidates)
        ],
        "groups": seed_groups(spec.candidates),
        "seeds": seeds if replicated else {},
        "budget": None,
    }
    changes = changes_of(document, parts)
    if not spec.texts:
        document = without_texts(document)
    budget = decide_budget(spec.budget, spec.on_undecided, changes) if spec.budget else None
    document["budget"] = budget
    rows = write_tables(document, out, headline(document, changes))
    return {"rows": rows} | ({"budget": budget["verdict"]} if budget else {})


def _compare_benchmark(
    benchmark: str,
    candidates: Sequence[ComparedCandidate],
    artifacts: Mapping[str, Path],
    replicated: Set[str],
    nats: Mapping[str, float],
) -> tuple[BenchmarkResult, dict[str, Measure]]:
    """Return the result of a benchmark, and the answers of those that seeds tell something of."""
    scored = {
        candidate.name: load_scored(candidate, benchmark, artifacts)
        for candidate in beside_base(candidates)
        if benchmark in candidate.categories
    }
    if not scored:
        raise ScoreError(f"No candidate was scored on {benchmark!r}. Score one, or drop it.")
    first = next(iter(scored.values()))
    categories, subjects = list(first.categories), first.subjects
    for other in scored.values():
        _check_same_questions(first, other, benchmark)
    pairs = {
        name: (scored[run.candidate.base], run)
        for name, run in scored.items()
        if run.candidate.base in scored
    }
    for base, run in pairs.values():
        _check_same_prompts(base, run, benchmark)
    differences = {name: _differences(*pair, nats) for name, pair in pairs.items()}
    tallies = {
        name: {category: _tally(candidate.by_category[category]) for category in categories}
        for name, candidate in scored.items()
    }
    by_subject = {
        name: {subject: _tally(part) for subject, part in candidate.by_subject.items()}
        for name, candidate in scored.items()
    }
    result: BenchmarkResult = {
        "protocol": {
            **first.shared,
            "fewer_shots": max(candidate.shortened for candidate in scored.values()),
        },
        "category_map": first.category_map,
        "categories": categories,
        "candidates": tallies,
        "differences": differences,
        "subjects": by_subject if subjects else {},
        "subject_differences": {
            name: _subject_differences(*pair, nats) for name, pair in pairs.items() if subjects
        },
        "macro_averages": {
            name: fmean(one["accuracy"] for one in found.values())
            for name, found in by_subject.items()
            if len(found) > 1
        },
        "notes": [*_notes(scored, tallies), *noise_note(differences, first.protocol["dtype"])],
    }
    if thoughts := thoughts_of({name: one.protocol for name, one in scored.items()}):
        result["thoughts"] = thoughts
    wanted = {name: found for name, found in scored.items() if name in replicated}
    measures = {category: _measure(wanted, category) for category in categories if wanted}
    return result, measures


def _measure(scored: Mapping[str, Scored], category: str) -> Measure:
    """Return the scores of a category's questions, in percentage points."""
    values = {
        name: (100 * one.by_category[category].values).tolist() for name, one in scored.items()
    }
    return Measure(unit="points", values=values)


def _check_same_prompts(base: Scored, run: Scored, benchmark: str) -> None:
    other = run.other_prompts(base)
    if other and not run.candidate.brings_template:
        raise ScoreError(
            f"{run.candidate.name!r} and its base {base.candidate.name!r} were not asked the same "
            f"prompts of {benchmark!r} ({len(other):,} of {len(run.ids):,} differ, the first is "
            f"{other[0]}), so their scores cannot be set side by side. Use one chat template and "
            "one protocol for both."
        )


def _differences(base: Scored, run: Scored, nats: Mapping[str, float]) -> dict[str, Difference]:
    """Return the difference in each category; the average, named in advance, is decided alone."""
    found = {
        category: _difference(
            base, base.by_category[category], run.by_category[category], nats[run.protocol["dtype"]]
        )
        for category in run.categories
    }
    decide_together([one for name, one in found.items() if name != AVERAGE], "categories")
    return found


def _subject_differences(
    base: Scored, run: Scored, nats: Mapping[str, float]
) -> dict[str, Difference]:
    before, after = base.by_subject, run.by_subject
    found = {
        subject: _difference(base, before[subject], after[subject], nats[run.protocol["dtype"]])
        for subject in run.subjects
    }
    decide_together([*found.values()], "subjects")
    return found


def _difference(base: Scored, before: Scores, after: Scores, nats: float) -> Difference:
    return {
        "base": base.candidate.name,
        "noise": numeric_noise(before, after, nats),
        **paired_difference(before.values, after.values),
    }


def _tally(scores: Scores) -> Tally:
    return tally(scores.values.tolist())


def _check_same_questions(first: Scored, other: Scored, benchmark: str) -> None:
    """Columns of one table share questions and categories, also across several bases.

    How many questions are too long for all their examples is a matter of the base, and so is how
    its tokenizer reads a template.
    """
    same = (
        first.shared == other.shared
        and first.category_map == other.category_map
        and first.ids.equals(other.ids)
    )
    if not same:
        raise ScoreError(
            f"{first.candidate.name!r} and {other.candidate.name!r} were not asked the same "
            f"questions of {benchmark!r} under the same protocol, so one table cannot hold both. "
            "Score both again with the current settings of this benchmark."
        )


def _notes(
    scored: Mapping[str, Scored], tallies: Mapping[str, Mapping[str, Tally]]
) -> Iterator[Note]:
    """Yield in words what the numbers alone would hide."""
    first = next(iter(scored.values()))
    chance = _CHANCE.get(first.protocol["kind"])
    averages = [categories[AVERAGE] for categories in tallies.values()]
    if chance is not None and all(_near(score, chance) for score in averages):
        text = (
            f"Every candidate is within two standard errors of guessing ({100 * chance:.0f} %), so "
            "this benchmark cannot tell these models apart."
        )
        yield {"code": "near_chance", "text": text}
    yield from marker_notes(
        {name: found.protocol.get("split_markers", {}) for name, found in scored.items()}
    )
    yield from control_text_note(
        {name: found.protocol.get("control_text", 0) for name, found in scored.items()}
    )
    yield from thought_notes({name: found.protocol for name, found in scored.items()})
    for name, run in scored.items():
        if base := scored.get(run.candidate.base or ""):
            differing, other = run.other_tokens(base), run.other_prompts(base)
            yield from differing_note(base.candidate.name, name, differing, len(run.ids))
            yield from other_prompts_note(base.candidate.name, name, len(other), len(run.ids))
    yield from unmerged_note([name for name, found in scored.items() if found.candidate.unmerged])
    if len({found.shortened for found in scored.values()}) > 1:
        counts = ", ".join(f"{name} {found.shortened:,}" for name, found in scored.items())
        text = f"Questions asked with fewer examples, being too long for the model: {counts}."
        yield {"code": "fewer_shots_differ", "text": text}
    of_bases = [one.prompts for one in scored.values() if not one.candidate.brings_template]
    if any(not prompts.equals(of_bases[0]) for prompts in of_bases):
        text = (
            "The prompts of the base models differ, as their chat templates or the lengths of "
            "their contexts do: compare a run with its own base only."
        )
        yield {"code": "prompts_differ_between_bases", "text": text}


def _near(score: Tally, chance: float) -> bool:
    # A model that always guesses right or wrong on few questions has an error of zero.
    stderr = max(score["stderr"] or 0.0, math.sqrt(chance * (1 - chance) / score["n"]))
    return bool(abs(score["accuracy"] - chance) <= 2 * stderr)
