"""What a model in training answers to held-out rows, and that the weights know nothing of it."""

import json
import random

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from scripts.lib.train import answers
from scripts.lib.train.answers import read_questions
from scripts.lib.train.lora_tuning import train_adapter
from scripts.lib.train.shards import Stored
from tests.tiny_shards import make_shards, make_tiny_shards
from tests.unit.train.test_training import make_spec

WEIGHTS = "adapter_model.safetensors"


@pytest.fixture
def train(tmp_path, model, shards):
    def run(name="run", data=shards, **changes):
        out = tmp_path / name
        out.mkdir()
        settings = {"answers": 3, "answer_tokens": 16} | changes
        scratch = tmp_path / f"{name}-scratch"
        facts = train_adapter(make_spec(**settings), model, data, out, scratch=scratch, threads=1)
        return facts, out

    return run


def lines(out):
    return [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("packing", [True, False])
def test_the_weights_are_the_same_with_answers_and_without(train, monkeypatch, packing):
    """Though whoever answers draws from every generator."""
    settings = {"dropout": 0.1, "packing": packing, "eval_every_steps": 2, "dtype": "bfloat16"}
    facts, silent = train("silent", answers=0, **settings)
    asked = answers._answers

    def greedy_and_random(*arguments):
        torch.rand(3), np.random.rand(), random.random()
        return asked(*arguments)

    monkeypatch.setattr(answers, "_answers", greedy_and_random)
    monkeypatch.setattr(answers, "SHARE", 10)
    told, talking = train("talking", **settings)
    assert (talking / WEIGHTS).read_bytes() == (silent / WEIGHTS).read_bytes()
    assert told["history"] == facts["history"]
    assert lines(talking)
    assert not (silent / "answers.jsonl").exists()
    assert facts["answers"] == []


@pytest.mark.parametrize(
    ("share", "most", "steps"),
    [(10, 5, [0, 5, 9, 14, 18]), (10, 2, [0, 18]), (0, 5, [18])],
)
def test_it_is_asked_at_the_end_and_more_often_as_far_as_the_work_allows(
    train, monkeypatch, share, most, steps
):
    monkeypatch.setattr(answers, "SHARE", share)
    monkeypatch.setattr(answers, "MOST_TIMES", most)
    facts, out = train(epochs=3, eval_every_steps=1)  # 18 steps
    assert sorted({line["step"] for line in lines(out)}) == steps
    # Of six rows two have longer references than an answer may be.
    assert [line["row"] for line in lines(out)][:3] == ["valid:1000", "valid:1002", "valid:1003"]
    assert facts["answers"] == [line for line in lines(out) if line["step"] in (steps[0], 18)]


def test_the_answers_are_those_of_the_written_adapter_alone_without_padding(train, model, shards):
    _, out = train()
    net = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32), out
    ).eval()
    tokenizer = AutoTokenizer.from_pretrained(shards / "tokenizer")
    rows = {
        row["conversation_id"]: row
        for row in pq.read_table(shards / "valid-00000.parquet").to_pylist()
    }
    for line in (line for line in lines(out) if line["step"] == 12):
        row = rows[line["row"]]
        start = row["loss_mask"].index(1)
        ids = torch.tensor([row["input_ids"][:start]])
        for _ in range(line["tokens"]):
            with torch.no_grad():
                best = net(input_ids=ids).logits[0, -1].argmax()
            ids = torch.cat([ids, best[None, None]], dim=1)
        said = ids[0, start:].tolist()
        ended = said[-1] == tokenizer.eos_token_id
        assert (line["answer"], line["ended"]) == (
            tokenizer.decode(said[:-1] if ended else said),
            ended,
        )
        assert tokenizer.decode(row["input_ids"][start:-1]) == line["reference"]
        assert line["prompt"].endswith("<|im_start|>assistant\n")


def test_a_generation_config_of_the_base_does_not_change_the_answers(train, model, tmp_path):
    _, plain = train("plain", max_steps=1)
    file = model / "generation_config.json"
    before = file.read_text()
    file.write_text(json.dumps(json.loads(before) | {"repetition_penalty": 9.0, "do_sample": True}))
    try:
        _, out = train("other", max_steps=1)
    finally:
        file.write_text(before)
    assert (out / "answers.jsonl").read_bytes() == (plain / "answers.jsonl").read_bytes()


def test_an_early_stop_is_judged_by_answers_of_the_adapter_that_it_keeps(train):
    loop = {"learning_rate": 0.08, "scheduler": "constant", "eval_every_steps": 3}
    facts, out = train(epochs=20, early_stopping_patience=2, **loop)
    assert facts["kept_step"] < facts["steps"]
    last = [line for line in lines(out) if line["step"] == facts["kept_step"]]
    _, short = train("short", max_steps=facts["kept_step"], **loop)
    assert last == [line for line in lines(short) if line["step"] == facts["kept_step"]]
    assert facts["verdict"]["numbers"]["answers"] == len(last) == 3


def test_a_run_without_held_out_rows_is_not_asked(train, model, tmp_path):
    alone = make_tiny_shards(tmp_path / "alone", model, valid=0)
    facts, out = train(data=alone, max_steps=2)
    assert facts["answers"] == []
    assert not (out / "answers.jsonl").exists()


def loop(**changes):
    return make_spec(**({"answers": 4, "answer_tokens": 16} | changes)).training


def test_rows_are_spread_over_the_split_and_short_answers_come_first(tmp_path, model):
    pairs = [(f"q{n}", "long " * 30 if n % 3 else "short") for n in range(24)]
    shards = make_shards(tmp_path / "shards", model, {"valid": pairs})
    sets = [Stored(files=[shards / "valid-00000.parquet"])]
    found = read_questions(loop(), shards, sets, 100.0)
    names = [row.name for row in found.rows]
    assert names == ["valid:1000", "valid:1006", "valid:1012", "valid:1018"]
    longest = max(len(row.reference) for row in found.rows)
    assert found.limit == longest + 8 < 16
    every = read_questions(loop(answers=10), shards, sets, 100.0)
    assert len({row.name for row in every.rows}) == 10
    only_long = make_shards(tmp_path / "long", model, {"valid": pairs[1:3]})
    few = read_questions(
        loop(answers=10), only_long, [Stored(files=[only_long / "valid-00000.parquet"])], 100.0
    )
    assert [row.name for row in few.rows] == ["valid:1000", "valid:1001"]
    assert few.limit == 16


def test_prompts_that_are_too_long_are_left_out_and_it_is_said_where_none_is_left(
    tmp_path, model, capfd
):
    pairs = [("x" * 600, "a"), ("y", "b")]
    shards = make_shards(tmp_path / "shards", model, {"valid": pairs})
    sets = [Stored(files=[shards / "valid-00000.parquet"])]
    assert [row.name for row in read_questions(loop(), shards, sets, 100.0).rows] == ["valid:1001"]
    long = make_shards(tmp_path / "long", model, {"valid": pairs[:1]})
    assert (
        read_questions(loop(), long, [Stored(files=[long / "valid-00000.parquet"])], 100.0) is None
    )
    assert "no answers are asked" in capfd.readouterr().err
