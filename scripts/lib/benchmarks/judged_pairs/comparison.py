"""The part of a comparison that a judge decided: who answered better, and how far to trust it."""

import json
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Literal

from scripts.lib.benchmarks.judged_pairs.document import (
    Example,
    JudgedResult,
    JudgedScoreFile,
    JudgedSection,
    JudgeStated,
    OwnJudge,
    PairFigures,
)
from scripts.lib.benchmarks.judged_pairs.scores import figures_file
from scripts.lib.benchmarks.judged_pairs.tables import markdown, tidy_rows
from scripts.lib.benchmarks.judged_pairs.untouched import prompt_lines, untouched
from scripts.lib.compare.asked_notes import left_out_notes, split_notes
from scripts.lib.compare.between_seeds import Measure
from scripts.lib.compare.changes import Change, ends, name_of
from scripts.lib.compare.notes import differing_note, marker_notes, other_reading_note
from scripts.lib.compare.spec import (
    ComparedCandidate,
    JoinedManifest,
    ManifestInput,
    beside_base,
)
from scripts.lib.compare.thoughts import open_thoughts_note
from scripts.lib.errors import ScoreError
from scripts.lib.questions.categories import AVERAGE
from scripts.lib.score.documents import Note

__all__ = ["changes", "compare_judged", "markdown", "measures", "section", "tidy_rows", "untouched"]

EXAMPLES = 2
"""Prompts of each decision that are shown: the first of the file, not the best."""

# What it means that a service was asked without a parameter.
_REFUSED = {
    "temperature": "The service samples its replies: asked again, it may decide otherwise.",
    "max_tokens": "Its replies could be of any length.",
}

_UNMERGED: Note = {
    "code": "unmerged",
    "text": "Not merged: model and adapter answered side by side; a merged model rounds its weights"
    " and may answer a little differently.",
}

Edges = Mapping[str, Sequence[ManifestInput]]
"""What an artifact was made from, by the name of the input."""

Inputs = Mapping[Literal["judgements", "base"], Edges]
"""What the judgements on a tuned candidate, and its base's answers, were made from."""

_RATES = {"win": 100.0, "tie": 50.0, "loss": 0.0}
"""Decision on a prompt -> win rate there, in percent."""

# Readings of a judge without regard to order agree; below this rate the judge tells little.
_LEAST_CONSISTENT = 0.5


def section(
    benchmark: str,
    candidates: Sequence[ComparedCandidate],
    artifacts: Mapping[str, Path],
    manifests: Mapping[str, JoinedManifest],
) -> JudgedSection:
    """Return the section of one benchmark, found by the artifacts that the candidates name.

    Args:
        benchmark: Its name.
        candidates: All candidates.
        artifacts: Folder of every category score that they name.
        manifests: Manifests by artifact id.
    """
    judged = [c for c in beside_base(candidates) if benchmark in c.judgements]
    answers = {c.name: c.scores[benchmark][0] for c in candidates if benchmark in c.scores}
    inputs: dict[str, Inputs] = {
        c.name: {
            "judgements": manifests[c.judgements[benchmark]]["inputs"],
            "base": manifests[answers[str(c.base)]]["inputs"],
        }
        for c in judged
    }
    return compare_judged(
        benchmark,
        {c.name: str(c.base) for c in judged},
        {c.name: artifacts[c.categories[benchmark]] for c in judged},
        inputs,
        unmerged={c.name for c in judged if c.unmerged},
        own_templates={c.name for c in judged if c.brings_template},
    )


def measures(
    benchmark: str,
    candidates: Sequence[ComparedCandidate],
    artifacts: Mapping[str, Path],
    names: Set[str],
) -> dict[str, Measure]:
    """Return the win rate on each prompt, in percent: of all, then of each category.

    A base's is a half by definition, so that the mean of a difference is the win rate less 50.

    Args:
        benchmark: Its name.
        candidates: All candidates.
        artifacts: Folder of every category score that they name.
        names: The candidates whose numbers are wanted.

    Raises:
        ScoreError: Two runs on one base were not judged on the same prompts.
    """
    judged = [c for c in candidates if c.name in names and benchmark in c.judgements]
    lines = {c.name: prompt_lines(artifacts[c.categories[benchmark]], benchmark) for c in judged}
    if not lines:
        return {}
    prompts = {line["prompt_id"]: line["category"] for line in next(iter(lines.values()))}
    rates: dict[str, dict[str, float]] = {}
    for one in judged:
        won = {line["prompt_id"]: _RATES[line["decision"]] for line in lines[one.name]}
        if won.keys() != prompts.keys():
            raise ScoreError(
                f"{one.name!r} and {judged[0].name!r} were not judged on the same prompts of"
                f" {benchmark!r}, so their win rates cannot be set side by side. Score both again"
                " with the current settings of this benchmark."
            )
        rates |= {one.name: won, str(one.base): dict.fromkeys(prompts, _RATES["tie"])}
    categories = sorted({name for name in prompts.values() if name is not None})
    parts = {AVERAGE: list(prompts)} | {
        name: [id_ for id_, category in prompts.items() if category == name] for name in categories
    }
    return {
        part: Measure(
            unit="points",
            values={name: [won[id_] for id_ in ids] for name, won in rates.items()},
        )
        for part, ids in parts.items()
    }


