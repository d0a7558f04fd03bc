import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from scripts.lib.merge.merging import merge_adapter
from scripts.lib.merge.proving import prove_merge
from tests.merge_kinds import make_kind
from tests.tiny_architectures import make_architecture
from tests.tiny_model import make_tiny_model
from tests.unit.merge.test_merging import make_adapter

PROMPTS = [[7, 30, 41, 5, 99, 120], [250, 3, 8], list(range(40, 90))]


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """Base, adapter and merged model, in bfloat16; the update is of the size of the weights."""
    folder = tmp_path_factory.mktemp("chain")
    model = make_tiny_model(folder / "base")
    adapter = make_adapter(folder / "adapter", model, scale=0.05)
    (adapter / "prompts.json").write_text(json.dumps(PROMPTS))
    (folder / "merged").mkdir()
    merge_adapter(model, adapter, folder / "merged")
    return model, adapter, folder / "merged"


def prove(chain, tmp_path, **parts):
    model, adapter, merged = chain
    out = tmp_path / "proof"
    out.mkdir()
    paths = {"model": model, "adapter": adapter, "merged": merged} | parts
    facts = prove_merge(paths["model"], paths["adapter"], paths["merged"], out)
    assert json.loads((out / "proof.json").read_text()) == facts["proof"]
    return facts["proof"]


def failed(proof):
    assert proof["passed"] == all(check["passed"] for check in proof["checks"])
    return {check["name"] for check in proof["checks"] if not check["passed"]}


def with_alpha(adapter, folder, factor):
    """The adapter with another scale, as a merge with a wrong formula would see it."""
    copy = shutil.copytree(adapter, folder)
    config = json.loads((copy / "adapter_config.json").read_text())
    config["lora_alpha"] *= factor
    (copy / "adapter_config.json").write_text(json.dumps(config))
    return copy


def change_weights(merged, folder, change):
    copy = shutil.copytree(merged, folder)
    tensors = load_file(copy / "model.safetensors")
    change(tensors)
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    return copy


def test_a_right_merge_passes_every_check(chain, tmp_path):
    proof = prove(chain, tmp_path)
    assert failed(proof) == set()
    assert {check["name"] for check in proof["checks"]} == {
        "tensors",
        "vocabulary",
        "tokenizer",
        "stop_tokens",
        "stops",
        "generation_config",
        "parameters",
        "finite",
        "weights",
        "max_logit_diff",
        "mean_kl",
        "top1_agreement",
    }
    assert proof["numbers"]["positions"] == sum(map(len, PROMPTS))


@pytest.mark.parametrize("options", [{"use_rslora": True}, {"use_dora": True}])
def test_a_right_merge_of_another_kind_passes(chain, tmp_path, options):
    model = chain[0]
    adapter = make_adapter(tmp_path / "adapter", model, scale=0.05, **options)
    (adapter / "prompts.json").write_text(json.dumps(PROMPTS))
    (tmp_path / "merged").mkdir()
    merge_adapter(model, adapter, tmp_path / "merged")
    assert prove((model, adapter, tmp_path / "merged"), tmp_path)["passed"]


def test_a_right_merge_in_float32_passes(chain, tmp_path):
    base = shutil.copytree(chain[0], tmp_path / "base")
    tensors = {n: t.float() for n, t in load_file(base / "model.safetensors").items()}
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "merged").mkdir()
    merge_adapter(base, chain[1], tmp_path / "merged")
    proof = prove((base, chain[1], tmp_path / "merged"), tmp_path)
    assert failed(proof) == set()
    assert proof["numbers"]["max_logit_diff"] < 1e-4


def test_a_doubled_scale_shows_in_the_answers_as_well(chain, tmp_path):
    model = chain[0]
    adapter = make_adapter(tmp_path / "adapter", model, scale=0.5)
    (adapter / "prompts.json").write_text(json.dumps(PROMPTS))
    (tmp_path / "merged").mkdir()
    merge_adapter(model, with_alpha(adapter, tmp_path / "w", 2), tmp_path / "merged")
    found = failed(prove((model, adapter, tmp_path / "merged"), tmp_path))
    assert {"weights", "top1_agreement"} <= found


@pytest.mark.parametrize("factor", [2.0, 0.5, 1.1])
def test_a_wrong_scale_fails(chain, tmp_path, factor):
    model, adapter, _ = chain
    (tmp_path / "merged").mkdir()
    wrong = with_alpha(adapter, tmp_path / "wrong", factor)
    merge_adapter(model, wrong, tmp_path / "merged")
    assert "weights" in failed(prove(chain, tmp_path, merged=tmp_path / "merged"))


def test_a_wrong_scale_fails_even_where_the_update_hardly_moves_the_logits(chain, tmp_path):
    model = chain[0]
    adapter = make_adapter(tmp_path / "adapter", model, scale=0.002)
    (adapter / "prompts.json").write_text(json.dumps(PROMPTS))
    (tmp_path / "merged").mkdir()
    merge_adapter(model, with_alpha(adapter, tmp_path / "w", 2), tmp_path / "merged")
    proof = prove((model, adapter, tmp_path / "merged"), tmp_path)
    assert failed(proof) == {"weights"}


def test_a_base_that_was_not_merged_fails(chain, tmp_path):
    folder = shutil.copytree(chain[0], tmp_path / "unmerged")
    assert "weights" in failed(prove(chain, tmp_path, merged=folder))


