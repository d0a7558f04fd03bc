"""Scores of model and adapter side by side, without a merged model."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from scripts.lib.errors import ScoreError
from scripts.lib.merge.merging import merge_adapter
from tests.tiny_model import make_tiny_model
from tests.unit.merge.test_merging import make_adapter
from tests.unit.scoring_data import score, spec, write_benchmark, write_rows

EXACT = {"kind": "exact_match", "subject": None, "shots": 0, "max_new_tokens": 6}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A float32 model, so that a merge rounds nothing away."""
    folder = make_tiny_model(tmp_path_factory.mktemp("base") / "tiny")
    file = folder / "model.safetensors"
    save_file({n: t.float() for n, t in load_file(file).items()}, file, metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def adapter(tmp_path_factory, base):
    return make_adapter(tmp_path_factory.mktemp("adapter") / "plain", base, dtype=torch.float32)


@pytest.fixture(scope="module")
def benchmark_folder(tmp_path_factory):
    folder = write_benchmark(tmp_path_factory.mktemp("benchmark"))
    write_rows(folder / "questions.jsonl", [{"prompt": "Say a word.", "answer": "word"}])
    return folder


@pytest.mark.parametrize("changes", [{}, {"chat_template": True}, EXACT], ids=str)
def test_model_and_adapter_answer_as_the_merged_model(
    tmp_path, base, adapter, benchmark_folder, changes
):
    merged = tmp_path / "merged"
    merged.mkdir()
    merge_adapter(base, adapter, merged)
    asked = spec(**changes)
    facts, beside = score(asked, base, benchmark_folder, tmp_path / "one", adapter=adapter)
    same, after = score(asked, merged, benchmark_folder, tmp_path / "two")
    _, plain = score(asked, base, benchmark_folder, tmp_path / "plain")
    assert facts == same
    for key in ("question_id", "prompt_hash", "prediction", "response"):
        assert [row[key] for row in beside] == [row[key] for row in after]
    if "kind" in changes:
        assert beside[0]["response"] != plain[0]["response"]
        return
    gaps = [
        abs(one - two)
        for row, other in zip(beside, after, strict=True)
        for one, two in zip(row["logprobs"], other["logprobs"], strict=True)
    ]
    assert max(gaps) < 1e-3
    assert beside[0]["logprobs"] != plain[0]["logprobs"]


def test_the_adapter_s_tokenizer_and_template_are_used(tmp_path, base, adapter, benchmark_folder):
    changed = shutil.copytree(adapter, tmp_path / "changed")
    template = (changed / "chat_template.jinja").read_text()
    (changed / "chat_template.jinja").write_text(f"Hello. {template}")
    asked = spec(chat_template=True)
    _, one = score(asked, base, benchmark_folder, tmp_path / "one", adapter=adapter)
    _, two = score(asked, base, benchmark_folder, tmp_path / "two", adapter=changed)
    assert {row["prompt_hash"] for row in one}.isdisjoint(row["prompt_hash"] for row in two)


def test_an_adapter_of_another_model_is_refused(tmp_path, base, adapter, benchmark_folder):
    other = shutil.copytree(base, tmp_path / "other")
    config = json.loads((base / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"intermediate_size": 48}))
    file = other / "model.safetensors"
    tensors = load_file(file)
    for name, part in tensors.items():
        if ".mlp." in name:
            tensors[name] = part[:48] if "down" not in name else part[:, :48].contiguous()
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(ScoreError, match="does not fit its model"):
        score(spec(), other, benchmark_folder, tmp_path / "out", adapter=adapter)


@pytest.mark.parametrize("change", ["too many", "too few"])
def test_an_adapter_of_other_layers_is_refused(tmp_path, base, adapter, benchmark_folder, change):
    """PEFT leaves out what has no place, and scores would be those of half an adapter."""
    odd = shutil.copytree(adapter, tmp_path / "odd")
    tensors = load_file(odd / "adapter_model.safetensors")
    other = {n.replace("layers.1.", "layers.7."): part.clone() for n, part in tensors.items()}
    kept = (
        tensors | other if change == "too many" else {n: tensors[n] for n in tensors if "s.0" in n}
    )
    save_file(kept, odd / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ScoreError, match=r"does not fit its model: .*layers"):
        score(spec(), base, benchmark_folder, tmp_path / "out", adapter=odd)