def changes(section: JudgedSection) -> dict[str, dict[str, Change]]:
    """Return candidate -> category -> how far its win rate is from 50 %, that of all first."""
    found: dict[str, dict[str, Change]] = {}
    for name, one in section["candidates"].items():
        parts: dict[str, PairFigures] = {AVERAGE: one, **one["categories"]}
        found[name] = {
            name_of(part): Change(
                difference=100 * rate - 50,
                interval=ends(interval and [100 * end - 50 for end in interval]),
                unit="points",
                verdict=figures["verdict"],
            )
            for part, figures in parts.items()
            for rate, interval in [(figures["win_rate"], figures["interval"])]
            if rate is not None
        }
    return found


def compare_judged(
    benchmark: str,
    tuned: Mapping[str, str],
    folders: Mapping[str, Path],
    inputs: Mapping[str, Inputs],
    *,
    unmerged: Set[str],
    own_templates: Set[str],
) -> JudgedSection:
    """Return the section of one benchmark of judged pairs.

    Args:
        benchmark: Its name.
        tuned: Tuned candidate -> its base.
        folders: Tuned candidate -> folder of what its judgements add up to.
        inputs: Tuned candidate -> the `inputs` of the manifests of its `judgements` and of its
            base's answers (`base`).
        unmerged: Those whose model and adapter answered side by side.
        own_templates: Those that came with a chat template, which may not be that of their base.
    """
    found = {name: _read(folders[name], benchmark) for name in tuned}
    first = next(iter(found.values()), None)
    return {
        "judge": _judge(inputs, first),
        "answers": first["answers"] if first else {},
        "split": first["split"] if first else None,
        "candidates": {
            name: _result(
                name,
                base,
                found[name],
                inputs[name],
                [*_examples(folders[name], benchmark)],
                unmerged=name in unmerged,
                own_template=name in own_templates,
            )
            for name, base in tuned.items()
        },
    }


def _judge(inputs: Mapping[str, Inputs], first: JudgedScoreFile | None) -> JudgeStated:
    """Return who judged, with the words for a local judge's model and the hash of its files."""
    judge: OwnJudge = {}
    judges = [one for edges in inputs.values() for one in edges["judgements"].get("judge", ())]
    if judges:
        judge = {"model": _slug(judges[0]["id"]), "content": judges[0]["content"]}
    if first:
        judge |= first["judge"]
    # Not of the judge as such: of what it was asked about one candidate.
    judge.pop("refused", None)
    return judge


def _slug(id_: str) -> str:
    return id_.partition("/")[2].rpartition("-")[0]


def _read(folder: Path, benchmark: str) -> JudgedScoreFile:
    text = (folder / figures_file(benchmark)).read_text(encoding="utf-8")
    found: JudgedScoreFile = json.loads(text)
    return found


def _result(
    name: str,
    base: str,
    found: JudgedScoreFile,
    inputs: Inputs,
    examples: list[Example],
    *,
    unmerged: bool,
    own_template: bool,
) -> JudgedResult:
    result: JudgedResult = {
        "base": base,
        "cut": found["cut"],
        "n": found["n"],
        "wins": found["wins"],
        "losses": found["losses"],
        "ties": found["ties"],
        "equal": found["equal"],
        "win_rate": found["win_rate"],
        "interval": found["interval"],
        "p_value": found["p_value"],
        "family": found["family"],
        "p_corrected": found["p_corrected"],
        "detectable": found["detectable"],
        "verdict": found["verdict"],
        "readings": found["readings"],
        "unreadable": found["unreadable"],
        "first_place": found["first_place"],
        "consistency": found["consistency"],
        "categories": found["categories"],
        "refused": found["judge"].get("refused", {}),
        "notes": [
            *_notes(name, found, inputs),
            *_thought_notes(name, base, found),
            *_token_notes(name, base, found, own_template=own_template),
            *([_UNMERGED] if unmerged else []),
        ],
        "examples": examples,
    }
    if thoughts := found.get("thoughts"):
        result["thoughts"] = thoughts
    return result


