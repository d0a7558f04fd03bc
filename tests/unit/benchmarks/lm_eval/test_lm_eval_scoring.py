"""Any lm-eval task goes through the pipeline with lm-eval's own numbers, question by question."""

import json

import pytest

from scripts.lib.benchmarks.lm_eval import scores as lm_eval_scores
from tests.tiny_model import make_tiny_model
from tests.unit.lm_eval_data import fetch, simple_evaluate, write_data
from tests.unit.scoring_data import score
from tests.unit.scoring_data import spec as score_spec

FOLDERS = {
    "gsm8k": ["gsm8k"],
    "truthfulqa_mc1": ["truthfulqa"],
    "truthfulqa_mc2": ["truthfulqa"],
    "arc_easy": ["arc"],
    "hellaswag": ["hellaswag"],
    "bbh_zeroshot_boolean_expressions": ["bbh"],
    "bbh_zeroshot_navigate": ["bbh"],
    "kobest_copa": ["kobest"],
    "lambada_openai": ["lambada"],
    "winogrande": ["winogrande"],
}


# Tasks whose accuracy is that of the likeliest choice.
CHOICES = ("arc_easy", "hellaswag", "kobest_copa", "truthfulqa_mc1", "winogrande")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def fetched(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("fetched") / "all"
    fetch(out, FOLDERS, data=data)
    return out


def lm_eval_spec(**changes):
    return score_spec(**{"kind": "lm_eval", "subject": None, "shots": None, **changes})


def counted(folder, out, metric=None):
    """Return the category files of the scores in *folder*."""
    out.mkdir()
    spec = {"kind": "lm_eval", "benchmark": "b", "categories": "tasks", "subjects": None}
    lm_eval_scores.aggregate(
        {**spec, "metric": {"task_metric": metric}}, {"scores": (folder,)}, out
    )
    return {path.name: json.loads(path.read_text()) for path in out.glob("*.json")}


SLOW = [
    pytest.param(options, marks=pytest.mark.slow)
    for options in ({"chat_template": True}, {"shots": 2, "limit": 3})
]


@pytest.mark.parametrize("options", [{}, *SLOW])
def test_every_task_gives_what_lm_eval_gives(options, model, data, fetched, tmp_path, monkeypatch):
    spec = lm_eval_spec(**options)
    facts, rows = score(spec, model, fetched, tmp_path / "score")
    theirs = simple_evaluate(
        monkeypatch,
        model,
        FOLDERS,
        data,
        folders=sorted({name for names in FOLDERS.values() for name in names}),
        apply_chat_template=spec.chat_template,
        num_fewshot=spec.shots,
        limit=spec.limit,
        log_samples=True,
    )
    assert {row["subject"] for row in rows} == set(FOLDERS)
    for name in FOLDERS:
        own = [row for row in rows if row["subject"] == name]
        samples = theirs["samples"][name]
        asked = [sample for sample in samples if sample["filter"] == samples[0]["filter"]]
        assert len(own) == len(asked)
        for row, sample in zip(own, asked, strict=True):
            if row["logprobs"]:
                said = [reply[0] for reply in sample["filtered_resps"]]
                assert row["logprobs"] == pytest.approx(said, abs=1e-4), name
            else:
                assert row["response"] == sample["resps"][0][0]
            if name in CHOICES:
                assert (row["prediction"] == row["answer"]) == (sample["acc"] == 1.0), name
        for sample in samples:
            values = json.loads(own[sample["doc_id"]]["metrics"])
            for metric in sample["metrics"]:
                key = f"{metric},{sample['filter']}"
                if key in values:
                    assert values[key] == pytest.approx(sample[metric], abs=1e-6), (name, key)
        assert facts["protocol"]["tasks"][name]["shots"] == theirs["n-shot"][name]
        assert facts["protocol"]["tasks"][name]["version"] == str(theirs["versions"][name])
    files = counted(tmp_path / "score" / "out", tmp_path / "counted")
    for name in FOLDERS:
        document = files[f"b.{name}.json"]
        key = document["protocol"]["counted"][name]
        assert document["accuracy"] == pytest.approx(theirs["results"][name][key], abs=1e-6)
    average = files["b.average.json"]
    assert average["n"] == len(rows) == facts["n"]
