"""The benchmark of bfloat16 tries every way on a tiny model, and puts back what each changes."""

import json

import pytest
import torch
from transformers.models.llama import modeling_llama

from scripts.tools import bench_bf16, bf16_ways
from tests.tiny_model import make_tiny_model

WAYS = (
    "float32_weights",
    "float32_activations",
    "prepacked_weights",
    "fused_norms",
    "fused_rotary",
    "rows_of_256",
)


def test_every_way_is_tried_and_nothing_stays_changed(tmp_path, monkeypatch):
    monkeypatch.delenv("TUNESMITH_REAL_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    model = make_tiny_model(tmp_path / "model")
    parts = torch.nn.Linear, modeling_llama.LlamaRMSNorm, modeling_llama.LlamaMLP
    before = [part.forward for part in parts], modeling_llama.apply_rotary_pos_emb
    words = "--questions 3 --rounds 1 --yardstick-questions 2 --subject world_religions"
    bench_bf16.main(["--model", str(model), *words.split(), "--ways", *WAYS])
    assert ([part.forward for part in parts], modeling_llama.apply_rotary_pos_emb) == before
    published = json.loads((tmp_path / "results/bench/bf16.json").read_text())["figures"]
    figures = {figure["name"]: figure["value"] for figure in published}
    assert figures["share_of_flop_bound_bf16"] > 0
    for name in WAYS:
        assert figures[f"ratio_{name}"] > 0
        # All round as bfloat16 does, or less: the choices differ by no more than that.
        assert figures[f"max_logprob_diff_{name}"] < 0.1
    assert figures["max_logprob_diff_lm_eval_other_batch"] < 0.1
    shares = [bench_bf16.ELEMENTWISE, bench_bf16.PYTHON, *bench_bf16.KINDS]
    assert sum(figures[f"share_{kind}"] for kind in shares) == pytest.approx(1.0)


def test_operations_are_told_by_their_kind():
    kinds = {
        name: bench_bf16.kind_of(name) for name in ("aten::addmm", "aten::mul", "aten::_to_copy")
    }
    assert kinds == {
        "aten::addmm": "products",
        "aten::mul": bench_bf16.ELEMENTWISE,
        "aten::_to_copy": "conversions_and_copies",
    }


def test_without_a_compiler_inductor_is_said_to_take_no_part(monkeypatch, capsys):
    monkeypatch.setattr(bf16_ways.shutil, "which", lambda name: None)
    assert "compiled" not in bf16_ways.ways()
    assert "no C++ compiler" in capsys.readouterr().out
