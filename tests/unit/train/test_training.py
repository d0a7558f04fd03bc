import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from peft import PeftModel
from torch.nn import functional
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from scripts.lib.errors import TrainingError
from scripts.lib.train import model as train_model
from scripts.lib.train import training
from scripts.lib.train.records import thin
from scripts.lib.train.spec import LoraSpec, TrainSpec
from tests.tiny_shards import TOKENIZER_FILES, make_tiny_shards

ROOT = Path(__file__).parents[3]
LORA = {
    "r": 4,
    "alpha": 8,
    "dropout": 0.0,
    "bias": "none",
    "target_modules": "all-linear",
    "use_rslora": False,
    "use_dora": False,
    "init": True,
}
LOOP = {
    "epochs": 2,
    "max_steps": None,
    "learning_rate": 1e-2,
    "scheduler": "cosine",
    "lr_scheduler_kwargs": {},
    "warmup_ratio": 0.0,
    "warmup_steps": None,
    "optim": "adamw_torch_fused",
    "optim_args": {},
    "adam_beta1": 0.9,
    "adam_beta2": 0.999,
    "adam_epsilon": 1e-8,
    "weight_decay": 0.0,
    "loraplus_lr_ratio": None,
    "loraplus_lr_embedding": 1e-6,
    "neftune_noise_alpha": None,
    "label_smoothing_factor": 0.0,
    "max_grad_norm": 1.0,
    "batch_size": 4,
    "packing": False,
    "max_length_tokens": 128,
    "eval_every_steps": None,
    "early_stopping_patience": None,
    "keep": None,
    "best_by": "valid",
    "evaluate_on": [],
    "answers": 0,
    "answer_tokens": 16,
    "seed": 3,
    "dtype": "float32",
}


def make_spec(**changes):
    """The spec of a short run; *changes* go where they belong."""
    shape = {field.name for field in dataclasses.fields(LoraSpec)}
    lora = LORA | {key: changes.pop(key) for key in shape & changes.keys()}
    quantization = changes.pop("quantization", None)
    loop = LOOP | changes
    return TrainSpec.from_json({"lora": lora, "quantization": quantization, "training": loop})


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def losses(facts, key="loss"):
    return [event[key] for event in facts["history"] if key in event]


def held_out_loss(model, shards, adapter=None):
    """The mean loss per trained token of the valid split, row by row, without any trainer."""
    net = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    if adapter:
        net = PeftModel.from_pretrained(net, adapter)
    total = tokens = 0
    for row in pq.read_table(shards / "valid-00000.parquet").to_pylist():
        ids, mask = torch.tensor(row["input_ids"]), torch.tensor(row["loss_mask"])[1:].bool()
        with torch.no_grad():
            logits = net(input_ids=ids[None]).logits[0, :-1]
        total += functional.cross_entropy(logits[mask], ids[1:][mask], reduction="sum").item()
        tokens += int(mask.sum())
    return total / tokens


def test_the_loss_looks_at_trained_tokens_only_and_starts_at_the_base(train, model, shards):
    facts, _ = train(make_spec(max_steps=1))
    assert losses(facts, "valid_loss")[0] == pytest.approx(held_out_loss(model, shards), abs=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"bias": "all", "target_modules": ["q_proj", "down_proj"]},
        {"use_rslora": True},
        {"use_dora": True, "packing": True},
        {"init": "pissa"},
        {"init": "olora", "use_rslora": True},
    ],
)
def test_the_written_adapter_on_the_base_has_the_last_valid_loss(train, model, shards, options):
    facts, out = train(make_spec(**options))
    expected = held_out_loss(model, shards, out)
    assert losses(facts, "valid_loss")[-1] == pytest.approx(expected, abs=1e-4)
    assert expected < losses(facts, "valid_loss")[0] - 0.03


