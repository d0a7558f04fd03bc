"""An adapter that someone brings: what is wrong with it is told from its files and its base's."""

import json
import shutil
import warnings
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from scripts.lib.adapters.faults import adapter_faults, adapter_shapes
from tests.tiny_architectures import KINDS, make_architecture
from tests.tiny_model import make_tiny_model


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp("adapters") / "base")


def save_adapter(base: Path, folder: Path, *, pickled: bool = False, **shape) -> Path:
    model = AutoModelForCausalLM.from_pretrained(base)
    config = LoraConfig(**{"target_modules": "all-linear", "task_type": "CAUSAL_LM"} | shape)
    with warnings.catch_warnings():
        # Of tied layers, of Conv1D, of experts: PEFT's own, and none of them is an error.
        warnings.simplefilter("ignore")
        get_peft_model(model, config).save_pretrained(folder, safe_serialization=not pickled)
    return folder


@pytest.fixture(scope="module")
def whole(base, tmp_path_factory):
    return save_adapter(base, tmp_path_factory.mktemp("whole") / "adapter")


@pytest.fixture
def adapter(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "adapter")


def fault(adapter, base) -> str:
    (words,) = adapter_faults(adapter, base)
    return words


def change_config(adapter: Path, **settings) -> None:
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


def rename_tensors(adapter: Path, rename) -> None:
    file = adapter / "adapter_model.safetensors"
    save_file({rename(name): one for name, one in load_file(file).items()}, file)


@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"use_dora": True},
        {"bias": "all"},
        {"target_modules": ["q_proj", "embed_tokens"]},
        {"target_modules": ["q_proj"], "modules_to_save": ["lm_head", "embed_tokens"]},
        {"target_modules": ["q_proj"], "trainable_token_indices": [1, 2]},
        {"rank_pattern": {"q_proj": 2}, "exclude_modules": ["up_proj"]},
        {"pickled": True},
    ],
)
def test_what_peft_saves_has_no_fault_on_its_base_here_or_unknown(base, tmp_path, shape):
    saved = save_adapter(base, tmp_path / "adapter", **shape)
    assert [*adapter_faults(saved, base)] == [*adapter_faults(saved, None)] == []


@pytest.mark.parametrize("kind", KINDS)
def test_adapters_of_every_architecture_have_no_fault_on_their_base(tmp_path, kind):
    base = make_architecture(kind, tmp_path / "base")
    assert [*adapter_faults(save_adapter(base, tmp_path / "adapter"), base)] == []


def test_a_base_of_other_widths_is_told_with_the_first_layer_and_the_base_that_is_named(
    adapter, base, tmp_path
):
    file = base / "model.safetensors"
    wide = {n: torch.cat([one, one], dim=-1) for n, one in load_file(file).items()}
    (tmp_path / "wide").mkdir()
    save_file(wide, tmp_path / "wide/model.safetensors")
    change_config(adapter, base_model_name_or_path="acme/narrow")
    words = fault(adapter, tmp_path / "wide")
    assert "q_proj" in words or "down_proj" in words
    assert words.endswith("(its adapter_config.json names acme/narrow); give that one as `base`")


def test_keys_that_match_nothing_in_the_base_are_told(adapter, base):
    rename_tensors(adapter, lambda name: name.replace(".self_attn.", ".a.").replace(".mlp.", ".f."))
    assert fault(adapter, base).startswith("none of the 14 layers that ")


def test_a_base_with_fewer_layers_is_told(adapter, base):
    rename_tensors(adapter, lambda name: name.replace("layers.1.", "layers.7."))
    words = fault(adapter, base)
    assert words.startswith("7 of the 14 layers that ")
    assert "model.layers.7." in words


def test_tensors_that_carry_the_name_of_an_adapter_are_told(adapter, base):
    rename_tensors(adapter, lambda name: name.replace(".weight", ".default.weight"))
    assert "carry the name of an adapter" in fault(adapter, base)


def test_another_kind_of_adapter_is_told(base, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(base)
    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    get_peft_model(model, config).save_pretrained(tmp_path / "prompts")
    assert "its kind is PROMPT_TUNING, and only adapters of the kind LORA" in fault(
        tmp_path / "prompts", base
    )


def break_(name: str, adapter: Path) -> None:
    weights = adapter / "adapter_model.safetensors"
    match name:
        case "no config":
            (adapter / "adapter_config.json").unlink()
        case "a model":
            (adapter / "adapter_config.json").unlink()
            (adapter / "config.json").write_text("{}")
        case "further down":
            inner = adapter / "checkpoint-9"
            inner.mkdir()
            (adapter / "adapter_config.json").rename(inner / "adapter_config.json")
        case "a damaged config":
            (adapter / "adapter_config.json").write_text("{")
        case "no weights":
            weights.unlink()
        case "a pointer":
            weights.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
        case "cut short":
            weights.write_bytes(weights.read_bytes()[:100])
        case "a pickle that is none":
            weights.unlink()
            (adapter / "adapter_model.bin").write_text("weights")
        case "a random start":
            change_config(adapter, init_lora_weights="loftq")
        case "a rounded start":
            change_config(adapter, init_lora_weights="pissa_niter_4")
        case "replicated layers":
            change_config(adapter, layer_replication=[[0, 1], [0, 2]])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("no config", "has no adapter_config.json: it is no adapter as PEFT saves it"),
        ("a model", "it is a whole model; write `model:` instead of `adapter:`"),
        ("further down", "the adapter is a folder further down: checkpoint-9"),
        ("a damaged config", "it is damaged"),
        ("no weights", "has no weights (adapter_model.safetensors or adapter_model.bin)"),
        ("a pointer", "is a pointer of Git LFS, not the weights: run `git lfs pull` there"),
        ("cut short", "cannot be read as safetensors"),
        ("a pickle that is none", "cannot be read as weights"),
        ("a random start", "the start 'loftq' changed the weights of the base"),
        ("a rounded start", "the start 'pissa_niter_4' changed the weights of the base"),
        ("replicated layers", "uses layer_replication"),
    ],
)
def test_a_folder_that_will_not_do_is_told_why(adapter, base, name, text):
    break_(name, adapter)
    assert text in fault(adapter, base)


class Harm:
    def __reduce__(self):
        return (Path.touch, (Path("harmed"),))


def test_a_pickle_that_would_run_something_runs_nothing(adapter, base, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (adapter / "adapter_model.safetensors").unlink()
    torch.save({"x": Harm()}, adapter / "adapter_model.bin")
    assert "cannot be read as weights" in fault(adapter, base)
    assert not Path("harmed").exists()


def test_shapes_are_the_same_from_both_forms_of_weights(base, tmp_path, adapter):
    pickled = save_adapter(base, tmp_path / "pickled", pickled=True)
    assert (pickled / "adapter_model.bin").is_file()
    assert adapter_shapes(pickled) == adapter_shapes(adapter)
