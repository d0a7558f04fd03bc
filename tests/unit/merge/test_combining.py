"""Combinations of adapters: what each method promises, and what is refused."""

import dataclasses
import json
import shutil
from typing import get_args

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from scripts.lib.config.candidates import Method
from scripts.lib.errors import MergeError
from scripts.lib.merge.combining import CombineSpec, combine_adapters
from scripts.lib.merge.merging import merge_adapter
from scripts.lib.merge.proving import prove_merge
from tests.tiny_model import make_tiny_model
from tests.unit.merge.test_merging import make_adapter

EXACT = ("cat", "svd")
METHODS = get_args(Method)


def spec(method="cat", weights=(0.7, -0.3), **options):
    values = {"density": None, "rank": None, "majority_sign": None}
    values["seed"] = 1 if method.startswith("dare") else None
    return CombineSpec(method=method, weights=weights, **values | options)


def pruned(method):
    """Return the density that a method asks for."""
    return 0.5 if method.startswith(("ties", "dare", "magnitude_prune")) else None


def make_part(folder, model, *, seed, prompts, **options):
    """Make an adapter of large random weights, with prompts."""
    make_adapter(folder, model, **options)
    file = folder / "adapter_model.safetensors"
    generator = torch.Generator().manual_seed(seed)
    tensors = {
        name: torch.randn(part.shape, generator=generator) for name, part in load_file(file).items()
    }
    save_file(tensors, file, metadata={"format": "pt"})
    (folder / "prompts.json").write_text(json.dumps(prompts))
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module")
def parts(tmp_path_factory, model):
    """Two adapters of one rank on the same layers."""
    folder = tmp_path_factory.mktemp("parts")
    return [
        make_part(folder / "one", model, seed=1, prompts=[[5, 6, 7], [8, 9]]),
        make_part(folder / "two", model, seed=2, prompts=[[10, 11]]),
    ]


@pytest.fixture(scope="module")
def narrow(tmp_path_factory, model):
    """An rsLoRA adapter of another rank, on some of the layers."""
    folder = tmp_path_factory.mktemp("narrow") / "narrow"
    layers = {"target_modules": ["q_proj", "v_proj"], "use_rslora": True, "r": 2}
    return make_part(folder, model, seed=3, prompts=[[12, 13]], **layers)


def combine(out, model, adapters, asked):
    out.mkdir()
    return combine_adapters(asked, model, adapters, out)


def updates(adapter):
    """Return layer -> what an adapter adds to its weight, by its own files."""
    tensors = load_file(adapter / "adapter_model.safetensors")
    config = json.loads((adapter / "adapter_config.json").read_text())
    power = 0.5 if config["use_rslora"] else 1
    return {
        name.replace(".lora_A.weight", ""): config["lora_alpha"]
        / len(part) ** power  # some layers have ranks of their own
        * tensors[name.replace("lora_A", "lora_B")]
        @ part
        for name, part in tensors.items()
        if ".lora_A." in name
    }


def weighted_sum(adapters, weights):
    total = {}
    for adapter, weight in zip(adapters, weights, strict=True):
        for name, update in updates(adapter).items():
            total[name] = total.get(name, 0) + weight * update
    return total


def largest_gap(found, expected):
    assert found.keys() == expected.keys()
    return max(float((found[name] - expected[name]).abs().max()) for name in expected)


@pytest.mark.parametrize("method", EXACT)
def test_cat_and_a_wide_svd_are_the_weighted_sum(tmp_path, model, parts, method):
    facts = combine(
        tmp_path / "out", model, parts, spec(method, rank=8 if method == "svd" else None)
    )
    assert facts["rank"] == 8
    expected = weighted_sum(parts, (0.7, -0.3))
    assert largest_gap(updates(tmp_path / "out"), expected) < 1e-4


def test_the_scale_of_rslora_other_ranks_and_missing_layers_are_summed_rightly(
    tmp_path, model, parts, narrow
):
    adapters = [narrow, parts[0]]  # PEFT takes the first one's config over, its scale too
    assert combine(tmp_path / "out", model, adapters, spec(weights=(2.0, 0.5)))["rank"] == 6
    expected = weighted_sum(adapters, (2.0, 0.5))
    assert largest_gap(updates(tmp_path / "out"), expected) < 1e-4


SHAPED = {
    "a regular expression": {"target_modules": r".*\.1\..*_proj"},
    "an exclusion": {"exclude_modules": ["q_proj", "down_proj"]},
    "an excluding regular expression": {"exclude_modules": r".*\.mlp\..*"},
    "numbered layers": {"target_modules": ["v_proj", "up_proj"], "layers_to_transform": [1]},
    "ranks by layer": {"rank_pattern": {"q_proj": 2, "up_proj": 7}},
}


