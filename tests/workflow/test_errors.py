"""A wrong config ends before any job, with one readable message, and loses nothing."""

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.lib.errors import PipelineError
from scripts.lib.plan.invocation import plan_invocation, read_configs
from tests.workspace import ROOT, SUBJECTS, jobs, read_config, snakemake, write_config

Change = Callable[[dict[str, Any], Path], None]


def wrong_key(config: dict[str, Any], folder: Path) -> None:
    config["runs"]["low"]["lora"]["rank"] = 8


def missing_file(config: dict[str, Any], folder: Path) -> None:
    config["datasets"]["say"]["path"] = "data/sya.jsonl"


def no_tokenizer(config: dict[str, Any], folder: Path) -> None:
    (folder / "model" / "tokenizer.json").unlink()


def no_template(config: dict[str, Any], folder: Path) -> None:
    (folder / "model" / "chat_template.jinja").unlink()


def empty_dataset(config: dict[str, Any], folder: Path) -> None:
    (folder / "data" / "say.jsonl").write_text("\n")


def bad_questions(config: dict[str, Any], folder: Path) -> None:
    """Spoil rows of three benchmarks."""
    place = folder / "mmlu" / "test" / f"{SUBJECTS[0]}.jsonl"
    place.write_text(place.read_text() + '{"question": "?", "choices": ["a"], "answer": 0}\n')
    place = folder / "data" / "held_out.jsonl"
    place.write_text('{"prompt": "Say one."}\n' + place.read_text() + '{"prompt": "Say')
    own = 'question,A,B,answer\n"two\nlines",1,1,A\nq,x,x,x\nq,x,y,\nq,x,y,C\n'
    (folder / "data" / "own.csv").write_text(own)
    config["benchmarks"]["own"] = {"kind": "multiple_choice", "path": "data/own.csv"}


def another_format(config: dict[str, Any], folder: Path) -> None:
    config["datasets"]["say"]["format"] = "alpaca"


def contradiction(config: dict[str, Any], folder: Path) -> None:
    config["runs"]["low"]["lora"] |= {"init": "pissa", "use_dora": True}


def unusable_rows(config: dict[str, Any], folder: Path) -> None:
    (folder / "data" / "say.jsonl").write_text('{"prompt": "a", "completion": ""}\n' * 2)


def other_prompts(config: dict[str, Any], folder: Path) -> None:
    (folder / "own.jinja").write_text("{% for m in messages %}[{{ m.content }}]{% endfor %}")
    config["runs"]["low"]["template"] = "own.jinja"


def packed(config: dict[str, Any], folder: Path) -> None:
    rows = folder / "data" / "say.jsonl"
    rows.write_bytes(gzip.compress(rows.read_bytes()))


def several_at_once(config: dict[str, Any], folder: Path) -> None:
    config["runs"]["low"]["model"] = "tinny"
    config["benchmarks"]["mmlu"]["shots"] = -1


SHOWN = [
    (no_template, ["models.tiny.template", "has no chat template", "runs.low", "chatml"]),
    (
        bad_questions,
        [
            "benchmarks.mmlu: 1 of 15 rows is no question",
            f"mmlu/test/{SUBJECTS[0]}.jsonl:5 needs a list of 4 texts",
            "2 of 10 rows are no questions",
            "data/held_out.jsonl:1 has no text in `answer`",
            "data/held_out.jsonl:10 is not JSON",
            "benchmarks.own: 3 of 4 rows are no questions",
            "data/own.csv:4 has 'x' in `answer`, which is the text of A and B",
            "data/own.csv:5 has neither text nor a whole number",
            "data/own.csv:6 has 'C' in `answer`, which is none of its 2 choices",
            "set `on_bad_row: leave_out`",
        ],
    ),
    (
        several_at_once,
        ["runs.low.model", "did you mean", "tiny", "benchmarks.mmlu.shots", "-1"],
    ),
]
REFUSED = [
    (wrong_key, ["runs.low.lora.rank", "r"]),
    (missing_file, ["datasets.say", "data/sya.jsonl", "does not exist"]),
    (no_tokenizer, ["models.tiny", "no tokenizer", "save_pretrained"]),
    (empty_dataset, ["datasets.say", "empty"]),
    (another_format, ["datasets.say", "columns messages", "write `format: messages`"]),
    (contradiction, ["runs.low.lora.init", "use_dora: false"]),
    (unusable_rows, ["datasets.say", "none of 2 rows can be used", "empty_assistant"]),
    (other_prompts, ["runs.low.template", "benchmarks.say", "models.tiny.template"]),
    (packed, ["datasets.say", "say.jsonl is compressed by gzip", "gunzip"]),
]


def artifacts(workspace: Path) -> list[Path]:
    """Return what was made in a workspace."""
    return sorted(path for path in workspace.glob("results/*/*") if path.parts[-2] != "plans")


def apply(change: Change, workspace: Path) -> None:
    """Do what a user does wrong."""
    config = read_config(workspace)
    change(config, workspace)
    write_config(workspace, config)


