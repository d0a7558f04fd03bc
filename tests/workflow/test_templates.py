"""Models that reason, and call tools, from raw rows to the report through their own templates."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from transformers import AutoTokenizer

from scripts.tools.template_outcomes import TOOL
from tests.comparison_file import read_comparison
from tests.template_model import make_template_model, shipped_template
from tests.workspace import make_workspace, snakemake, write_rows

END = {"deepseek_r1_distill": "<｜end▁of▁sentence｜>", "qwen3": "<|im_end|>"}


def _rows() -> list[dict]:
    """Return conversations of several turns, with reasoning and without, and with a call."""
    rows = []
    for number in range(24):
        question = {"role": "user", "content": f"{number}+1?"}
        thought = f"<think>\none more than {number}\n</think>\n\n{number + 1}"
        answer = {"role": "assistant", "content": thought if number % 2 else str(number + 1)}
        more = [{"role": "user", "content": "sure?"}, {"role": "assistant", "content": "Yes."}]
        rows.append({"messages": [question, answer, *(more if number % 3 else [])]})
    for city in ("Bonn", "Oslo", "Rome", "Bern"):
        function = {"name": "weather", "arguments": {"city": city}}
        call = {"id": "abcdefghi", "type": "function", "function": function}
        rows.append(
            {
                "messages": [
                    {"role": "user", "content": f"Weather in {city}?"},
                    {"role": "assistant", "content": "", "tool_calls": [call]},
                    {"role": "tool", "tool_call_id": "abcdefghi", "content": "12 C"},
                    {"role": "assistant", "content": "12 degrees."},
                ],
                "tools": [TOOL],
            }
        )
    return rows


@pytest.fixture(scope="module", params=sorted(END))
def done(request, tmp_path_factory) -> tuple[str, Path]:
    """Return a template's name and a workspace in which it ran to the report."""
    name = request.param
    folder = make_workspace(tmp_path_factory.mktemp(name) / "ws")
    make_template_model(folder / "model", shipped_template(name), END[name])
    write_rows(folder / "data" / "talk.jsonl", _rows())
    run = {
        "model": "tiny",
        "dataset": "talk",
        "lora": {"r": 4, "alpha": 8, "dropout": 0.0},
        "training": {
            "epochs": 3,
            "packing": False,
            "learning_rate": 1e-2,
            "batch_size": 4,
            "max_length_tokens": 1024,
            "dtype": "float32",
        },
    }
    config = {
        "models": {"tiny": {"path": "model"}},
        "datasets": {
            "talk": {
                "path": "data/talk.jsonl",
                "valid_fraction": 0.2,
                "test_fraction": 0.2,
                "max_dropped_fraction": 0.3,
            }
        },
        "runs": {"tuned": run},
        "benchmarks": {
            "domain": {"kind": "held_out", "dataset": "talk", "max_new_tokens": 8},
            "mmlu": {"kind": "mmlu", "path": "mmlu", "shots": 0, "chat_template": True},
        },
    }
    file = folder / "config/config.yaml"
    file.write_text(yaml.safe_dump(config))
    result = snakemake(folder, "--profile", _profile(), "--cores", "2", limit=3600)
    assert result.returncode == 0, result.stdout
    return name, folder


def _profile() -> str:
    return str(Path(__file__).parents[2] / "profiles/local")


@pytest.mark.slow
@pytest.mark.e2e
def test_every_answer_is_trained_with_its_reasoning_once_and_its_end(done):
    name, folder = done
    (shards,) = (folder / "results/shards").glob("*/train-00000.parquet")
    tokenizer = AutoTokenizer.from_pretrained(shards.parent / "tokenizer")
    texts = []
    for row in pq.read_table(shards).to_pylist():
        pairs = zip(row["input_ids"], row["loss_mask"], strict=True)
        texts.append(tokenizer.decode([token for token, trained in pairs if trained]))
    assert texts
    for text in texts:
        assert text.endswith(END[name]) and text.count(END[name]) == 1
        # R1's prompt opens the reasoning; Qwen3's answer does.
        assert text.count("<think>") == (0 if name == "deepseek_r1_distill" else 1)
        assert text.count("</think>") == 1
    assert any("one more than" in text for text in texts)
    calls = [text for text in texts if "weather" in text]
    assert bool(calls) == (name == "qwen3"), "R1's template writes no call that transformers makes"


@pytest.mark.slow
@pytest.mark.e2e
def test_what_the_template_cannot_write_is_counted(done):
    name, folder = done
    (summary,) = (folder / "results/shards").glob("*/summary.json")
    tokens = json.loads(summary.read_text())
    lost = {"tool_calls_not_rendered"} if name == "deepseek_r1_distill" else set()
    assert set(tokens["dropped"]) == lost
    assert tokens["conversations"] == tokens["kept"] + sum(tokens["dropped"].values())
    assert tokens["turn_by_turn"] > 0 and tokens["growth"] > 1


@pytest.mark.slow
@pytest.mark.e2e
def test_base_and_tuned_model_are_compared_on_what_was_held_out(done):
    _, folder = done
    comparison = read_comparison(folder / "results/report")
    domain = comparison["held_out"]["domain"]
    base, tuned = (domain["candidates"][one] for one in ("tiny", "tuned"))
    assert base["n"] == tuned["n"] > 0
    assert tuned["perplexity"] < base["perplexity"]
    assert set(comparison["benchmarks"]["mmlu"]["candidates"]) == {"tiny", "tuned"}
