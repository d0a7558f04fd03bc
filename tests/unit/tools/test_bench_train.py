"""The benchmark of training runs to its end: each contestant trains on the same rows."""

import json

from scripts.tools import bench_train
from tests.tiny_model import make_tiny_model


def test_every_promised_figure_is_published(tmp_path, monkeypatch):
    monkeypatch.delenv("TUNESMITH_REAL_DATA", raising=False)
    model = make_tiny_model(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(bench_train.ROOT))
    words = "--rows 9 --rounds 1 --threads 1"
    bench_train.main(["--model", str(model), *words.split()])
    published = json.loads((tmp_path / "results/bench/train.json").read_text())["figures"]
    figures = {figure["name"]: figure["value"] for figure in published}
    # No rate is asserted: how fast a machine is decides no test.
    for name in ("tokens_per_second", "speedup_vs_trl_default", "speedup_vs_trl_packed"):
        assert figures[name] > 0
    # The same rows at the same rate: both learn alike from the first step.
    assert abs(figures["loss_gap"]) < 0.05
    assert figures["peak_gib"] > 0
