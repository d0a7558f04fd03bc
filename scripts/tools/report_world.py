"""Made-up artifacts of many candidates on MMLU, as the stages write them, for `bench_report`.

Questions have MMLU's subjects, numbers and lengths; a fine-tune's answers are its base's with some
noise, so that about one in twelve flips. Category scores come from the stage's own function, and
every step of every candidate has a manifest. Only the first fine-tunes are made; the files of later
ones are theirs over again, which costs a report as much and is made in less time.
"""

import hashlib
import json
import math
import os
import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from scripts.lib.benchmarks.multiple_choice.scores import AsScored
from scripts.lib.contamination.texts import rows_of
from scripts.lib.data.parquet import table_of
from scripts.lib.questions.rows import LETTERS
from scripts.lib.score.aggregation import AggregateSpec, aggregate_scores
from scripts.lib.score.files import PROTOCOL_FILE, PROVENANCE_FILE, QUESTIONS_TABLE
from scripts.tools.made_texts import SHOTS, make_subject

BENCHMARK = "mmlu"
QUESTIONS_ID = f"benchmarks/{BENCHMARK}-{'0' * 20}"

_SEED = 0
_CHOICES = 4
_SPREAD = 1.0
"""Of the log-probability of a choice, in nats."""
_MOVED = 0.25
"""Of what a fine-tune adds to it."""
_RIGHT = 0.7
"""What is right is likelier by, in nats."""
_STEPS = 60
_DISTINCT = 16
"""Fine-tunes with answers of their own."""

SCORES_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("question_id", "subject", "prediction", "answer")),
        ("correct", pa.bool_()),
        ("logprobs", pa.list_(pa.float64())),
        *((name, pa.string()) for name in ("response", "prompt_hash", "token_hash")),
        ("shots", pa.int64()),
        ("metrics", pa.string()),
    ]
)
"""Columns of a score; those of scoring itself come with the libraries that ask models."""

Row = dict[str, Any]


@dataclass
class World:
    """What was made.

    Attributes:
        folder: Holds the artifacts under their ids.
        candidates: As the specs of comparison and report list them.
        manifests: Id -> manifest.
    """

    folder: Path
    candidates: list[Row] = field(default_factory=list)
    manifests: dict[str, Row] = field(default_factory=dict)

    def specs(self) -> tuple[Row, Row]:
        """Return the specs of the comparison and of the report."""
        compared = {
            "candidates": self.candidates,
            "benchmarks": [BENCHMARK],
            "held_out": [],
            "judged": [],
        }
        report = {
            "title": "Many fine-tunes",
            "candidates": self.candidates,
            "legacy": [],
            "questions": [{"benchmark": BENCHMARK, "questions": QUESTIONS_ID}],
        }
        return compared, report


def make_world(folder: Path, candidates: int, subjects: Sequence[str]) -> World:
    """Make the artifacts of a base and its fine-tunes.

    Args:
        folder: Existing empty folder.
        candidates: How many in all.
        subjects: Subjects of MMLU, each with all of its questions.
    """
    world = World(folder)
    place = folder / QUESTIONS_ID
    for subject in subjects:
        make_subject(place, subject)
    right = {
        subject: [row["answer"] for row in rows_of(place / "test" / f"{subject}.jsonl")]
        for subject in subjects
    }
    draw = random.Random(_SEED)
    base = {
        subject: [_logprobs(draw, answer) for answer in answers]
        for subject, answers in right.items()
    }
    model = _manifest(world, "models", "base", {"source": "path"}, {})
    _candidate(world, "base", None, {"models": model}, subjects)
    _score(world, world.candidates[0], right, base)
    for number in range(1, candidates):
        name = f"run-{number:03}"
        artifacts = {"models": model, **_training(world, name, number)}
        _candidate(world, name, "base", artifacts, subjects)
        if number > _DISTINCT:
            _again(world, world.candidates[number - _DISTINCT], world.candidates[number])
            continue
        moved = {
            subject: [[one + draw.gauss(0, _MOVED) for one in row] for row in rows]
            for subject, rows in base.items()
        }
        _score(world, world.candidates[number], right, moved)
    (folder / "world.json").write_text(
        json.dumps({"candidates": world.candidates, "manifests": world.manifests})
    )
    return world


def read_world(folder: Path) -> World:
    """Return what `make_world` made in a folder."""
    found = json.loads((folder / "world.json").read_text())
    return World(folder, found["candidates"], found["manifests"])


def _logprobs(draw: random.Random, right: int) -> list[float]:
    weighed = [draw.gauss(0, _SPREAD) + _RIGHT * (place == right) for place in range(_CHOICES)]
    total = math.log(math.fsum(map(math.exp, weighed)))
    return [one - total - 1.0 for one in weighed]


def _candidate(
    world: World,
    name: str,
    base: str | None,
    artifacts: Mapping[str, str],
    subjects: Sequence[str],
) -> None:
    """Add a candidate with its manifests."""
    specs = [{"subject": subject, "shots": SHOTS, "kind": BENCHMARK} for subject in subjects]
    scores = [
        _manifest(world, "scores", f"{name}-{BENCHMARK}-{spec['subject']}", spec, {})
        for spec in specs
    ]
    categories = _manifest(world, "categories", f"{name}-{BENCHMARK}", {}, {})
    world.candidates.append(
        {
            "name": name,
            "kind": "run" if base else "base",
            "base": base,
            "unmerged": False,
            "artifacts": dict(artifacts),
            "scores": {BENCHMARK: scores},
            "categories": {BENCHMARK: categories},
            "judgements": {},
            "trained_on": "chat/made" if base else None,
        }
    )


