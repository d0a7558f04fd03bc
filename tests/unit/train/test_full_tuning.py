"""All weights of a model are trained, from float32 to the dtype that the base is stored in."""

import json
from functools import partial

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    TrainerControl,
    TrainerState,
)

from scripts.lib.errors import TrainingError
from scripts.lib.train import full_tuning
from scripts.lib.train.callbacks import BestKeeper, Keeper
from scripts.lib.train.full_tuning import FullSpec, FullTuning, train_model
from tests.base_model import make_base_model, make_base_shards
from tests.tiny_architectures import make_architecture
from tests.tiny_model import make_tiny_model
from tests.tiny_shards import TOKENIZER_FILES, make_tiny_shards
from tests.unit.train.test_training import LOOP, contents, held_out_loss, losses

WEIGHTS = "model.safetensors"


def make_spec(**changes):
    loop = LOOP | {"learning_rate": 3e-3} | changes
    named = {key: value for key, value in loop.items() if key not in full_tuning.WITHOUT_ADAPTER}
    return FullSpec.from_json({"training": named})


@pytest.fixture
def train(tmp_path, model, shards):
    """Run train_model; returns the facts and the folder. Runs of one name share checkpoints."""

    def run(spec, name="run", **options):
        out = tmp_path / name
        out.mkdir(exist_ok=True)
        settings = {"scratch": tmp_path / f"{name}-scratch", "threads": 1} | options
        base, data = settings.pop("base", model), settings.pop("shards", shards)
        return train_model(spec, base, data, out, **settings), out

    return run


def test_the_folder_is_a_complete_model_with_the_last_valid_loss(train, model, shards):
    facts, out = train(make_spec())
    expected = held_out_loss(out, shards)
    # What is saved is bfloat16, as the base is.
    assert losses(facts, "valid_loss")[-1] == pytest.approx(expected, abs=5e-3)
    assert expected < losses(facts, "valid_loss")[0] - 0.3
    net = AutoModelForCausalLM.from_pretrained(out, dtype="auto")
    assert net.dtype == torch.bfloat16
    assert facts["trainable_parameters"] == facts["parameters"] == net.num_parameters()
    names = {"config.json", WEIGHTS, "generation_config.json", "history.jsonl", "verdict.json"}
    assert contents(out).keys() == names | set(TOKENIZER_FILES)
    assert (out / "config.json").read_bytes() == (model / "config.json").read_bytes()
    for name in TOKENIZER_FILES:
        assert (out / name).read_bytes() == (shards / "tokenizer" / name).read_bytes()
    before, after = load_file(model / WEIGHTS), load_file(out / WEIGHTS)
    assert before.keys() == after.keys()
    assert all(after[name].dtype == value.dtype for name, value in before.items())
    assert all(not torch.equal(after[name], value) for name, value in before.items())
    json.dumps(facts, allow_nan=False)


@pytest.fixture
def mixed(monkeypatch):
    """Let this processor multiply in bfloat16, however slowly."""
    monkeypatch.setattr(full_tuning, "computes_bfloat16", lambda: True)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_loss_falls_at_the_rates_of_a_full_fine_tune(train, mixed, dtype):
    # A hundred steps of 1e-5, which bfloat16 alone would round away: weights are about 0.02 here.
    loop = {"learning_rate": 1e-5, "scheduler": "constant", "epochs": 17, "dtype": dtype}
    facts, _ = train(make_spec(**loop))
    assert facts["arithmetic"] == dtype
    told = losses(facts, "valid_loss")
    assert told == sorted(told, reverse=True)
    assert told[-1] < told[0] - 5e-3


def test_equal_runs_have_equal_bytes_and_no_path_in_them(train, mixed, tmp_path):
    spec = make_spec(dtype="bfloat16", packing=True)
    facts, first = train(spec, "first")
    again, second = train(spec, "second")
    assert contents(first) == contents(second)
    assert facts == again
    assert all(str(tmp_path).encode() not in data for data in contents(first).values())


