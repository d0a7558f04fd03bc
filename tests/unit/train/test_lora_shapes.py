"""Every option about an adapter's shape, from a few steps of training to the proof of its merge.

Parameters are counted from the sizes of the tiny models by LoRA's own formula, r x (inputs +
outputs), and not from what training says.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from scripts.lib.errors import TrainingError
from scripts.lib.merge.merging import merge_adapter
from scripts.lib.merge.proving import prove_merge
from scripts.lib.train.lora_size import lora_parameters
from scripts.lib.train.lora_tuning import train_adapter
from scripts.lib.train.model_size import size_of
from tests.tiny_architectures import make_architecture
from tests.tiny_model import make_tokenizer
from tests.tiny_shards import make_tiny_shards
from tests.unit.train.test_training import held_out_loss, losses, make_spec

# PEFT warns of tied embeddings, which is what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:peft")

ATTENTION = {"q_proj": (32, 32), "k_proj": (32, 16), "v_proj": (32, 16), "o_proj": (32, 32)}
MLP = {"gate_proj": (32, 48), "up_proj": (32, 48), "down_proj": (48, 32)}
LINEAR = ATTENTION | MLP
"""Inputs and outputs of each linear layer in tests.tiny_architectures' Llama and Qwen 2."""

LAYERS, WIDTH = 2, 32
ROWS = len(make_tokenizer())
R = 4  # of make_spec


def lora(*names: str, layers: int = LAYERS, r: int = R, **ranks: int) -> int:
    """Return the parameters of adapters on some linear layers; *ranks* differ from *r*."""
    return layers * sum(ranks.get(name, r) * sum(LINEAR[name]) for name in names or LINEAR)


class Shape(NamedTuple):
    """One option.

    Attributes:
        options: Settings of the adapter.
        parameters: How many numbers are trained.
        config: What adapter_config.json must say.
        architecture: The base.
        method: How it is merged.
        untied: Whether the merge parts tied embeddings.
    """

    options: Mapping[str, Any]
    parameters: int
    config: Mapping[str, Any] = {}
    architecture: str = "llama_tied"
    method: str = "stream"
    untied: bool = False


