import json
import shutil

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM

from scripts.lib.errors import MergeError
from scripts.lib.merge.merging import merge_adapter
from scripts.lib.progress import VARIABLE, read_note
from tests.tiny_model import make_tiny_model

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def make_adapter(folder, model, *, dtype=torch.bfloat16, scale=0.3, **options):
    """An adapter whose every weight is random, so that a forgotten one shows."""
    torch.manual_seed(1)
    base = AutoModelForCausalLM.from_pretrained(model, dtype=dtype)
    settings = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
    peft = get_peft_model(base, LoraConfig(**settings | options))
    for parameter in peft.parameters():
        if parameter.requires_grad:
            parameter.data.add_(torch.randn_like(parameter) * scale)
    peft.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink()
    for name in TOKENIZER_FILES:
        shutil.copyfile(model / name, folder / name)
    return folder


def merge(model, adapter, out):
    out.mkdir()
    return merge_adapter(model, adapter, out)


def peft_merge(model, adapter, dtype=torch.bfloat16):
    base = AutoModelForCausalLM.from_pretrained(model, dtype=dtype)
    return PeftModel.from_pretrained(base, adapter).merge_and_unload().state_dict()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module")
def adapter(tmp_path_factory, model):
    return make_adapter(tmp_path_factory.mktemp("adapter") / "plain", model)


@pytest.fixture
def biased(tmp_path, model):
    """A model whose attention has biases."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    config = Qwen2Config(
        vocab_size=400,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=False,
        **sizes,
    )
    folder = tmp_path / "qwen"
    Qwen2ForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    for name in TOKENIZER_FILES:
        shutil.copyfile(model / name, folder / name)
    return folder


@pytest.mark.parametrize(
    "options", [{}, {"use_rslora": True}, {"use_dora": True}, {"target_modules": ["q_proj"]}]
)
def test_a_merge_equals_that_of_peft_to_the_bit(tmp_path, model, options):
    adapter = make_adapter(tmp_path / "adapter", model, **options)
    merge(model, adapter, tmp_path / "out")
    merged, expected = load_file(tmp_path / "out/model.safetensors"), peft_merge(model, adapter)
    base = load_file(model / "model.safetensors")
    for name, tensor in merged.items():
        assert torch.equal(tensor, expected[name]), name
    changed = sum(not torch.equal(merged[name], base[name]) for name in base)
    assert changed == (2 if "target_modules" in options else 14)


@pytest.mark.parametrize("bias", ["none", "all", "lora_only"])
def test_trained_biases_are_merged(tmp_path, biased, bias):
    adapter = make_adapter(tmp_path / "adapter", biased, bias=bias)
    merge(biased, adapter, tmp_path / "out")
    merged, expected = load_file(tmp_path / "out/model.safetensors"), peft_merge(biased, adapter)
    base = load_file(biased / "model.safetensors")
    assert all(torch.equal(merged[name], expected[name]) for name in merged)
    name = "model.layers.0.self_attn.q_proj.bias"
    assert torch.equal(merged[name], base[name]) == (bias == "none")


def test_a_float32_base_stays_float32(tmp_path, model):
    folder = shutil.copytree(model, tmp_path / "base")
    tensors = {n: t.float() for n, t in load_file(model / "model.safetensors").items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    adapter = make_adapter(tmp_path / "adapter", folder, dtype=torch.float32)
    merge(folder, adapter, tmp_path / "out")
    merged = load_file(tmp_path / "out/model.safetensors")
    expected = peft_merge(folder, adapter, torch.float32)
    assert all(torch.equal(merged[name], expected[name]) for name in merged)


def test_a_sharded_base_keeps_its_files(tmp_path, model, adapter):
    folder = tmp_path / "base"
    AutoModelForCausalLM.from_pretrained(model).save_pretrained(folder, max_shard_size="25KB")
    names = {file.name for file in folder.glob("*.safetensors*")}
    assert len(names) > 2
    merge(folder, adapter, tmp_path / "out")
    assert {file.name for file in (tmp_path / "out").glob("*.safetensors*")} == names
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out").state_dict()
    expected = peft_merge(model, adapter)
    assert all(torch.equal(merged[name], expected[name]) for name in expected)


def test_configs_come_from_the_base_and_the_tokenizer_from_the_adapter(tmp_path, model, adapter):
    changed = shutil.copytree(adapter, tmp_path / "adapter")
    (changed / "chat_template.jinja").write_text("another template")
    for name in ("history.jsonl", "answers.jsonl"):
        (changed / name).write_text("{}")
    merge(model, changed, tmp_path / "out")
    out = tmp_path / "out"
    for name in ("config.json", "generation_config.json"):
        assert (out / name).read_bytes() == (model / name).read_bytes()
    assert (out / "chat_template.jinja").read_text() == "another template"
    assert (out / "tokenizer.json").read_bytes() == (adapter / "tokenizer.json").read_bytes()
    assert not list(out.glob("*.jsonl"))
    assert not (out / "adapter_config.json").exists()


def test_a_path_in_an_old_config_is_left_out(tmp_path, model, adapter):
    folder = shutil.copytree(model, tmp_path / "base")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"_name_or_path": "/home/x/model"}))
    merge(folder, adapter, tmp_path / "out")
    assert json.loads((tmp_path / "out/config.json").read_text()) == config


def test_two_merges_have_the_same_bytes_and_facts(tmp_path, model, adapter):
    first = merge(model, adapter, tmp_path / "one")
    assert merge(model, adapter, tmp_path / "two") == first
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes(), file.name
    assert first["tensors_changed"] == 14
    assert first["tensors"] == len(load_file(model / "model.safetensors"))
    assert first["largest_update"] > 0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"init_lora_weights": "pissa_niter_4"}, "'pissa_niter_4' changed the base's weights"),
        ({"init_lora_weights": "loftq"}, "'loftq' changed the base's weights"),
        ({"modules_to_save": ["lm_head"]}, "lacks the trained module lm_head"),
        ({"trainable_token_indices": [3]}, "lacks the trained tokens"),
        ({"use_dora": True}, "lacks DoRA's lengths of model"),
        ({"r": 8}, "has rank 4 in the adapter, but 8"),
        ({"layer_replication": [[0, 2], [1, 2]]}, "uses layer_replication"),
        ({"peft_type": "LOHA"}, "LOHA adapters cannot be merged"),
    ],
    ids=str,
)
def test_what_cannot_be_merged_exactly_is_refused(tmp_path, model, adapter, change, named):
    odd = shutil.copytree(adapter, tmp_path / "odd")
    config = json.loads((odd / "adapter_config.json").read_text())
    (odd / "adapter_config.json").write_text(json.dumps(config | change))
    with pytest.raises(MergeError, match=named):
        merge(model, odd, tmp_path / "out")


def test_a_job_leaves_word_of_how_far_it_is(tmp_path, model, adapter, monkeypatch):
    place = tmp_path / "progress.json"
    monkeypatch.setenv(VARIABLE, str(place))
    merge(model, adapter, tmp_path / "out")
    count = len(load_file(model / "model.safetensors"))
    assert read_note(place)["text"].startswith(f"{count} of {count} tensors written")
