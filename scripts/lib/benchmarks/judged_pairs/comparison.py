"""The part of a comparison that a judge decided: who answered better, and how far to trust it."""

import json
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from scripts.lib.benchmarks.judged_pairs.scores import figures_file, prompts_file
from scripts.lib.benchmarks.judged_pairs.tables import markdown, tidy_rows
from scripts.lib.compare.asked_notes import left_out_notes, split_notes
from scripts.lib.compare.spec import Candidate, beside_base
from scripts.lib.score import token_notes
from scripts.lib.score.files import SPLIT_MARKERS

__all__ = ["compare_judged", "markdown", "section", "tidy_rows"]

EXAMPLES = 2
"""Prompts of each decision that are shown: the first of the file, not the best."""

# What it means that a service was asked without a parameter.
_REFUSED = {
    "temperature": "The service samples its replies: asked again, it may decide otherwise.",
    "max_tokens": "Its replies could be of any length.",
}

_UNMERGED = {
    "code": "unmerged",
    "text": "Not merged: model and adapter answered side by side; a merged model rounds its weights"
    " and may answer a little differently.",
}

# Readings of a judge without regard to order agree; below this rate the judge tells little.
_LEAST_CONSISTENT = 0.5


def section(
    benchmark: str,
    candidates: Sequence[Candidate],
    artifacts: Mapping[str, Path],
    manifests: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Return the section of one benchmark, found by the artifacts that the candidates name.

    Args:
        benchmark: Its name.
        candidates: All candidates.
        artifacts: Folder of every category score that they name.
        manifests: Manifests by artifact id.
    """
    judged = [c for c in beside_base(candidates) if benchmark in c.judgements]
    answers = {c.name: c.scores[benchmark][0] for c in candidates if benchmark in c.scores}
    inputs = {
        c.name: {
            edge: manifests[id_]["inputs"]
            for edge, id_ in (
                ("judgements", c.judgements[benchmark]),
                ("base", answers[str(c.base)]),
            )
        }
        for c in judged
    }
    return compare_judged(
        benchmark,
        {c.name: str(c.base) for c in judged},
        {c.name: artifacts[c.categories[benchmark]] for c in judged},
        inputs,
        unmerged={c.name for c in judged if c.unmerged},
    )


def compare_judged(
    benchmark: str,
    tuned: Mapping[str, str],
    folders: Mapping[str, Path],
    inputs: Mapping[str, Mapping[str, Any]],
    *,
    unmerged: Set[str],
) -> dict[str, Any]:
    """Return the section of one benchmark of judged pairs.

    Args:
        benchmark: Its name.
        tuned: Tuned candidate -> its base.
        folders: Tuned candidate -> folder of what its judgements add up to.
        inputs: Tuned candidate -> the `inputs` of the manifests of its `judgements` and of its
            base's answers (`base`).
        unmerged: Those whose model and adapter answered side by side.

    Returns:
        `judge` and `answers` (how both were asked), empty without candidates; the held-out `split`
        that was answered, None for a file's prompts; and for each of the `candidates` its `base`,
        its figures, `refused` (parameters that the judge was asked without), `notes` and
        `examples`.
    """
    found = {name: _read(folders[name], benchmark) for name in tuned}
    first = next(iter(found.values()), {})
    judge = {**_named(inputs), **first.get("judge", {})}
    # Not of the judge as such: of what it was asked about one candidate.
    judge.pop("refused", None)
    return {
        "judge": judge,
        "answers": first.get("answers", {}),
        "split": first.get("split"),
        "candidates": {
            name: {
                "base": base,
                **{k: v for k, v in found[name].items() if k not in _SHARED},
                "refused": found[name]["judge"].get("refused", {}),
                "notes": [
                    *_notes(name, found[name], inputs[name]),
                    *_token_notes(name, base, found[name]),
                    *([_UNMERGED] if name in unmerged else []),
                ],
                "examples": list(_examples(folders[name], benchmark)),
            }
            for name, base in tuned.items()
        },
    }


def _named(inputs: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return the words for a local judge's model, and the hash of its files."""
    judges = [one for edges in inputs.values() for one in edges["judgements"].get("judge", ())]
    if not judges:
        return {}
    return {"model": _slug(judges[0]["id"]), "content": judges[0]["content"]}


def _slug(id_: str) -> str:
    return id_.partition("/")[2].rpartition("-")[0]


_SHARED = ("benchmark", "judge", "answers", "split", "other_tokens", SPLIT_MARKERS)


def _read(folder: Path, benchmark: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        (folder / figures_file(benchmark)).read_text(encoding="utf-8")
    )
    return found


def _notes(
    name: str, found: Mapping[str, Any], inputs: Mapping[str, Any]
) -> Iterator[dict[str, str]]:
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
    if first["interval"] and not first["interval"][0] <= 0.5 <= first["interval"][1]:
        place = "first" if first["rate"] > 0.5 else "second"
        yield {
            "code": "position_bias",
            "text": f"The judge leans to the answer that stands {place}"
            f" ({100 * first['rate']:.0f} % to the first place). Both orders were asked, so this"
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


def _token_notes(name: str, base: str, found: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """Yield what is to be said where the two did not read the prompts alike, or as meant."""
    split = found[SPLIT_MARKERS]
    yield from token_notes.split_notes(
        {who: {SPLIT_MARKERS: split[part]} for who, part in ((base, "base"), (name, "run"))}
    )
    yield from token_notes.differing_note(base, name, found["other_tokens"], found["n"])


def _own_judge(judge: Mapping[str, Any], run: str, inputs: Mapping[str, Any]) -> str | None:
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


def _examples(folder: Path, benchmark: str) -> Iterator[dict[str, Any]]:
    """Yield the first prompts of each decision, those that were not asked about left out."""
    lines = (folder / prompts_file(benchmark)).read_text(encoding="utf-8").split("\n")
    rows = [row for row in map(json.loads, filter(None, lines)) if not row["equal"]]
    for decision in ("win", "loss", "tie"):
        found: Sequence[Mapping[str, Any]] = [row for row in rows if row["decision"] == decision]
        for row in found[:EXAMPLES]:
            yield {key: row[key] for key in ("prompt_id", "decision", "request", "base", "run")} | {
                order: row[order]["verdict"] for order in ("base_first", "run_first")
            }