def test_packing_keeps_conversations_apart(train):
    # One step over all rows: packed or not, it is the same tokens with the same contexts.
    apart, _ = train(make_spec(batch_size=24, max_steps=1), "apart")
    packed, _ = train(make_spec(batch_size=24, max_steps=1, packing=True), "packed")
    assert packed["train_sequences"] < apart["train_sequences"] == 24
    assert losses(packed) == pytest.approx(losses(apart), abs=1e-5)


@pytest.mark.parametrize("packing", [True, False])
def test_the_micro_batch_does_not_change_the_run(train, packing):
    spec = make_spec(packing=packing)
    one, _ = train(spec, "one", micro_batch=1)
    four, _ = train(spec, "four", micro_batch=4)
    assert one["steps"] == four["steps"]
    assert losses(one) == pytest.approx(losses(four), abs=1e-4)
    assert losses(one, "valid_loss") == pytest.approx(losses(four, "valid_loss"), abs=1e-4)


def test_nor_does_it_for_a_family_whose_own_loss_counts_no_tokens(train, monkeypatch):
    spec = make_spec(max_steps=3)
    usual, _ = train(spec, "usual", micro_batch=1)
    monkeypatch.setattr(LlamaForCausalLM, "accepts_loss_kwargs", False, raising=False)
    for size in (1, 4):
        facts, _ = train(spec, f"of {size}", micro_batch=size)
        assert losses(facts) == pytest.approx(losses(usual), abs=1e-4)


def test_equal_runs_have_equal_bytes_and_no_path_in_them(train, tmp_path):
    spec = make_spec(dropout=0.05, dtype="bfloat16", packing=True)
    facts, first = train(spec, "first")
    again, second = train(spec, "second")
    assert contents(first) == contents(second)
    assert facts == again
    assert all(str(tmp_path).encode() not in data for data in contents(first).values())
    # A set of names has another order in each process; sorted it has one.
    modules = json.loads((first / "adapter_config.json").read_text())["target_modules"]
    assert len(modules) == 14
    assert modules == sorted(modules)


@pytest.mark.parametrize("able", [True, False])
def test_weights_of_bfloat16_are_computed_in_float32_where_nothing_else_is(
    model, monkeypatch, able
):
    monkeypatch.setattr(train_model, "computes_bfloat16", lambda: able)
    spec = make_spec(dtype="bfloat16")
    base = train_model.load_base(spec, model)
    dtype = torch.bfloat16 if able else torch.float32
    assert (base.dtype, f"torch.{train_model.arithmetic(spec)}") == (dtype, str(dtype))
    stored = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).state_dict()
    for name, weight in base.state_dict().items():
        assert torch.equal(weight.float(), stored[name].bfloat16().float())