@pytest.mark.parametrize(("change", "words"), SHOWN)
def test_a_wrong_config_ends_before_any_job(
    workspace: Path, change: Change, words: list[str]
) -> None:
    before = artifacts(workspace)
    apply(change, workspace)
    result = snakemake(workspace, "-c2")
    assert result.returncode == 1
    assert "Traceback" not in result.stdout
    assert [word for word in words if word not in result.stdout] == []
    assert jobs(result.stdout) == []
    assert artifacts(workspace) == before


@pytest.mark.parametrize(("change", "words"), REFUSED)
def test_a_wrong_config_is_refused_when_it_is_planned(
    workspace: Path, change: Change, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Snakemake shows it in the test above: here planning itself is asked, in this process."""
    before = artifacts(workspace)
    apply(change, workspace)
    monkeypatch.chdir(workspace)
    monkeypatch.setenv("TUNESMITH_CACHE", "")
    with pytest.raises(PipelineError) as caught:
        plan_invocation(read_configs({}, [], ROOT), ROOT)
    assert [word for word in words if word not in str(caught.value)] == []
    assert artifacts(workspace) == before


def test_two_runs_of_one_name_are_refused_with_their_lines(workspace: Path) -> None:
    path = workspace / "config" / "config.yaml"
    text = path.read_text()
    assert "  high:\n" in text
    path.write_text(text.replace("  high:\n", "  low:\n"))
    for arguments in ([], ["--configfile", "config/config.yaml"]):
        result = snakemake(workspace, "-c2", *arguments)
        assert result.returncode == 1
        assert "runs.low" in result.stdout
        assert "config.yaml" in result.stdout
        assert jobs(result.stdout) == []


def test_an_unhealthy_gate_names_its_evidence_and_keeps_what_was_made(workspace: Path) -> None:
    config = read_config(workspace)
    rows = workspace / "data" / "say.jsonl"
    bad = '{"messages": [{"role": "user", "content": "Hello"}]}\n'
    rows.write_text(rows.read_text() + bad * 1 + bad.replace("Hello", "Hi") * 1)
    config["datasets"]["say"]["max_dropped_fraction"] = 0.01
    write_config(workspace, config)
    result = snakemake(workspace, "-c2", "--show-failed-logs")
    assert result.returncode == 1
    assert "max_dropped_fraction" in result.stdout
    (ledger,) = [
        path
        for path in workspace.glob("results/chat/*/summary.json")
        if 'dropped": 2' in path.read_text()
    ]
    assert ledger.parent.with_name(ledger.parent.name + ".json").exists()


def test_a_damaged_model_folder_is_not_loaded(workspace: Path) -> None:
    shutil.rmtree(workspace / "model")
    (workspace / "model").mkdir()
    result = snakemake(workspace, "-n")
    assert result.returncode == 1
    assert "models.tiny" in result.stdout


def test_a_driver_that_is_too_old_for_the_build_ends_it_before_any_job(
    workspace: Path, tmp_path: Path
) -> None:
    """This machine has another driver, or none: Python is told otherwise when it starts."""
    (tmp_path / "sitecustomize.py").write_text(
        "from scripts.lib.machine import cuda_driver as found\n"
        "found.shows_gpus = lambda *_: True\n"
        "found.driver_cuda = lambda *_: (12, 4)\n"
        "found.installed_build = lambda: found.Build('2.15.0+cu132', (13, 2))\n"
    )
    env = {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    redo = ("-c2", "--config", "redo=low", "--until", "train_adapter")
    result = snakemake(workspace, *redo, env=env, fresh=True)
    assert result.returncode == 1
    assert "needs driver 580 or newer, and the NVIDIA driver is for CUDA 12.4" in result.stdout
    assert "make env BUILD=cu126" in result.stdout and "Traceback" not in result.stdout
    assert jobs(result.stdout) == []
    result = snakemake(workspace, *redo, env={**env, "TUNESMITH_DEVICE": "cpu"}, fresh=True)
    assert result.returncode == 0, result.stdout


def test_a_batch_that_the_gpus_cannot_share_ends_it_before_any_job(workspace: Path) -> None:
    redo = ("-c2", "--config", "redo=low", "--until", "train_adapter")
    result = snakemake(workspace, *redo, "--set-resources", "train_adapter:gpu=3")
    assert result.returncode == 1
    assert "runs.low: batch_size 8 is not a multiple of micro_batch 1 x 3" in result.stdout
    assert "write 6 or 9" in result.stdout and "Traceback" not in result.stdout
    assert jobs(result.stdout) == []


@pytest.mark.parametrize("gpus", ["2", "2*attempt"])
def test_gpus_that_scoring_would_leave_idle_end_it_before_any_job(
    workspace: Path, gpus: str
) -> None:
    """By its number while planning; an expression has one when the jobs are known."""
    redo = ("-c2", "--config", "redo=scores", "--until", "score_benchmark")
    result = snakemake(workspace, *redo, "--set-resources", f"score_benchmark:gpu={gpus}")
    assert result.returncode == 1
    assert "score_benchmark: gpu=2, but a job that scores computes on one GPU" in result.stdout
    assert "jobs_per_benchmark=2" in result.stdout and "Traceback" not in result.stdout
    assert jobs(result.stdout) == []