def test_a_killed_run_resumes_to_the_bytes_of_an_unbroken_one(train, mixed, tmp_path, monkeypatch):
    spec = make_spec(epochs=3, eval_every_steps=5, dtype="bfloat16")
    expected, unbroken = train(spec, "unbroken")

    def stop_at_seven(self, args, state, control, **_):
        control.should_save = control.should_training_stop = state.global_step == 7

    with monkeypatch.context() as patched:
        patched.setattr(Keeper, "on_step_end", stop_at_seven)
        train(spec, "lost", scratch=tmp_path / "scratch")
    facts, resumed = train(spec, "resumed", scratch=tmp_path / "scratch")
    assert contents(resumed) == contents(unbroken)
    assert facts == expected


def test_an_early_stop_keeps_the_best_weights_and_few_others_on_the_way(
    train, tmp_path, monkeypatch
):
    loop = {"learning_rate": 0.03, "scheduler": "constant", "eval_every_steps": 2}
    scratch = tmp_path / "early-scratch"
    most = {"best-*": 0, "checkpoint-*": 0}

    def count(self, args, state, control, **_):
        control.should_save = True
        for name in most:
            most[name] = max(most[name], len(list(scratch.glob(name))))

    monkeypatch.setattr(Keeper, "on_step_end", count)
    facts, out = train(make_spec(epochs=30, early_stopping_patience=2, **loop), "early")
    monkeypatch.undo()
    valid = {e["step"]: e["valid_loss"] for e in facts["history"] if e.get("valid_loss")}
    assert facts["kept_step"] == min(valid, key=valid.get) < facts["steps"]
    assert most == {"best-*": 1, "checkpoint-*": 1}
    _, short = train(make_spec(max_steps=facts["kept_step"], **loop), "short")
    assert (out / WEIGHTS).read_bytes() == (short / WEIGHTS).read_bytes()


@pytest.mark.parametrize("tied", [True, False])
def test_new_tokens_make_the_embedding_grow_and_are_trained(train, tmp_path, tied):
    base = make_base_model(tmp_path / "base", tied=tied, spare=0)
    data = tmp_path / "shards"
    make_base_shards(base, [(f"What is {w}?", f"the answer is {w}") for w in "ABCD"], data)
    facts, out = train(make_spec(epochs=2), base=base, shards=data)
    rows = json.loads((base / "config.json").read_text())["vocab_size"]
    new = json.loads((data / "control_tokens.json").read_text())
    config = json.loads((out / "config.json").read_text())
    assert config["vocab_size"] == rows + len(new)
    net = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32)
    assert net.get_input_embeddings().weight.shape[0] == rows + len(new)
    assert net.config.tie_word_embeddings == tied
    start = FullTuning(make_spec()).load(base)
    FullTuning(make_spec()).adapter(start, list(new.values()), max(new.values()) + 1)
    for layer in ("get_input_embeddings", "get_output_embeddings"):
        before = getattr(start, layer)().weight[list(new.values())]
        after = getattr(net, layer)().weight[list(new.values())]
        assert not torch.isclose(before, after, atol=1e-4).all(1).any()
    # It stops where its new template ends an answer.
    assert new["<|im_end|>"] in facts["stops"]["tokens"]
    assert new["<|im_end|>"] in GenerationConfig.from_pretrained(out).eos_token_id
    assert len(AutoTokenizer.from_pretrained(out)) == rows + len(new)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("architecture", ["qwen2", "gpt2", "gemma3", "gpt_neox", "mixtral"])