def _score(
    world: World,
    candidate: Row,
    right: Mapping[str, Sequence[int]],
    logprobs: Mapping[str, Sequence[Sequence[float]]],
) -> None:
    """Write the scores of a candidate and sum them up."""
    scores = [world.folder / id_ for id_ in candidate["scores"][BENCHMARK]]
    for folder, (subject, answers) in zip(scores, right.items(), strict=True):
        _write_scores(folder, subject, answers, logprobs[subject])
    out = world.folder / candidate["categories"][BENCHMARK]
    out.mkdir(parents=True)
    spec = AggregateSpec(
        kind=BENCHMARK, benchmark=BENCHMARK, categories="hendrycks", subjects=None, metric=None
    )
    aggregate_scores(spec, scores, out, AsScored())


def _again(world: World, one: Row, other: Row) -> None:
    """Give a candidate the files of another."""
    for source, target in zip(
        (*one["scores"][BENCHMARK], one["categories"][BENCHMARK]),
        (*other["scores"][BENCHMARK], other["categories"][BENCHMARK]),
        strict=True,
    ):
        shutil.copytree(world.folder / source, world.folder / target, copy_function=os.link)


def _write_scores(
    folder: Path, subject: str, right: Sequence[int], logprobs: Sequence[Sequence[float]]
) -> None:
    folder.mkdir(parents=True)
    rows = []
    for place, (answer, weighed) in enumerate(zip(right, logprobs, strict=True)):
        said = list(weighed).index(max(weighed))
        name = hashlib.sha256(f"{subject}:{place}".encode()).hexdigest()[:16]
        rows.append(
            {
                "question_id": f"{subject}:{place}",
                "subject": subject,
                "prediction": LETTERS[said],
                "answer": LETTERS[answer],
                "correct": said == answer,
                "logprobs": list(weighed),
                "prompt_hash": name,
                "token_hash": name,
                "shots": SHOTS,
            }
        )
    pq.write_table(table_of(rows, SCORES_SCHEMA), folder / QUESTIONS_TABLE)
    protocol = {"kind": BENCHMARK, "shots": SHOTS, "chat_template": False, "limit": None}
    protocol |= {"dtype": "bfloat16", "max_new_tokens": None, "on_long_prompt": "error"}
    protocol |= {"backend": "shared-prefix", "fewer_shots": 0}
    (folder / PROTOCOL_FILE).write_text(json.dumps(protocol))
    provenance = {"made_of": {"model": "0" * 64}, "versions": {"lm-eval": "0.4"}}
    (folder / PROVENANCE_FILE).write_text(json.dumps(provenance))


def _training(world: World, name: str, number: int) -> dict[str, str]:
    """Add the manifests of a training with its curves, of the merge and of its proof."""
    losses = [
        0.4 + 2 * math.exp(-step / 12) + 0.05 * math.sin(step + number) for step in range(_STEPS)
    ]
    history: list[Row] = [
        {"step": step + 1, "epoch": step / _STEPS, "loss": loss} for step, loss in enumerate(losses)
    ]
    history += [
        {"step": step, "epoch": step / _STEPS, "valid_loss": losses[step - 1] + 0.1}
        for step in range(15, _STEPS + 1, 15)
    ]
    verdict = {"verdict": "healthy", "evidence": "The loss fell.", "remedy": "Nothing."}
    spec = {
        "lora": {"r": 16, "alpha": 32, "dropout": 0.05},
        "training": {"learning_rate": 1e-4 * number, "scheduler": "cosine", "batch_size": 16}
        | {"seed": number, "dtype": "bfloat16"},
    }
    facts = {"history": history, "verdict": verdict, "steps": _STEPS, "kept_step": _STEPS}
    facts |= {"trainable_parameters": 4_884_480, "train_rows": 880, "trained_tokens": 31_204}
    checks = [{"name": "logits_agree", "passed": True, "evidence": "largest gap 0.0003"}]
    proof = {"proof": {"passed": True, "checks": checks}}
    return {
        "adapters": _manifest(world, "adapters", name, spec, facts),
        "merged": _manifest(world, "merged", name, {}, {}),
        "proofs": _manifest(world, "proofs", name, {}, proof),
    }


def _manifest(world: World, stage: str, slug: str, spec: Row, facts: Row) -> str:
    content = hashlib.sha256(f"{stage}/{slug}".encode()).hexdigest()
    id_ = f"{stage}/{slug.replace('_', '-')}-{content[:20]}"
    world.manifests[id_] = {
        "id": id_,
        "stage": stage,
        "slug": slug,
        "key": content[:20],
        "content": content,
        "spec": spec,
        "pins": {"pyarrow": "24", "torch": "2.15", "transformers": "5.23"},
        "inputs": {},
        "files": [],
        "facts": facts,
        "execution": {"seconds": 61.5, "peak_gib": 3.1, "threads": 2},
    }
    return id_
