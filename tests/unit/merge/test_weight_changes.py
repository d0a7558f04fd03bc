"""What the files of a finished checkpoint tell of how it differs from its base."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from scripts.lib.merge.weight_changes import BLOCK_BYTES, compare_weights
from tests.tiny_model import make_tiny_model


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp("weights") / "base")


def changed(base, folder, change):
    """Return a copy of a model whose weights *change* has edited."""
    folder.mkdir()
    weights = load_file(base / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text((base / "config.json").read_text())
    return folder


def test_a_copy_of_the_base_is_told_as_the_same_model(base):
    found = compare_weights(base, base)
    assert found["weights"] == AutoModelForCausalLM.from_pretrained(base).num_parameters()
    assert (found["weights_changed"], found["tensors_changed"], found["only_in_one"]) == (0, 0, [])
    assert found["relative_change"] == 0.0


def test_what_was_trained_is_counted_by_number_and_by_tensor(base, tmp_path):
    name = "model.layers.1.mlp.up_proj.weight"

    def change(weights):
        weights[name][:3] += 1

    weights = load_file(base / "model.safetensors")
    length = sum(float(w.double().square().sum()) for w in weights.values()) ** 0.5
    own = changed(base, tmp_path / "own", change)
    found = compare_weights(base, own)
    after = load_file(own / "model.safetensors")[name].double()
    moved = (after - weights[name].double()).square().sum() ** 0.5
    assert (found["weights_changed"], found["tensors_changed"]) == (3 * 32, 1)
    assert found["relative_change"] == pytest.approx(float(moved) / length)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_weights_that_are_no_finite_numbers_are_no_change_of_length_zero(base, tmp_path, number):
    def change(weights):
        weights["model.layers.1.mlp.up_proj.weight"][0, 0] = number

    found = compare_weights(base, changed(base, tmp_path / "broken", change))
    assert found["weights_changed"] == 1
    assert found["relative_change"] is None


def test_another_precision_differs_by_rounding_only(base, tmp_path):
    wide = changed(
        base, tmp_path / "wide", lambda w: w.update({n: t.float() for n, t in w.items()})
    )
    found = compare_weights(base, wide)
    assert (found["dtypes"], found["weights_changed"]) == (["BF16", "F32"], 0)


def test_a_vocabulary_that_grew_is_told_and_the_common_rows_are_compared(base, tmp_path):
    name = "model.embed_tokens.weight"
    rows = load_file(base / "model.safetensors")[name].shape[0]

    def grow(weights):
        weights[name] = torch.cat([weights[name], weights[name][:2]])

    found = compare_weights(base, changed(base, tmp_path / "grown", grow))
    assert found["vocabulary"] == [rows, rows + 2]
    assert (found["weights_changed"], found["only_in_one"]) == (0, [])


def test_a_tie_that_was_undone_is_no_other_architecture(base, tmp_path):
    def untie(weights):
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()

    found = compare_weights(base, changed(base, tmp_path / "untied", untie))
    assert (found["weights_changed"], found["only_in_one"]) == (0, [])


def test_tensors_of_another_shape_are_named_and_not_compared(base, tmp_path):
    name = "model.layers.0.mlp.up_proj.weight"
    other = changed(base, tmp_path / "o", lambda w: w.update({name: w[name][:, :4].clone()}))
    (other / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    found = compare_weights(base, other)
    assert found["architecture"] == ["llama", "qwen2"]
    assert found["only_in_one"] == [name]
    assert found["tensors"] == compare_weights(base, base)["tensors"] - 1


def test_a_tensor_of_many_blocks_is_compared_to_its_end(tmp_path):
    count = BLOCK_BYTES // 4 + 5
    one, other = torch.zeros(count), torch.zeros(count)
    other[-1] = 1
    for name, tensor in (("one", one), ("other", other)):
        (tmp_path / name).mkdir()
        save_file({"x": tensor}, tmp_path / name / "model.safetensors")
        (tmp_path / name / "config.json").write_text("{}")
    assert compare_weights(tmp_path / "one", tmp_path / "other")["weights_changed"] == 1