def test_the_folder_holds_what_later_stages_read(train, model, shards):
    facts, out = train(make_spec(max_steps=2))
    expected = {"adapter_config.json", "adapter_model.safetensors"}
    expected |= {"history.jsonl", "verdict.json", "prompts.json", *TOKENIZER_FILES}
    assert contents(out).keys() == expected
    for name in TOKENIZER_FILES:
        assert (out / name).read_bytes() == (shards / "tokenizer" / name).read_bytes()
    assert (
        json.loads((out / "adapter_config.json").read_text())["base_model_name_or_path"]
        == model.name
    )
    lines = (out / "history.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == facts["history"]
    assert json.loads((out / "verdict.json").read_text()) == facts["verdict"]
    prompts = json.loads((out / "prompts.json").read_text())
    valid = pq.read_table(shards / "valid-00000.parquet")["input_ids"].to_pylist()
    assert prompts == [ids[:64] for ids in valid]
    json.dumps(facts, allow_nan=False)


def test_the_valid_loss_is_told_at_the_start_each_epoch_and_the_end(train):
    def steps(facts):
        return [event["step"] for event in facts["history"] if "valid_loss" in event]

    per_epoch, _ = train(make_spec(epochs=1.5), "epochs")
    assert steps(per_epoch) == [0, 6, 9]
    every_four, _ = train(make_spec(epochs=1.5, eval_every_steps=4), "steps")
    assert steps(every_four) == [0, 4, 8, 9]


def test_without_held_out_rows_the_run_goes_on_without_them(train, model, tmp_path):
    alone = make_tiny_shards(tmp_path / "alone", model, valid=0)
    facts, out = train(make_spec(max_steps=2), shards=alone)
    assert losses(facts, "valid_loss") == []
    assert len(json.loads((out / "prompts.json").read_text())) == 8


def test_an_early_stop_keeps_the_best_adapter(train):
    loop = {"learning_rate": 0.08, "scheduler": "constant", "eval_every_steps": 3}
    facts, out = train(make_spec(epochs=20, early_stopping_patience=2, **loop), "early")
    valid = {e["step"]: e["valid_loss"] for e in facts["history"] if e.get("valid_loss")}
    assert facts["kept_step"] == min(valid, key=valid.get)
    assert facts["steps"] == facts["kept_step"] + 6 < 120
    _, short = train(make_spec(max_steps=facts["kept_step"], **loop), "short")
    name = "adapter_model.safetensors"
    assert (out / name).read_bytes() == (short / name).read_bytes()


def test_early_stopping_needs_held_out_rows(train, model, tmp_path):
    alone = make_tiny_shards(tmp_path / "alone", model, valid=0)
    with pytest.raises(TrainingError, match="no valid split"):
        train(make_spec(early_stopping_patience=1), shards=alone)


def test_a_loss_that_is_no_number_stops_the_run_and_is_its_verdict(train):
    facts, out = train(make_spec(epochs=10, learning_rate=1e30, max_grad_norm=0.0))
    assert facts["steps"] < 60
    assert facts["verdict"]["verdict"] == "not_a_number"
    assert losses(facts)[-1] is None
    assert (out / "adapter_model.safetensors").is_file()


RESUMED = {"dropout": 0.1, "epochs": 5, "eval_every_steps": 5}
KILLED = """
import sys
from pathlib import Path
from scripts.lib.train.lora_tuning import train_adapter
from tests.unit.train.test_training import RESUMED, make_spec
model, shards, out, scratch = map(Path, sys.argv[1:])
spec = make_spec(**RESUMED)
train_adapter(spec, model, shards, out, scratch=scratch, threads=1, checkpoint_seconds=0.0)
"""


def wait_for(condition, alive, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert alive() and time.monotonic() < end
        time.sleep(0.01)


def test_a_killed_run_resumes_to_the_bytes_of_an_unbroken_one(train, model, shards, tmp_path):
    scratch, lost = tmp_path / "resumed-scratch", tmp_path / "lost"
    lost.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, *map(str, (model, shards, lost, scratch))], cwd=ROOT
    )
    try:
        wait_for(
            lambda: (scratch / "checkpoint-7/complete").exists(), lambda: process.poll() is None
        )
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not list(lost.iterdir())
    # What a kill in the middle of a save leaves is passed over.
    (scratch / "checkpoint-27").mkdir()
    (scratch / "checkpoint-27/trainer_state.json").write_text("{}")
    facts, resumed = train(make_spec(**RESUMED), "resumed")
    assert not (scratch / "checkpoint-27").exists()
    expected, unbroken = train(make_spec(**RESUMED), "unbroken")
    assert contents(resumed) == contents(unbroken)
    assert facts == expected


def test_a_job_told_to_end_saves_says_so_and_resumes(train, tmp_path, capfd):
    spec = make_spec(dropout=0.1, epochs=15)
    scratch = tmp_path / "run-scratch"

    def send():
        wait_for(lambda: list(scratch.glob("checkpoint-*/complete")), lambda: True)
        os.kill(os.getpid(), signal.SIGTERM)

    # Should the run end before the signal comes, the test fails instead of pytest.
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    thread = threading.Thread(target=send)
    thread.start()
    try:
        with pytest.raises(TrainingError, match="goes on from there"):
            train(spec, checkpoint_seconds=0.3)
    finally:
        thread.join()
        signal.signal(signal.SIGTERM, before)
    _, out = train(spec)
    assert "going on from checkpoint-" in capfd.readouterr().err
    _, unbroken = train(spec, "unbroken")
    assert contents(out) == contents(unbroken)