@pytest.mark.parametrize("method", EXACT)
@pytest.mark.parametrize("options", SHAPED.values(), ids=SHAPED)
@pytest.mark.parametrize("first", [True, False])
def test_parts_of_other_shapes_are_summed_whole_whichever_comes_first(
    tmp_path, model, parts, options, method, first
):
    shaped = make_part(tmp_path / "shaped", model, seed=4, prompts=[[9]], **options)
    adapters = [shaped, parts[0]] if first else [parts[0], shaped]
    asked = spec(method, weights=(2.0, 0.5), rank=11 if method == "svd" else None)
    combine(tmp_path / "out", model, adapters, asked)
    expected = weighted_sum(adapters, (2.0, 0.5))
    assert largest_gap(updates(tmp_path / "out"), expected) < 1e-4
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    left = PeftModel.from_pretrained(base, tmp_path / "out")  # warns of what has no place
    assert sum(".lora_A." in name for name, _ in left.named_parameters()) == len(expected)


def test_one_adapter_can_be_scaled(tmp_path, model, narrow):
    combine(tmp_path / "out", model, [narrow], spec(weights=(0.5,)))
    assert largest_gap(updates(tmp_path / "out"), weighted_sum([narrow], (0.5,))) < 1e-5


@pytest.mark.parametrize("method", METHODS)
def test_every_method_of_the_config_gives_peft_s_own_result_and_twice_the_same(
    tmp_path, model, parts, method
):
    asked = spec(method, density=pruned(method))
    combine(tmp_path / "one", model, parts, asked)
    combine(tmp_path / "two", model, parts, asked)
    files = sorted(file.name for file in (tmp_path / "one").iterdir())
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    peft = PeftModel.from_pretrained(base, parts[0], adapter_name="left")
    peft.load_adapter(parts[1], adapter_name="right")
    torch.manual_seed(1)
    peft.add_weighted_adapter(
        ["left", "right"],
        [0.7, -0.3],
        "both",
        combination_type=method,
        density=asked.density,
    )
    found = updates(tmp_path / "one")
    layers = {
        name: module.get_delta_weight("both")
        for name, module in peft.named_modules()
        if hasattr(module, "get_delta_weight")
    }
    assert largest_gap(found, layers) < 1e-4


@pytest.mark.parametrize("method", ["dare_linear", "dare_ties_svd"])
def test_a_seed_decides_what_dare_drops_and_nothing_else_is_random(tmp_path, model, parts, method):
    asked = spec(method, density=0.5)
    combine(tmp_path / "one", model, parts, asked)
    torch.rand(7)
    combine(tmp_path / "two", model, parts, asked)
    combine(tmp_path / "other", model, parts, dataclasses.replace(asked, seed=2))
    one, two, other = (updates(tmp_path / name) for name in ("one", "two", "other"))
    assert largest_gap(one, two) == 0
    assert largest_gap(one, other) > 0.1


def test_a_combination_merges_and_is_proved_like_any_adapter(tmp_path, model, parts):
    combine(tmp_path / "sum", model, parts, spec(weights=(0.02, 0.01)))
    for name in ("merged", "proof"):
        (tmp_path / name).mkdir()
    merge_adapter(model, tmp_path / "sum", tmp_path / "merged")
    found = prove_merge(model, tmp_path / "sum", tmp_path / "merged", tmp_path / "proof")
    assert found["proof"]["passed"], found
    assert (tmp_path / "merged/tokenizer.json").read_bytes() == (
        model / "tokenizer.json"
    ).read_bytes()


def test_prompts_of_all_parts_prove_the_merge(tmp_path, model, parts, narrow):
    combine(tmp_path / "out", model, [*parts, narrow], spec(weights=(1, 1, 1)))
    prompts = json.loads((tmp_path / "out/prompts.json").read_text())
    assert prompts == [[5, 6, 7], [10, 11], [12, 13], [8, 9]]


def test_parts_with_other_templates_are_refused_by_the_file(tmp_path, model, parts):
    other = shutil.copytree(parts[1], tmp_path / "other")
    (other / "chat_template.jinja").write_text("another")
    with pytest.raises(MergeError, match=r"differ in chat_template\.jinja"):
        combine(tmp_path / "out", model, [parts[0], other], spec())


@pytest.mark.parametrize(
    ("options", "words"),
    [({"use_dora": True}, "DoRA magnitudes"), ({"bias": "all"}, "biases")],
)
def test_adapters_that_no_method_combines_are_refused(tmp_path, model, parts, options, words):
    odd = shutil.copytree(parts[1], tmp_path / "odd")
    config = json.loads((odd / "adapter_config.json").read_text())
    (odd / "adapter_config.json").write_text(json.dumps(config | options))
    with pytest.raises(MergeError, match=words):
        combine(tmp_path / "out", model, [parts[0], odd], spec())


def test_other_ranks_are_refused_where_the_method_cannot(tmp_path, model, parts, narrow):
    with pytest.raises(MergeError, match="same r value"):
        combine(tmp_path / "out", model, [parts[0], narrow], spec("linear"))


def test_a_rank_that_a_layer_has_not_is_refused(tmp_path, model, parts):
    with pytest.raises(MergeError, match=r"Rank 999.*ask for 16 at most"):
        combine(tmp_path / "out", model, parts, spec("svd", rank=999))


def test_an_adapter_of_another_model_is_refused(tmp_path, parts):
    other = make_tiny_model(tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"hidden_size": 64, "head_dim": 16}))
    with pytest.raises(MergeError, match="PEFT cannot combine"):
        combine(tmp_path / "out", other, parts, spec())