def _notes(name: str, found: JudgedScoreFile, inputs: Inputs) -> Iterator[Note]:
    """Yield in words what the figures alone would hide."""
    yield from split_notes(found["split"])
    yield from left_out_notes(found["answers"])
    if own := _own_judge(found["judge"], name, inputs):
        which = {"base": "the base model", "run": "the tuned model"}[own]
        yield {
            "code": "self_preference",
            "text": f"The judge is {which} itself. Models tend to prefer their own answers"
            f" (Panickssery et al., NeurIPS 2024), so this judge may lean to {which}.",
        }
    first, same = found["first_place"], found["consistency"]
    leaning, interval = first["rate"], first["interval"]
    if leaning is not None and interval and not interval[0] <= 0.5 <= interval[1]:
        place = "first" if leaning > 0.5 else "second"
        yield {
            "code": "position_bias",
            "text": f"The judge leans to the answer that stands {place}"
            f" ({100 * leaning:.0f} % to the first place). Both orders were asked, so this"
            " makes ties and not winners.",
        }
    if same["rate"] is not None and same["rate"] < _LEAST_CONSISTENT:
        yield {
            "code": "inconsistent",
            "text": "When the answers change places, the judge agrees with itself in only"
            f" {100 * same['rate']:.0f} % of the prompts: many ties are its doing, and a better"
            " judge may decide otherwise.",
        }
    for name, count in found["judge"].get("refused", {}).items():
        yield {
            "code": f"asked_without_{name}",
            "text": f"The judge's model refuses {name}: {count:,} of {found['readings']:,} replies"
            f" came without. {_REFUSED[name]}",
        }
    cut, longest = found["cut"], found["answers"]["max_new_tokens"]
    if any(cut.values()):
        yield {
            "code": "cut",
            "text": f"Cut at {longest} tokens: {cut['base']:,} answers of the base and"
            f" {cut['run']:,} of the tuned model, of {found['n']:,} each. A judge may take a cut"
            " answer for a bad one; see `max_new_tokens`.",
        }
    if found["unreadable"]:
        yield {
            "code": "unreadable",
            "text": f"{found['unreadable']:,} of {found['readings']:,} replies of the judge held no"
            " verdict that can be read. Their prompts count as ties.",
        }


def _token_notes(
    name: str, base: str, found: JudgedScoreFile, *, own_template: bool
) -> Iterator[Note]:
    """Yield what is to be said where the two did not read the prompts alike, or as meant."""
    split = found["split_markers"]
    yield from marker_notes({base: split["base"], name: split["run"]})
    note = other_reading_note if own_template else differing_note
    yield from note(base, name, found["other_tokens"], found["n"])


def _thought_notes(name: str, base: str, found: JudgedScoreFile) -> Iterator[Note]:
    """Yield what is to be said where answers never left their thought."""
    if thoughts := found.get("thoughts"):
        yield from open_thoughts_note({base: thoughts["base"], name: thoughts["run"]})


def _own_judge(judge: OwnJudge, run: str, inputs: Inputs) -> Literal["base", "run"] | None:
    """Return which of the two models the judge is, as far as bytes or names tell.

    Args:
        judge: What is known of the judge.
        run: Name of the tuned candidate.
        inputs: The inputs of the `judgements` and of the `base`'s answers.
    """
    (base,) = inputs["base"]["model"]
    if judge["kind"] == "local":
        (judging,) = inputs["judgements"]["judge"]
        return "base" if judging["content"] == base["content"] else None
    name = _plain(judge["model"].split("/")[-1])
    return "base" if name == _plain(_slug(base["id"])) else "run" if name == _plain(run) else None


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name.lower()))


def _examples(folder: Path, benchmark: str) -> Iterator[Example]:
    """Yield the first prompts of each decision, those that were not asked about left out."""
    rows = [row for row in prompt_lines(folder, benchmark) if not row["equal"]]
    for decision in ("win", "loss", "tie"):
        found = [row for row in rows if row["decision"] == decision]
        for row in found[:EXAMPLES]:
            yield {
                "prompt_id": row["prompt_id"],
                "decision": row["decision"],
                "request": row["request"],
                "base": row["base"],
                "run": row["run"],
                "base_first": row["base_first"]["verdict"],
                "run_first": row["run_first"]["verdict"],
            }