def test_what_is_saved_is_what_was_trained_whatever_the_architecture(train, tmp_path, architecture):
    base = make_architecture(architecture, tmp_path / "base")
    data = make_tiny_shards(tmp_path / "shards", base)
    facts, out = train(make_spec(max_steps=4), base=base, shards=data)
    assert held_out_loss(out, data) == pytest.approx(losses(facts, "valid_loss")[-1], abs=2e-2)
    before, after = load_file(base / WEIGHTS), load_file(out / WEIGHTS)
    assert {name: value.shape for name, value in before.items()} == {
        name: value.shape for name, value in after.items()
    }


def test_a_generation_config_that_contradicts_itself_is_carried_as_it_is(train, tmp_path):
    base = make_tiny_model(tmp_path / "odd")
    odd = {"temperature": 0.6, "do_sample": False, "eos_token_id": 2}
    (base / "generation_config.json").write_text(json.dumps(odd))
    _, out = train(make_spec(max_steps=1), base=base)
    assert json.loads((out / "generation_config.json").read_text()) == odd


def test_a_quantised_base_is_refused(train, tmp_path):
    base = make_tiny_model(tmp_path / "quantised")
    config = json.loads((base / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq"}
    (base / "config.json").write_text(json.dumps(config))
    with pytest.raises(TrainingError, match=r"quantised \(gptq\)"):
        train(make_spec(), base=base)


def test_a_disk_without_room_for_checkpoints_is_told_before_the_first_step(
    train, monkeypatch, tmp_path
):
    free = full_tuning.shutil.disk_usage(tmp_path)._replace(free=2**10)
    monkeypatch.setattr(full_tuning.shutil, "disk_usage", lambda _: free)
    with pytest.raises(TrainingError, match=r"no room for the checkpoints .* TUNESMITH_SCRATCH"):
        train(make_spec())
    assert not (tmp_path / "run-scratch").exists()


@pytest.mark.parametrize("keep", [None, "best"])
def test_room_is_asked_for_the_best_weights_too_where_they_are_kept(model, monkeypatch, keep):
    folder = model.parent / "nowhere"
    numbers = sum(weight.numel() for weight in load_file(model / WEIGHTS).values())
    # Weights and AdamW's two moments in float32, twice; the best weights, twice.
    needed = 2 * numbers * 4 * (3 + (keep == "best"))
    usage = full_tuning.shutil.disk_usage(model)
    check = partial(FullTuning(make_spec(keep=keep)).check, model, folder)
    monkeypatch.setattr(full_tuning.shutil, "disk_usage", lambda _: usage._replace(free=needed))
    check()
    monkeypatch.setattr(full_tuning.shutil, "disk_usage", lambda _: usage._replace(free=needed - 1))
    with pytest.raises(TrainingError, match="no room"):
        check()


def test_between_checkpoints_the_best_weights_replace_one_another(train, tmp_path, monkeypatch):
    scratch, found = tmp_path / "run-scratch", []
    kept = FullTuning.kept

    def count(self, model):
        found.append(len(list(scratch.glob("best-*"))))
        return kept(self, model)

    monkeypatch.setattr(FullTuning, "kept", count)
    train(make_spec(epochs=3, eval_every_steps=2, keep="best"))
    assert len(found) > 3 and max(found) == 1
    assert len(list(scratch.glob("best-*"))) == 1


def test_the_best_of_a_checkpoint_that_stays_is_not_removed(tmp_path):
    keeper = BestKeeper(tmp_path, FullTuning(make_spec(early_stopping_patience=3)))
    history = [{"step": step, "valid_loss": loss} for step, loss in ((2, 3.0), (4, 2.0), (6, 1.0))]
    (tmp_path / "checkpoint-5").mkdir()
    older = TrainerState(log_history=history[:2])
    older.save_to_json(str(tmp_path / "checkpoint-5" / "trainer_state.json"))
    for step in (2, 4, 6):
        (tmp_path / f"best-{step}.safetensors").touch()
    keeper.on_save(None, TrainerState(log_history=history), TrainerControl())
    assert {file.name for file in tmp_path.glob("best-*")} == {
        "best-4.safetensors",
        "best-6.safetensors",
    }
