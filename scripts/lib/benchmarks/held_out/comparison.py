"""Every fine-tune beside its base on a dataset's held-out conversations."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from scripts.lib.benchmarks.held_out.document import (
    ADHERENCE,
    Adherence,
    HeldOutDifference,
    HeldOutResult,
    HeldOutScoreFile,
    HeldOutSection,
    Kept,
    LossDifference,
    values_of,
)
from scripts.lib.benchmarks.held_out.tables import markdown, tidy_rows
from scripts.lib.compare.asked_notes import left_out_notes, split_notes
from scripts.lib.compare.between_seeds import Measure
from scripts.lib.compare.changes import Change, ends
from scripts.lib.compare.document import UntouchedMeasure
from scripts.lib.compare.notes import (
    differing_note,
    marker_notes,
    other_prompts_note,
    unmerged_note,
)
from scripts.lib.compare.spec import ComparedCandidate, beside_base
from scripts.lib.compare.thoughts import thought_notes, thoughts_of
from scripts.lib.errors import ScoreError
from scripts.lib.score.corrections import decide_together
from scripts.lib.score.documents import Note, ScoreProtocol, shared_protocol
from scripts.lib.score.paired_documents import DecidedDifference
from scripts.lib.score.statistics import paired_difference
from scripts.lib.score.token_hashes import other_tokens

__all__ = [
    "HeldOutScore",
    "changes",
    "compare_held_out",
    "markdown",
    "measures",
    "section",
    "tidy_rows",
    "untouched",
]


@dataclass(frozen=True, kw_only=True)
class HeldOutScore:
    """What one candidate got, read from its category scores.

    Attributes:
        name: The candidate.
        base: Name of the candidate that it is compared with, or None.
        unmerged: Whether model and adapter were scored side by side.
        brings_template: Whether it came with a chat template, which may not be that of its base.
        document: Parsed `{benchmark}.held_out.json`.
        kept: The lines of `{benchmark}.held_out.jsonl`, by question.
    """

    name: str
    base: str | None
    unmerged: bool
    brings_template: bool = False
    document: HeldOutScoreFile
    kept: Mapping[str, Kept]

    @classmethod
    def read(
        cls,
        folder: Path,
        benchmark: str,
        *,
        name: str,
        base: str | None,
        unmerged: bool,
        brings_template: bool = False,
    ) -> "HeldOutScore":
        """Read the two files of a candidate."""
        document = json.loads((folder / f"{benchmark}.held_out.json").read_text(encoding="utf-8"))
        text = (folder / f"{benchmark}.held_out.jsonl").read_text(encoding="utf-8")
        kept = [json.loads(line) for line in text.split("\n") if line]
        return cls(
            name=name,
            base=base,
            unmerged=unmerged,
            brings_template=brings_template,
            document=document,
            kept={one["question_id"]: one for one in kept},
        )

    @property
    def asked(self) -> dict[str, str]:
        """Prompt hash of every question."""
        return {id_: one["prompt_hash"] for id_, one in self.kept.items()}

    @property
    def tokens(self) -> dict[str, str]:
        """Hash of the tokens of every question."""
        return {id_: one["token_hash"] for id_, one in self.kept.items()}

    @property
    def shared(self) -> ScoreProtocol:
        """What of the protocol is the same for all that stand side by side."""
        return shared_protocol(self.document["protocol"])

    @property
    def result(self) -> HeldOutResult:
        """What is stated of the candidate."""
        found = self.document
        return {
            "n": found["n"],
            "tokens": found["tokens"],
            "bytes": found["bytes"],
            "loss": found["loss"],
            "perplexity": found["perplexity"],
            "bits_per_byte": found["bits_per_byte"],
            "adherence": found["adherence"],
        }


def section(
    benchmark: str,
    candidates: Sequence[ComparedCandidate],
    artifacts: Mapping[str, Path],
    manifests: Mapping[str, object],
) -> HeldOutSection:
    """Return the section of one benchmark, found by the artifacts that the candidates name.

    Args:
        benchmark: Its name.
        candidates: All candidates.
        artifacts: Folder of every category score that they name.
        manifests: Manifests by artifact id; none is needed here.
    """
    return compare_held_out(benchmark, _read(benchmark, candidates, artifacts))


def measures(
    benchmark: str,
    candidates: Sequence[ComparedCandidate],
    artifacts: Mapping[str, Path],
    names: Set[str],
) -> dict[str, Measure]:
    """Return what is measured of each conversation: its share of the loss, then each adherence.

    Args:
        benchmark: Its name.
        candidates: All candidates.
        artifacts: Folder of every category score that they name.
        names: The candidates whose numbers are wanted.
    """
    scores = _read(benchmark, [c for c in candidates if c.name in names], artifacts)
    # In the order of one for all: each file has its own.
    rows = {one.name: [one.kept[id_] for id_ in scores[0].kept] for one in scores}
    losses = {name: [-share for share in _shares(kept)] for name, kept in rows.items()}
    found = {"loss": Measure(unit="nats", values=losses)}
    for way in ADHERENCE:
        values = {n: [100 * value for value in values_of(k, way)] for n, k in rows.items()}
        if all(values.values()):
            found[way] = Measure(unit="points", values=values)
    return found


def _read(
    benchmark: str, candidates: Sequence[ComparedCandidate], artifacts: Mapping[str, Path]
) -> list[HeldOutScore]:
    return [
        HeldOutScore.read(
            artifacts[c.categories[benchmark]],
            benchmark,
            name=c.name,
            base=c.base,
            unmerged=c.unmerged,
            brings_template=c.brings_template,
        )
        for c in beside_base(candidates)
        if benchmark in c.categories
    ]


def untouched(
    benchmark: str,
    base: ComparedCandidate,
    run: ComparedCandidate,
    artifacts: Mapping[str, Path],
    found: Set[str],
) -> tuple[Set[str], UntouchedMeasure | None]:
    """Return the loss on the conversations that stand in no training row.

    Its mean is over the tokens of these alone, so that it is what the benchmark would have said had
    the others not been in it.

    Args:
        benchmark: Its name.
        base: The candidate's base.
        run: The candidate.
        artifacts: Folder of every category score that they name.
        found: Conversations that stand in a training row.

    Returns:
        The conversations that were asked, and the measure; None where none of them was found, or
        all were.
    """
    scores = {one.name: one.kept for one in _read(benchmark, [base, run], artifacts)}
    before, after = scores[base.name], scores[run.name]
    left = [id_ for id_ in after if id_ not in found]
    if not left or len(left) == len(after):
        return after.keys(), None
    sides = [[kept[id_] for id_ in left] for kept in (before, after)]
    whole = _loss([before[id_] for id_ in after], list(after.values()))
    change = _loss(*sides)
    base_loss, run_loss = (
        math.fsum(one["nats"] for one in kept) / sum(one["tokens"] for one in kept)
        for kept in sides
    )
    return after.keys(), {
        "measure": "loss",
        "unit": "nats",
        "n": len(left),
        "base": base_loss,
        "run": run_loss,
        "difference": change["difference"],
        "interval": change["interval"],
        "everywhere": whole["difference"],
        "p_value": change["p_value"],
        "verdict": change["verdict"],
    }


def changes(section: HeldOutSection) -> dict[str, dict[str, Change]]:
    """Return candidate -> measure -> what was tested; the loss, which is perplexity's, first."""
    found: dict[str, dict[str, Change]] = {}
    for name, one in section["differences"].items():
        loss = one["loss"]
        found[name] = {
            "perplexity": Change(
                difference=loss["difference"],
                interval=ends(loss["interval"]),
                unit="nats",
                verdict=loss["verdict"],
            )
        }
        for way in ADHERENCE:
            if rate := one[way]:
                found[name][way] = Change(
                    difference=rate["difference"],
                    interval=ends(rate["interval"]),
                    unit="points",
                    verdict=rate["verdict"],
                )
    return found


