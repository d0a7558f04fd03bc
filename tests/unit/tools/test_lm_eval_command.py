"""lm-eval's own command line with our model behind it."""

import json
import os
import subprocess
import sys

import pytest
import yaml
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from tests.tiny_model import make_tiny_model
from tests.unit.scoring_data import rows, write_rows
from tests.workspace import ROOT


def tasks(folder):
    """Write one task of each kind of request over local rows, and return their configs."""
    write_rows(folder / "rows.jsonl", rows("anatomy", 5))
    common = {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(folder / "rows.jsonl")}},
        "test_split": "test",
    }
    return [
        {
            **common,
            "task": "own_choices",
            "output_type": "multiple_choice",
            "doc_to_text": "{{question.strip()}} It is",
            # Choices of several tokens, in Jinja, as most of lm-eval's tasks have them.
            "doc_to_choice": "{{choices}}",
            "doc_to_target": "answer",
            "metric_list": [{"metric": "acc"}],
        },
        {
            **common,
            "task": "own_text",
            "output_type": "loglikelihood_rolling",
            "doc_to_text": "",
            "doc_to_target": "{{question}}",
            "metric_list": [{"metric": "byte_perplexity"}],
        },
        {
            **common,
            "task": "own_answers",
            "output_type": "generate_until",
            "doc_to_text": "{{question}}",
            "doc_to_target": "{{choices[answer]}}",
            "generation_kwargs": {"until": ["\n"], "max_gen_toks": 4, "do_sample": False},
            "metric_list": [{"metric": "exact_match"}],
        },
    ]


def metrics(results):
    """Return task -> metric -> value, without standard errors."""
    return {
        task: {
            name: value
            for name, value in found.items()
            if isinstance(value, float) and "stderr" not in name
        }
        for task, found in results["results"].items()
    }


@pytest.mark.slow
def test_its_tasks_get_the_results_of_hf(tmp_path):
    model = make_tiny_model(tmp_path / "model")
    configs = tasks(tmp_path)
    for config in configs:
        (tmp_path / "tasks").mkdir(exist_ok=True)
        (tmp_path / "tasks" / f"{config['task']}.yaml").write_text(yaml.safe_dump(config))
    names = ",".join(config["task"] for config in configs)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_DATASETS_CACHE": str(tmp_path / "hf")}
    found = subprocess.run(
        [
            *(sys.executable, "-m", "scripts.tools.lm_eval", "run", "--model", "tunesmith-hf"),
            *("--model_args", f"pretrained={model},dtype=float32", "--tasks", names),
            *("--include_path", str(tmp_path / "tasks"), "--device", "cpu", "--batch_size", "auto"),
            *("--output_path", str(tmp_path / "out.json")),
        ],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr[-2000:]
    (file,) = tmp_path.glob("out*.json")
    theirs = simple_evaluate(
        HFLM(pretrained=str(model), dtype="float32", batch_size=1, device="cpu"),
        tasks=configs,
        task_manager=TaskManager(include_defaults=False),
        bootstrap_iters=0,
    )
    ours, expected = metrics(json.loads(file.read_text())), metrics(theirs)
    assert ours.keys() == expected.keys() and len(ours) == 3
    for task, values in expected.items():
        assert ours[task] == pytest.approx(values, rel=1e-5)
