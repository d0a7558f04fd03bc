"""Made candidates with scores, and their comparison."""

import csv
import json
from pathlib import Path

import pandas as pd

from scripts.lib.benchmarks.multiple_choice.scores import AsScored
from scripts.lib.compare.comparison import compare_runs
from scripts.lib.compare.spec import CompareSpec
from scripts.lib.score.aggregation import AggregateSpec, aggregate_scores
from scripts.lib.score.scoring import write_provenance
from tests.comparison_file import read_comparison

SUBJECTS = ("astronomy", "sociology", "philosophy", "virology")
QUESTIONS = 40


class Bench:
    """A folder of artifacts, and the spec that names them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.artifacts: dict[str, Path] = {}
        self.candidates: list[dict] = []

    def add(
        self,
        name,
        *,
        right,
        base=None,
        kind="mmlu",
        prompts="p",
        tokens="t",
        split_markers=None,
        subjects=SUBJECTS,
        unmerged=False,
        fewer_shots=0,
        group=None,
        trained_on="chat/orders",
        margin=lambda n: 2.0,
    ):
        """Add a candidate that is right where `right(question number)` says so."""
        benchmark = "mmlu" if kind == "mmlu" else "orders"
        score, categories = f"scores/{name}-{benchmark}", f"categories/{name}-{benchmark}"
        for id_ in (score, categories):
            self.artifacts[id_] = self.root / id_
            self.artifacts[id_].mkdir(parents=True)
        rows = [
            {
                "question_id": f"{subject}:{n}",
                "subject": subject,
                "prediction": "A" if right(n) else "B",
                "correct": bool(right(n)),
                "answer": "A",
                "logprobs": [-9.0, -9.0 + margin(n) * (-1 if right(n) else 1)],
                "prompt_hash": f"{prompts}{n}",
                "token_hash": f"{tokens}{n}",
            }
            for subject in subjects
            for n in range(QUESTIONS)
        ]
        pd.DataFrame(rows).to_parquet(self.artifacts[score] / "questions.parquet")
        protocol = {
            "kind": kind,
            "shots": 5 if kind == "mmlu" else 0,
            "chat_template": False,
            "limit": None,
            "dtype": "float32",
            "max_new_tokens": None if kind == "mmlu" else 16,
            "backend": "hf",
            "on_long_prompt": "error",
            "fewer_shots": fewer_shots,
        }
        if split_markers:
            protocol["split_markers"] = split_markers
        (self.artifacts[score] / "protocol.json").write_text(json.dumps(protocol))
        write_provenance({"model": "ab12"}, {"lm-eval": "0.4"}, self.artifacts[score])
        aggregate_scores(
            AggregateSpec(
                kind=kind,
                benchmark=benchmark,
                categories="hendrycks" if kind == "mmlu" else "none",
                subjects=None,
                metric=None,
            ),
            [self.artifacts[score]],
            self.artifacts[categories],
            AsScored(),
        )
        known = next((c for c in self.candidates if c["name"] == name), None)
        if known is None:
            known = {"name": name, "kind": "run" if base else "base", "base": base}
            known |= {"unmerged": unmerged, "scores": {}, "categories": {}}
            known |= {"judgements": {}, "group": group, "trained_on": base and trained_on}
            self.candidates.append(known)
        known["scores"][benchmark] = [score]
        known["categories"][benchmark] = categories

    def spec(self):
        benchmarks = list(dict.fromkeys(b for c in self.candidates for b in c["scores"]))
        spec = {"candidates": self.candidates, "benchmarks": benchmarks}
        return CompareSpec.from_json(spec | {"held_out": [], "judged": []})

    def compare(self, manifests=None):
        out = self.root / "out"
        out.mkdir()
        self.facts = compare_runs(self.spec(), self.artifacts, manifests or {}, out)
        self.markdown = (out / "comparison.md").read_text()
        with (out / "comparison.csv").open() as stream:
            self.rows = list(csv.DictReader(stream))
        return read_comparison(out)


def half(n):
    return n % 2 == 0