SHAPES = {
    "all linear": Shape({}, lora()),
    "rank pattern": Shape(
        {"rank_pattern": {"down_proj": 6, r"layers\.0\.self_attn\.q_proj": 2}},
        lora(down_proj=6) - 2 * sum(LINEAR["q_proj"]),
        {"rank_pattern": {"down_proj": 6, r"layers\.0\.self_attn\.q_proj": 2}, "r": 4},
    ),
    "alpha pattern": Shape(
        {"alpha_pattern": {"[qk]_proj": 2.5}}, lora(), {"alpha_pattern": {"[qk]_proj": 2.5}}
    ),
    "patterns and rsLoRA": Shape(
        {"rank_pattern": {"v_proj": 9}, "alpha_pattern": {"o_proj": 3}, "use_rslora": True},
        lora(v_proj=9),
    ),
    "patterns and PiSSA": Shape(
        {
            **{"rank_pattern": {"v_proj": 2}, "alpha_pattern": {"o_proj": 3}},
            **{"use_rslora": True, "init": "pissa"},
        },
        lora(v_proj=2),
        {"r": 8, "rank_pattern": {"v_proj": 4}},
    ),
    "patterns and OLoRA": Shape(
        {"rank_pattern": {"v_proj": 2}, "alpha_pattern": {"o_proj": 3}, "init": "olora"},
        lora(v_proj=2),
        {"r": 8, "rank_pattern": {"v_proj": 4}, "lora_alpha": 16, "alpha_pattern": {"o_proj": 6}},
    ),
    "regular expression": Shape(
        {"target_modules": r".*\.1\.self_attn\.[qv]_proj"},
        lora("q_proj", "v_proj", layers=1),
        {"target_modules": r".*\.1\.self_attn\.[qv]_proj"},
    ),
    "excluded names": Shape(
        {"exclude_modules": ["down_proj", "0.self_attn.k_proj"]},
        lora(*(LINEAR.keys() - {"down_proj"})) - R * sum(LINEAR["k_proj"]),
        {"exclude_modules": ["0.self_attn.k_proj", "down_proj"]},
    ),
    "excluded by a regular expression": Shape(
        {"exclude_modules": r".*\.mlp\..*"}, lora(*ATTENTION), {"exclude_modules": r".*\.mlp\..*"}
    ),
    "one layer": Shape({"layers_to_transform": [1]}, lora(layers=1)),
    "names in one layer": Shape(
        {"layers_to_transform": [0], "target_modules": ["q_proj", "down_proj"]},
        lora("q_proj", "down_proj", layers=1),
        {"target_modules": ["model.layers.0.mlp.down_proj", "model.layers.0.self_attn.q_proj"]},
    ),
    "DoRA": Shape({"use_dora": True}, lora() + LAYERS * sum(out for _, out in LINEAR.values())),
    "DoRA and patterns": Shape(
        {"use_dora": True, "target_modules": ["q_proj"], "rank_pattern": {"q_proj": 7}},
        lora("q_proj", q_proj=7) + LAYERS * 32,
    ),
    "all biases": Shape(
        {"bias": "all", "target_modules": ["q_proj"]},
        lora("q_proj") + LAYERS * (32 + 16 + 16),
        architecture="qwen2",
    ),
    "biases of the targets": Shape(
        {"bias": "lora_only", "target_modules": ["q_proj", "down_proj"]},
        lora("q_proj", "down_proj") + LAYERS * 32,
        architecture="qwen2",
    ),
    "EVA with the ranks as they are": Shape({"init": "eva", "eva_rho": 1.0}, lora()),
    "EVA with the ranks as they are, and patterns": Shape(
        {
            **{"init": "eva", "eva_rho": 1.0, "use_rslora": True},
            **{"rank_pattern": {"o_proj": 2}, "alpha_pattern": {"v_proj": 3}},
        },
        lora(o_proj=2),
    ),
    "EVA and DoRA": Shape(
        {"init": "eva", "eva_rho": 1.0, "use_dora": True, "target_modules": ["q_proj", "o_proj"]},
        lora("q_proj", "o_proj") + LAYERS * (32 + 32),
    ),
    "experts of Mixtral, as a list of parameters": Shape(
        {"target_parameters": ["experts.down_proj"], "rank_pattern": {"experts.down_proj": 3}},
        lora(*ATTENTION) + LAYERS * 4 * 3 * (48 + 32),
        {"rank_pattern": {"experts.down_proj": 3}},
        architecture="mixtral",
    ),
    "experts of Qwen 3": Shape(
        {"target_parameters": "experts"},
        # Gate and up are one parameter, of twice the outputs.
        lora(*ATTENTION) + LAYERS * 4 * R * ((32 + 2 * 16) + (16 + 32)),
        architecture="qwen3_moe",
    ),
    "experts of gpt-oss in one layer": Shape(
        {"target_parameters": "experts", "layers_to_transform": [1], "use_rslora": True},
        lora(*ATTENTION, layers=1) + 4 * R * ((32 + 2 * 48) + (48 + 32)),
        architecture="gpt_oss",
    ),
    "all linear layers of a mixture, with dropout": Shape(
        {"dropout": 0.05}, lora(*ATTENTION), architecture="qwen3_moe"
    ),
    "a regular expression in a mixture": Shape(
        {"target_modules": r".*\.1\.self_attn\.[qkvo]_proj"},
        lora(*ATTENTION, layers=1),
        architecture="mixtral",
    ),
    "whole norms": Shape(
        {"modules_to_save": ["input_layernorm"]},
        lora() + LAYERS * WIDTH,
        {"modules_to_save": ["input_layernorm"]},
    ),
    "whole output layer": Shape(
        {"modules_to_save": ["lm_head"]}, lora() + ROWS * WIDTH, architecture="llama_untied"
    ),
    "whole output layer that was tied": Shape(
        {"modules_to_save": ["lm_head"]}, lora() + ROWS * WIDTH, untied=True
    ),
    "whole embedding and output layer that were tied": Shape(
        {"modules_to_save": ["embed_tokens", "lm_head"]}, lora() + 2 * ROWS * WIDTH, untied=True
    ),
    "a whole layer in place of its adapter": Shape(
        {"modules_to_save": ["v_proj"]}, lora(*(LINEAR.keys() - {"v_proj"})) + LAYERS * 32 * 16
    ),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A random model of an architecture and its shards, made when they are asked for."""
    folder = tmp_path_factory.mktemp("bases")

    def make(architecture: str) -> tuple[Path, Path]:
        model, shards = folder / architecture, folder / f"{architecture}-shards"
        if not model.exists():
            make_tiny_shards(shards, make_architecture(architecture, model))
        return model, shards

    return make


def train(base, folder: Path, architecture: str = "llama_tied", **options):
    model, shards = base(architecture)
    out = folder / "adapter"
    out.mkdir(parents=True)
    spec = make_spec(**{"epochs": 1, **options})
    facts = train_adapter(spec, model, shards, out, scratch=folder / "scratch", threads=1)
    return facts, out


def merge_by_peft(shape: Shape, model: Path, adapter: Path, out: Path):
    """Return the tensors of PEFT's own merge, as it saves them.

    On the parameters of experts PEFT rounds the update before it adds it, unlike on layers; here it
    is rounded once, as PEFT does in float32.
    """
    once = "target_parameters" in shape.options
    net = AutoModelForCausalLM.from_pretrained(
        model, dtype=torch.float32 if once else torch.bfloat16
    )
    merged = PeftModel.from_pretrained(net, adapter).merge_and_unload().to(torch.bfloat16)
    merged.save_pretrained(out)
    saved = load_file(out / "model.safetensors")
    return merged.state_dict() | saved


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_an_option_is_trained_saved_loaded_merged_and_proved(base, tmp_path, shape):
    model, shards = base(shape.architecture)
    facts, adapter = train(base, tmp_path / "one", shape.architecture, **shape.options)
    assert facts["trainable_parameters"] == shape.parameters
    # It learns, and what is saved is what was trained, in plain PEFT on the base as published.
    first, *_, last = losses(facts, "valid_loss")
    assert last < first - 0.03
    assert held_out_loss(model, shards, adapter) == pytest.approx(last, abs=1e-4)
    config = json.loads((adapter / "adapter_config.json").read_text())
    assert {key: config[key] for key in shape.config} == dict(shape.config)
    # PEFT's sets have another order in each process.
    for key in ("target_modules", "exclude_modules"):
        if isinstance(config[key], list):
            assert config[key] == sorted(config[key])
    # The merge has the bits of PEFT's, and is proved.
    merged, proof = tmp_path / "merged", tmp_path / "proof"
    merged.mkdir()
    proof.mkdir()
    told = merge_adapter(model, adapter, merged)
    assert (told["method"], told["untied"]) == (shape.method, shape.untied)
    theirs = merge_by_peft(shape, model, adapter, tmp_path / "theirs")
    for name, tensor in load_file(merged / "model.safetensors").items():
        assert torch.equal(tensor, theirs[name]), name
    found = prove_merge(model, adapter, merged, proof)["proof"]
    assert [check for check in found["checks"] if not check["passed"]] == []


UNCOUNTED = ("all biases", "biases of the targets")


@pytest.mark.parametrize("name", sorted(SHAPES.keys() - {*UNCOUNTED}))
def test_a_forecast_counts_what_is_trained(base, name):
    shape = SHAPES[name]
    model, _ = base(shape.architecture)
    size = size_of(tuple(map(str, sorted(model.iterdir()))))
    spec = dataclasses.asdict(make_spec(**shape.options).lora)
    assert lora_parameters(spec, size) == shape.parameters


WRONG = {
    "an unknown module": ({"target_modules": ["q_prj"]}, "did you mean 'q_proj'?"),
    "a regular expression for the last part": (
        {"target_modules": "[qv]_proj"},
        "fits the whole name of no module, such as",
    ),
    "an unknown exclusion": (
        {"exclude_modules": ["dense"]},
        "names 'dense', and the model has no such module",
    ),
    "everything excluded": ({"exclude_modules": r".*"}, "leaves no layer to train"),
    "a layer beyond the last": (
        {"layers_to_transform": [1, 2]},
        "names layer 2, and the model has",
    ),
    "a pattern for nothing": ({"rank_pattern": {"fc1": 8}}, "fits no layer that gets an adapter"),
    "a pattern for a layer without one": (
        {"alpha_pattern": {"up_proj": 8}, "target_modules": ["q_proj"]},
        "these do: q_proj",
    ),
    "patterns that disagree": (
        {"rank_pattern": {"q_proj": 8, ".*_proj": 2}},
        "let one pattern fit each layer",
    ),
    "experts that there are none of": (
        {"target_parameters": "experts"},
        "asks for experts, and the model has none",
    ),
    "an unknown parameter": (
        {"target_parameters": ["experts.w1"]},
        "the model has no such parameter",
    ),
    "an unknown whole module": (
        {"modules_to_save": ["score"]},
        "names 'score', and the model has no such module",
    ),
}


@pytest.mark.parametrize(("options", "told"), WRONG.values(), ids=WRONG)
def test_what_the_model_does_not_have_is_refused_with_what_it_has(base, tmp_path, options, told):
    with pytest.raises(TrainingError) as error:
        train(base, tmp_path, **options)
    assert told in str(error.value)
    assert str(error.value).startswith("lora.")


def shapes_in(adapter: Path) -> dict[str, tuple[int, int]]:
    """Return rank and inputs of each layer of an adapter, by the layer's name."""
    return {
        name.removeprefix("base_model.model.").removesuffix(".lora_A.weight"): tuple(part.shape)
        for name, part in load_file(adapter / "adapter_model.safetensors").items()
        if ".lora_A." in name
    }


def test_eva_shares_the_ranks_out_and_resumes_to_the_same_bytes(base, tmp_path):
    model, shards = base("llama_tied")
    options = {"init": "eva", "epochs": 1, "checkpoint_seconds": 0.0}
    seconds = options.pop("checkpoint_seconds")
    spec = make_spec(**options)
    out, scratch = tmp_path / "adapter", tmp_path / "scratch"
    out.mkdir()
    facts = train_adapter(
        spec, model, shards, out, scratch=scratch, threads=1, checkpoint_seconds=seconds
    )
    ranks = {name: rank for name, (rank, _) in shapes_in(out).items()}
    # As many as r in each of the layers all in all, none more than twice that, and not all alike.
    assert sum(ranks.values()) == R * LAYERS * len(LINEAR)
    assert max(ranks.values()) <= 2 * R and len(set(ranks.values())) > 1
    counted = sum(rank * sum(LINEAR[name.rpartition(".")[2]]) for name, rank in ranks.items())
    assert facts["trainable_parameters"] == counted
    config = json.loads((out / "adapter_config.json").read_text())
    named = {name: rank for name, rank in ranks.items() if rank != R}
    assert config["rank_pattern"] == named and config["r"] == R
    assert held_out_loss(model, shards, out) == pytest.approx(
        losses(facts, "valid_loss")[-1], abs=1e-4
    )
    # From the last checkpoint on, and with another micro batch, it is the same adapter.
    again = tmp_path / "again"
    again.mkdir()
    train_adapter(spec, model, shards, again, scratch=scratch, threads=1)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (out / name).read_bytes() == (again / name).read_bytes()
    merged, proof = tmp_path / "merged", tmp_path / "proof"
    merged.mkdir()
    proof.mkdir()
    assert merge_adapter(model, out, merged)["method"] == "stream"
    assert prove_merge(model, out, merged, proof)["proof"]["passed"]


def test_eva_with_too_few_tokens_says_what_to_write(base, tmp_path, monkeypatch):
    monkeypatch.setattr("scripts.lib.train.eva.MOST_PASSES", 30)
    with pytest.raises(TrainingError, match=r"a larger training\.batch_size"):
        train(base, tmp_path, init="eva", r=24, batch_size=1)


def test_a_model_that_mixes_conversations_is_not_packed(base, tmp_path):
    with pytest.raises(TrainingError, match=r"write training\.packing: false"):
        train(base, tmp_path, "gpt_oss", packing=True)
