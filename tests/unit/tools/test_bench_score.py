"""The benchmark of scoring runs to its end on what every checkout has: the demo's questions."""

import json

from scripts.tools import bench_score
from tests.tiny_model import make_tiny_model


def test_every_promised_figure_is_published(tmp_path, monkeypatch):
    monkeypatch.delenv("TUNESMITH_REAL_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    model = make_tiny_model(tmp_path / "model")
    # Its tokens are bytes, and five few-shot examples are thousands of them.
    config = json.loads((model / "config.json").read_text())
    config["max_position_embeddings"] = 16384
    (model / "config.json").write_text(json.dumps(config))
    words = "--questions 2 --sample 1 --batches 1 2 --dtypes float32 --other-questions 2"
    bench_score.main(["--model", str(model), *words.split()])
    published = json.loads((tmp_path / "results/bench/score.json").read_text())["figures"]
    figures = {figure["name"]: figure["value"] for figure in published}
    assert figures["agreement_fp32"] == 1.0
    assert figures["max_logprob_diff_fp32"] < 1e-4
    outside = ("outside_ms_per_question", "lm_eval_outside_ms_per_question")
    for name in (
        "questions_per_second_fp32",
        "speedup_fp32",
        "speedup_generation",
        "peak_gib",
        *outside,
    ):
        assert figures[name] > 0
