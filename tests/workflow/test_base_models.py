"""A base without a template is tuned with ChatML through the whole workflow, merged or not."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.base_model import make_base_model
from tests.comparison_file import read_comparison
from tests.workspace import snakemake, write_config, write_rows

ROWS = [(f"What is {word}?", f"the answer is {word}") for word in "ABCD"]
LORA = {"r": 8, "alpha": 16, "dropout": 0.0}
TRAINING = {
    **{"max_steps": 100, "learning_rate": 0.01, "batch_size": 4, "warmup_ratio": 0.0},
    **{"weight_decay": 0.0, "max_length_tokens": 128, "packing": False, "dtype": "float32"},
}
RUN = {"dataset": "letters", "template": "chatml", "lora": LORA, "training": TRAINING}
RUNS = {
    "tied-merged": ("tied", True),
    "tied-beside": ("tied", False),
    "untied-merged": ("untied", True),
}
MODELS = {"tied": {"tied": True, "spare": 0}, "untied": {"tied": False, "spare": 8}}


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which two bases were tuned, scored and compared."""
    folder = tmp_path_factory.mktemp("base_models") / "ws"
    for name, form in MODELS.items():
        make_base_model(folder / name, **form)
    asked = [{"messages": _turns(*row)} for row in ROWS]
    write_rows(folder / "letters.jsonl", asked)
    write_rows(folder / "questions.jsonl", [{"prompt": q, "answer": a} for q, a in ROWS])
    runs = {name: {**RUN, "model": base, "merge": merge} for name, (base, merge) in RUNS.items()}
    config = {
        "models": {name: {"path": name, "template": "chatml"} for name in MODELS},
        "datasets": {"letters": {"path": "letters.jsonl", "valid_fraction": 0.0}},
        "benchmarks": {
            "say": {"kind": "exact_match", "path": "questions.jsonl", "max_new_tokens": 40}
        },
        "runs": runs,
    }
    write_config(folder, config)
    result = snakemake(folder, "--cores", "2", limit=1800)
    assert result.returncode == 0, result.stdout
    return folder


def _turns(question: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


@pytest.mark.e2e
@pytest.mark.slow
def test_tuned_bases_answer_and_stop_before_and_after_merging(tuned: Path) -> None:
    candidates = read_comparison(tuned / "results/report")["benchmarks"]["say"]["candidates"]
    rates = {name: rows["Average"]["accuracy"] for name, rows in candidates.items()}
    assert rates == {**dict.fromkeys(MODELS, 0.0), **dict.fromkeys(RUNS, 1.0)}


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_the_merged_model_stops_by_itself_wherever_it_is_loaded(tuned: Path, name: str) -> None:
    folder = tuned / f"results/runs/{name}-merged/model"
    net = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for question, said in ROWS:
        ids = tokenizer.apply_chat_template(
            _turns(question, "")[:1],
            add_generation_prompt=True,
            return_tensors="pt",
            return_dict=False,
        )
        with torch.no_grad():
            full = net.generate(input_ids=ids, max_new_tokens=40, do_sample=False)
        assert tokenizer.decode(full[0, ids.shape[1] :]) == f"{said}<|im_end|>"


@pytest.mark.e2e
@pytest.mark.slow
def test_the_report_says_that_the_base_reads_markers_as_characters(tuned: Path) -> None:
    say = read_comparison(tuned / "results/report")["benchmarks"]["say"]
    assert "split_markers" in {note["code"] for note in say["notes"]}
