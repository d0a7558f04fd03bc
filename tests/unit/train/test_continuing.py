"""A run that goes on from an adapter: it starts as that adapter, and ends as another."""

import json
import signal

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from scripts.lib.errors import TrainingError
from scripts.lib.train.continuing import with_shape_of
from scripts.lib.train.lora_tuning import train_adapter
from scripts.lib.train.spec import TrainSpec
from tests.unit.train.test_training import LOOP, held_out_loss, losses

SHAPES = {
    "plain": {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj"]},
    "patterns": {
        **{"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "lora_dropout": 0.1},
        **{"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 2}},
    },
    "dora": {"r": 2, "lora_alpha": 2, "target_modules": ["v_proj"], "use_dora": True},
}


def saved(model, folder, **shape):
    """Write a trained adapter as PEFT itself does."""
    torch.manual_seed(1)
    base = AutoModelForCausalLM.from_pretrained(model)
    tuned = get_peft_model(base, LoraConfig(**shape, task_type="CAUSAL_LM"))
    for name, weight in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=3.0)
    tuned.save_pretrained(folder)
    return folder


def go_on(model, shards, start, folder, lora=None, **loop):
    folder.mkdir()
    own = {key: value for key, value in (lora or {}).items() if key == "dropout"}
    mapping = {"lora": own, "quantization": None, "training": LOOP | loop}
    spec = TrainSpec.from_json(with_shape_of(mapping, lora or {}, start))
    scratch = folder.with_name(f"{folder.name}-scratch")
    return train_adapter(spec, model, shards, folder, scratch=scratch, threads=1, start=start)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_loss_before_the_first_step_is_the_adapters(model, shards, tmp_path, shape):
    start = saved(model, tmp_path / "start", **SHAPES[shape])
    out = tmp_path / "out"
    facts = go_on(model, shards, start, out, {"dropout": 0.0})
    first, *_, last = losses(facts, "valid_loss")
    expected = held_out_loss(model, shards, start)
    assert first == pytest.approx(expected, abs=1e-4)
    assert abs(expected - held_out_loss(model, shards)) > 1e-3, "or it could be the base's"
    assert last < first - 0.03
    assert last == pytest.approx(held_out_loss(model, shards, out), abs=1e-4)
    before, after = (load_file(f / "adapter_model.safetensors") for f in (start, out))
    assert {n: t.shape for n, t in before.items()} == {n: t.shape for n, t in after.items()}


def test_the_dropout_of_the_run_counts_and_the_rest_is_the_adapters(model, shards, tmp_path):
    start = saved(model, tmp_path / "start", **SHAPES["patterns"])
    go_on(model, shards, start, tmp_path / "out", {"dropout": 0.3, "r": 4}, max_steps=1)
    config = json.loads((tmp_path / "out/adapter_config.json").read_text())
    assert (config["lora_dropout"], config["r"]) == (0.3, 4)
    assert (config["rank_pattern"], config["alpha_pattern"]) == ({"q_proj": 2}, {"v_proj": 2})


def test_an_adapter_that_an_older_peft_saved_says_less_and_has_the_same_shape(model, tmp_path):
    """Such as of 2023: rsLoRA, DoRA and patterns were not there to be written down."""
    start = saved(model, tmp_path / "start", **SHAPES["plain"])
    mapping = {"lora": {"dropout": 0.1}, "quantization": None, "training": LOOP}
    expected = TrainSpec.from_json(with_shape_of(mapping, {}, start))
    file = start / "adapter_config.json"
    said = {"peft_type", "r", "lora_alpha", "target_modules", "lora_dropout", "task_type"}
    config = {key: value for key, value in json.loads(file.read_text()).items() if key in said}
    file.write_text(json.dumps(config))
    found = TrainSpec.from_json(with_shape_of(mapping, {}, start))
    assert found == expected
    assert (found.lora.r, found.lora.dropout, found.lora.use_dora) == (4, 0.1, False)


def test_what_was_killed_goes_on_from_its_checkpoint_and_not_from_the_adapter(
    model, shards, tmp_path, monkeypatch
):
    start = saved(model, tmp_path / "start", **SHAPES["plain"])
    go_on(model, shards, start, tmp_path / "whole")
    from scripts.lib.train import callbacks

    told = callbacks.Progress.on_step_end

    def stop(self, args, state, control, **more):
        if state.global_step == 3:
            signal.raise_signal(signal.SIGTERM)
        return told(self, args, state, control, **more)

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.Progress, "on_step_end", stop)
        with pytest.raises(TrainingError, match="stopped after step"):
            go_on(model, shards, start, tmp_path / "cut")
    (tmp_path / "cut").rmdir()
    go_on(model, shards, start, tmp_path / "cut")
    name = "adapter_model.safetensors"
    assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize(
    ("lora", "text"),
    [
        ({"r": 8}, "lora.r is 8, and the adapter that the run goes on from has 4"),
        ({"alpha": 4}, "lora.alpha is 4, and the adapter that the run goes on from has 8"),
        ({"target_modules": ["q_proj"]}, "lora.target_modules is ['q_proj']"),
        ({"use_dora": True}, "lora.use_dora is True"),
    ],
)
def test_another_shape_than_the_adapters_is_refused(model, tmp_path, lora, text):
    start = saved(model, tmp_path / "start", **SHAPES["plain"])
    with pytest.raises(TrainingError) as error:
        with_shape_of({"lora": {}}, lora, start)
    assert text in str(error.value)
    same = {"r": 4, "alpha": 8, "target_modules": ["down_proj", "q_proj"], "use_rslora": False}
    with_shape_of({"lora": {}}, same, start)


def test_a_start_that_changed_its_base_is_refused(model, tmp_path):
    start = saved(model, tmp_path / "start", **SHAPES["plain"])
    file = start / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"init_lora_weights": "pissa"}))
    with pytest.raises(TrainingError, match="changed the weights of the base, from which training"):
        with_shape_of({"lora": {}}, {}, start)


def test_an_adapter_of_another_base_is_refused(model, shards, tmp_path):
    start = saved(model, tmp_path / "start", **SHAPES["plain"])
    file = start / "adapter_config.json"
    changed = {"target_modules": ["q_proj"]}
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))
    with pytest.raises(TrainingError, match="does not fit its base"):
        go_on(model, shards, start, tmp_path / "out")