def test_when_memory_runs_out_the_micro_batch_is_halved_and_the_batch_stays(
    train, monkeypatch, capfd
):
    fit = training._fit

    def small_memory(*arguments):
        if arguments[5].sequences > 1:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes")
        return fit(*arguments)

    monkeypatch.setattr(training, "_fit", small_memory)
    facts, _ = train(make_spec(), "short", micro_batch=4)
    told = capfd.readouterr().err
    assert "2 sequences per pass and 2 passes per step" in told
    assert "1 sequences per pass and 4 passes per step" in told
    monkeypatch.undo()
    whole, _ = train(make_spec(), "whole", micro_batch=1)
    assert facts == whole


def test_another_error_is_not_taken_for_a_lack_of_memory(train, monkeypatch):
    def broken(*_):
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(training, "_fit", broken)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        train(make_spec())


@pytest.mark.parametrize(("batch", "micro", "world"), [(4, 3, 1), (4, 4, 2), (6, 1, 4)])
def test_a_batch_that_does_not_divide_is_refused(train, monkeypatch, batch, micro, world):
    monkeypatch.setenv("WORLD_SIZE", str(world))
    with pytest.raises(TrainingError, match=f"batch_size {batch} is not a multiple"):
        train(make_spec(batch_size=batch), micro_batch=micro)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"init": "corda"}, "corda"),
        ({"init": "pissa", "use_dora": True}, "use_dora"),
        ({"target_modules": ["q_proj", "lm_head"]}, "lm_head"),
        ({"max_length_tokens": 16}, "longest row"),
    ],
)
def test_what_cannot_be_trained_is_refused(train, changes, told):
    with pytest.raises(TrainingError, match=told):
        train(make_spec(**changes))


def test_quantization_without_its_package_says_what_to_install(train, monkeypatch):
    monkeypatch.setattr("scripts.lib.train.lora_faults.find_spec", lambda name: None)
    with pytest.raises(TrainingError, match="bitsandbytes"):
        train(make_spec(quantization="nf4"))


def rewrite(shards, folder, change):
    """Copy *shards*, with each row of the train split changed."""
    table = pq.read_table(shards / "train-00000.parquet")
    copy = folder / "changed"
    copy.mkdir()
    (copy / "tokenizer").symlink_to(shards / "tokenizer")
    rows = [change(row) for row in table.to_pylist()]
    pq.write_table(type(table).from_pylist(rows, table.schema), copy / "train-00000.parquet")
    return copy


def test_shards_of_another_tokenizer_are_refused(train, shards, tmp_path):
    other = rewrite(shards, tmp_path, lambda r: r | {"input_ids": [9999] * len(r["input_ids"])})
    with pytest.raises(TrainingError, match="9999 has no row"):
        train(make_spec(), shards=other)


def test_shards_with_nothing_to_train_on_are_refused(train, shards, tmp_path):
    other = rewrite(shards, tmp_path, lambda r: r | {"loss_mask": [0] * len(r["loss_mask"])})
    with pytest.raises(TrainingError, match="not one token to train on"):
        train(make_spec(), shards=other)


def test_a_long_history_is_averaged_to_a_few_hundred_points():
    log = [{"step": i, "epoch": 0.0, "loss": float(i)} for i in range(1, 1001)]
    log.insert(500, {"step": 500, "epoch": 0.0, "valid_loss": math.nan})
    history = thin([*log, {"step": 1000, "train_runtime": 9.0}])
    points = [event for event in history if "loss" in event]
    assert len(points) == 200
    assert points[0] == {"step": 5, "epoch": 0.0, "loss": 3.0}
    assert history[100] == {"step": 500, "epoch": 0.0, "valid_loss": None}


def test_a_spec_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        make_spec().quantization = "nf4"