def test_a_weight_that_is_no_number_fails(chain, tmp_path):
    def spoil(tensors):
        tensors["model.norm.weight"][3] = float("nan")

    folder = change_weights(chain[2], tmp_path / "nan", spoil)
    assert {"finite", "weights", "max_logit_diff"} <= failed(prove(chain, tmp_path, merged=folder))


def test_a_missing_or_additional_tensor_fails(chain, tmp_path):
    def drop(tensors):
        del tensors["model.norm.weight"]

    def add(tensors):
        tensors["lm_head.weight"] = torch.zeros(2, 2)

    for name, change, more in (("dropped", drop, set()), ("added", add, {"vocabulary"})):
        folder = change_weights(chain[2], tmp_path / name, change)
        (tmp_path / f"{name}-proof").mkdir()
        found = failed(prove(chain, tmp_path / f"{name}-proof", merged=folder))
        assert found == {"tensors"} | more


def test_a_tokenizer_that_is_not_the_adapters_fails(chain, tmp_path):
    folder = shutil.copytree(chain[2], tmp_path / "other")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    assert failed(prove(chain, tmp_path, merged=folder)) == {"tokenizer"}


def test_a_vocabulary_that_disagrees_with_the_embedding_fails(chain, tmp_path):
    tuned = shutil.copytree(chain[1], tmp_path / "adapter")
    folder = shutil.copytree(chain[2], tmp_path / "other")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    new = {**tokenizer["added_tokens"][-1], "id": 5000, "content": "<|new|>"}
    tokenizer["added_tokens"].append(new)
    for place in (tuned, folder):
        (place / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert failed(prove(chain, tmp_path, adapter=tuned, merged=folder)) == {"vocabulary"}


def test_padding_that_stops_the_model_fails_unless_it_did_so_in_the_base(chain, tmp_path):
    def stop_at_padding(source, folder):
        copy = shutil.copytree(source, folder)
        config = json.loads((copy / "generation_config.json").read_text())
        config["eos_token_id"] = [config["eos_token_id"], config["pad_token_id"]]
        (copy / "generation_config.json").write_text(json.dumps(config))
        return copy

    merged = stop_at_padding(chain[2], tmp_path / "merged")
    found = failed(prove(chain, tmp_path, merged=merged))
    assert found == {"stop_tokens", "stops"}
    (tmp_path / "second").mkdir()
    base = stop_at_padding(chain[0], tmp_path / "base")
    assert prove(chain, tmp_path / "second", model=base, merged=merged)["passed"]


def old_buffers(architecture):
    """What checkpoints of years ago hold besides their weights, and today's models compute."""
    mask = torch.ones(1, 1, 8, 8, dtype=torch.bool).tril()
    if architecture == "gpt2":
        return {f"transformer.h.{layer}.attn.bias": mask.bfloat16() for layer in range(2)}
    if architecture == "llama_tied":
        return {f"model.layers.{n}.self_attn.rotary_emb.inv_freq": torch.rand(4) for n in range(2)}
    place = "gpt_neox.layers.{}.attention"
    return {
        f"{place.format(layer)}.{name}": value.clone()
        for layer in range(2)
        for name, value in {
            "bias": mask,
            "masked_bias": torch.tensor(-1e9).half(),  # which is no finite number
            "rotary_emb.inv_freq": torch.rand(4),
        }.items()
    }


@pytest.fixture
def old(request, tmp_path):
    """Base, adapter and merged model of a checkpoint that holds more than the model's weights."""
    twice = request.param == "stored twice"
    architecture = "llama_tied" if twice else request.param
    model = make_architecture(architecture, tmp_path / "model")
    file = model / "model.safetensors"
    tensors = load_file(file)
    more = {"lm_head.weight": tensors["model.embed_tokens.weight"].clone()} if twice else None
    save_file(tensors | (more or old_buffers(architecture)), file, metadata={"format": "pt"})
    adapter = make_kind("LoRA", architecture, model, tmp_path / "adapter")
    (tmp_path / "merged").mkdir()
    merge_adapter(model, adapter, tmp_path / "merged")
    return model, adapter, tmp_path / "merged"


@pytest.mark.filterwarnings("ignore::UserWarning:peft")
@pytest.mark.parametrize(
    ("old", "free"),
    [
        *((name, None) for name in ("gpt2", "gpt_neox", "llama_tied", "stored twice")),
        *((name, 0) for name in ("gpt2", "llama_tied")),  # from disk
    ],
    indirect=["old"],
)
def test_a_merge_of_an_old_checkpoint_passes(old, tmp_path, free):
    """As those of GPT-2, Pythia and early Llamas are: with masks and frequencies in them."""
    (tmp_path / "proof").mkdir()
    proof = prove_merge(*old, tmp_path / "proof", free=free)["proof"]
    assert failed(proof) == set(), proof


@pytest.mark.filterwarnings("ignore::UserWarning:peft")
@pytest.mark.parametrize("old", ["gpt2", "gpt_neox"], indirect=True)
def test_what_the_model_computes_by_itself_must_be_the_bases(old, tmp_path):
    def flip(tensors):
        name = next(name for name in tensors if name.endswith((".attn.bias", "attention.bias")))
        tensors[name] = ~tensors[name] if tensors[name].dtype == torch.bool else -tensors[name]

    changed = change_weights(old[2], tmp_path / "changed", flip)
    assert failed(prove(old, tmp_path, merged=changed)) == {"weights"}