def compare_held_out(benchmark: str, scores: Sequence[HeldOutScore]) -> HeldOutSection:
    """Return the section of one benchmark.

    Args:
        benchmark: Its name.
        scores: Of all candidates, in the order of tables.

    Raises:
        ScoreError: There are no scores, or a candidate was not asked what its base was.
    """
    if not scores:
        raise ScoreError(f"No candidate was scored on {benchmark!r}. Score one, or drop it.")
    first = scores[0]
    for other in scores[1:]:
        _check_same_protocol(benchmark, first, other)
    by_name = {score.name: score for score in scores}
    found: HeldOutSection = {
        "protocol": first.shared,
        "split": first.document["split"],
        "forms": first.document["forms"],
        "candidates": {score.name: score.result for score in scores},
        "differences": {
            score.name: _difference(benchmark, by_name[score.base], score)
            for score in scores
            if score.base in by_name
        },
        "notes": list(_notes(scores)),
    }
    if thoughts := thoughts_of({score.name: score.document["protocol"] for score in scores}):
        found["thoughts"] = thoughts
    return found


def _check_same_protocol(benchmark: str, first: HeldOutScore, other: HeldOutScore) -> None:
    same = (
        first.shared == other.shared
        and first.document["split"] == other.document["split"]
        and first.kept.keys() == other.kept.keys()
    )
    if not same:
        raise ScoreError(
            f"{first.name!r} and {other.name!r} were not asked the same conversations of "
            f"{benchmark!r} under the same protocol, so one table cannot hold both. Score both "
            "again with the current settings of this benchmark."
        )


