"""The benchmark of generation, and what it shows of answers that differ."""

import json
import math

import torch
from transformers import AutoModelForCausalLM

from scripts.tools import bench_generate
from tests.tiny_model import make_tiny_model


def test_every_promised_figure_is_published(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = make_tiny_model(tmp_path / "model")
    # Its tokens are bytes, and five examples are thousands of them.
    config = json.loads((model / "config.json").read_text())
    config["max_position_embeddings"] = 16384
    (model / "config.json").write_text(json.dumps(config))
    words = "--questions 2 --new-tokens 4 --batches 1 2 --apart 1"
    bench_generate.main(["--model", str(model), *words.split()])
    published = json.loads((tmp_path / "results/bench/generate.json").read_text())["figures"]
    figures = {figure["name"]: figure["value"] for figure in published}
    for shape in ("gsm8k", "gsm8k_drawn", "gsm8k_apart", "bbh", "ifeval", "humaneval"):
        assert figures[f"beyond_rounding_{shape}_fp32"] == 0
        assert figures[f"same_texts_{shape}_fp32"] == 1
        assert figures[f"speedup_{shape}_fp32"] > 0


def test_the_margin_is_that_of_the_first_tokens_that_differ(tmp_path):
    model = AutoModelForCausalLM.from_pretrained(make_tiny_model(tmp_path / "model"))
    with torch.inference_mode():
        logprobs = model(torch.tensor([[5, 6, 7]])).logits[0, -1].float().log_softmax(-1)
    found = bench_generate.margin(model, [5, 6], [7, 8, 9], [7, 3, 4])
    assert math.isclose(found, abs(float(logprobs[8] - logprobs[3])), rel_tol=1e-3, abs_tol=1e-6)
    assert bench_generate.margin(model, [5, 6], [7, 8], [7, 8, 9]) == 0