def _difference(benchmark: str, base: HeldOutScore, run: HeldOutScore) -> HeldOutDifference:
    other = _other_prompts(base, run)
    if other and not run.brings_template:
        raise ScoreError(
            f"{run.name!r} and its base {base.name!r} were not asked the same prompts of "
            f"{benchmark!r} ({len(other):,} of {len(run.asked):,} differ, the first is {other[0]}),"
            " so they cannot be set side by side. Use one chat template for both."
        )
    before = [base.kept[id_] for id_ in run.kept]
    after = list(run.kept.values())
    rates: dict[Adherence, DecidedDifference] = {}
    for name in ADHERENCE:
        one, two = values_of(before, name), values_of(after, name)
        if one:
            rates[name] = paired_difference(one, two)
    decide_together([*rates.values()], "categories")
    return {
        "base": base.name,
        "loss": _loss(before, after),
        "stops": rates.get("stops"),
        "format": rates.get("format"),
        "language": rates.get("language"),
    }


def _other_prompts(base: HeldOutScore, run: HeldOutScore) -> list[str]:
    """Return the conversations that a candidate was asked in other words than its base."""
    return sorted(id_ for id_, prompt in run.asked.items() if base.asked[id_] != prompt)


def _loss(before: Sequence[Kept], after: Sequence[Kept]) -> LossDifference:
    """Return the difference in nats per token, the log of the ratio of perplexities.

    Each conversation counts with all its tokens, so that the mean of what the conversations add is
    exactly the difference of the two losses.
    """
    found = paired_difference(_shares(before), _shares(after))
    stderr, interval, detectable = found["stderr"], found["interval"], found["detectable"]
    return {
        "difference": -found["difference"] / 100,
        "stderr": None if stderr is None else stderr / 100,
        "improved": found["gained"],
        "worsened": found["lost"],
        "n": found["n"],
        "p_value": found["p_value"],
        "test": found["test"],
        "interval": interval and [-end / 100 for end in reversed(interval)],
        "detectable": None if detectable is None else detectable / 100,
        "family": found["family"],
        "p_corrected": found["p_corrected"],
        "verdict": found["verdict"],
    }


def _shares(kept: Sequence[Kept]) -> list[float]:
    """Return what each conversation adds to minus the loss, times their number."""
    tokens = sum(one["tokens"] for one in kept)
    return [-one["nats"] * len(kept) / tokens for one in kept]


def _notes(scores: Sequence[HeldOutScore]) -> Iterator[Note]:
    """Yield in words what the numbers alone would hide."""
    document = scores[0].document
    yield from split_notes(document["split"])
    yield from left_out_notes(document["protocol"])
    if over := max(score.document["references_over_limit"] for score in scores):
        text = (
            f"{over:,} reference answers are longer than max_new_tokens, so that an answer like "
            "them counts as one that did not stop."
        )
        yield {"code": "references_over_limit", "text": text}
    yield from marker_notes(
        {s.name: s.document["protocol"].get("split_markers", {}) for s in scores}
    )
    yield from thought_notes({score.name: score.document["protocol"] for score in scores})
    bases = {score.name: score for score in scores}
    for score in scores:
        if base := bases.get(score.base or ""):
            other = _other_prompts(base, score)
            same = {id_: read for id_, read in score.tokens.items() if id_ not in set(other)}
            differing = other_tokens(base.tokens, same)
            yield from differing_note(base.name, score.name, differing, len(score.tokens))
            yield from other_prompts_note(base.name, score.name, len(other), len(score.tokens))
    yield from unmerged_note([score.name for score in scores if score.unmerged])
    of_bases = [score for score in scores if not score.brings_template]
    if len({score.document["prompt_set"] for score in of_bases}) > 1:
        text = (
            "The chat templates of the base models differ: compare a run with its own base only, "
            "and bases by bits per byte, not by perplexity."
        )
        yield {"code": "prompts_differ_between_bases", "text": text}
