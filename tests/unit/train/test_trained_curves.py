"""Each verdict on a curve that a run really made, with what verdict.json says of it."""

import json
import random

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from scripts.lib.train.lora_tuning import train_adapter
from scripts.lib.train.loss_verdict import REMEDIES
from tests.tiny_model import make_tiny_model
from tests.tiny_shards import make_shards
from tests.unit.train.test_training import make_spec

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def words(count, length, seed):
    draw = random.Random(seed)
    return ["".join(draw.choice(LETTERS) for _ in range(length)) for _ in range(count)]


def sentences(count, seed):
    """Rows of one kind: what is learnt of some holds for all, but for the letter at the end."""
    draw = random.Random(seed)
    return [(word, f"the answer is {draw.choice('ABCD')}") for word in words(count, 6, seed)]


def noise(count, seed):
    """Rows that have nothing in common: what is learnt of one is of no use elsewhere."""
    return list(zip(words(count, 6, seed), words(count, 4, seed + 1), strict=True))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A tiny model whose embedding is wide enough to tell tokens apart."""
    folder = make_tiny_model(tmp_path_factory.mktemp("base") / "tiny")
    net = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        net.model.embed_tokens.weight.mul_(16)
    net.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def fluent(tmp_path_factory, model):
    """The model, all of its weights trained until it writes such sentences."""
    folder = tmp_path_factory.mktemp("fluent") / "tiny"
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.save_pretrained(folder)
    net = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    optimizer = torch.optim.AdamW(net.parameters(), lr=5e-3)
    chats = [
        f"<|im_start|>user\n{asked}<|im_end|>\n<|im_start|>assistant\n{said}<|im_end|>"
        for asked, said in sentences(16, seed=0)
    ]
    batch = tokenizer(chats, return_tensors="pt", padding=True)
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    for _ in range(30):
        net(**batch, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    net.to(torch.bfloat16).save_pretrained(folder)
    return folder


@pytest.fixture
def verdict_of(tmp_path, model):
    """Train on rows; return the facts, after comparing them with the files."""

    def run(splits, base=model, **settings):
        shards = make_shards(tmp_path / "shards", base, splits)
        out = tmp_path / "out"
        out.mkdir()
        spec = make_spec(**({"r": 16, "batch_size": 8, "scheduler": "constant"} | settings))
        facts = train_adapter(spec, base, shards, out, scratch=tmp_path / "scratch", threads=1)
        written = json.loads((out / "verdict.json").read_text())
        assert written == facts["verdict"]
        assert written["remedy"] == REMEDIES[written["verdict"]]
        assert (out / "adapter_model.safetensors").is_file()
        return written

    return run


SENTENCES = {"train": sentences(64, seed=1), "valid": sentences(8, seed=3)}


@pytest.mark.parametrize(
    ("rows", "settings", "verdict"),
    [
        (SENTENCES, {"epochs": 8, "learning_rate": 1e-2, "scheduler": "cosine"}, "healthy"),
        (SENTENCES, {"epochs": 4, "learning_rate": 1e-3}, "underfitting"),
        (SENTENCES, {"epochs": 8, "learning_rate": 1e-3, "scheduler": "cosine"}, "underfitting"),
        (SENTENCES, {"epochs": 2, "learning_rate": 1e-7}, "no_learning"),
        (SENTENCES, {"max_steps": 1, "learning_rate": 1e30, "max_grad_norm": 0}, "not_a_number"),
        ({"train": noise(2, 5), "valid": noise(4, 9)}, {"epochs": 30}, "overfitting"),
        (
            {"train": noise(2, 5), "valid": noise(4, 9)},
            {"epochs": 120, "eval_every_steps": 40},
            "memorising",
        ),
    ],
)
def test_a_run_gets_the_verdict_that_it_was_made_for(verdict_of, rows, settings, verdict):
    settings = {"learning_rate": 1e-2, "eval_every_steps": 8} | settings
    assert verdict_of(rows, **settings)["verdict"] == verdict


@pytest.mark.parametrize("trained", [True, False])
def test_answers_that_never_end_are_told_beside_a_curve_that_looks_good(tmp_path, model, trained):
    """The same rows, with the end of the turn trained and without."""
    rows = [(word, "A") for word in words(40, 3, 1)]
    splits = {"train": rows[:32], "valid": rows[32:]}
    shards = make_shards(tmp_path / "shards", model, splits, end_is_trained=trained)
    out = tmp_path / "out"
    out.mkdir()
    loop = {"r": 16, "batch_size": 8, "epochs": 12, "learning_rate": 1e-2}
    spec = make_spec(answers=8, answer_tokens=32, **loop)
    train_adapter(spec, model, shards, out, scratch=tmp_path / "scratch", threads=1)
    reading = json.loads((out / "verdict.json").read_text())
    answers = [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]
    last = [answer for answer in answers if answer["step"] == 48]
    assert all(answer["ended"] == trained for answer in last)
    assert reading["verdict"] == ("healthy" if trained else "inconsistent_format")
    assert ("8 without an end" in reading["evidence"]) != trained
    assert reading["remedy"] == REMEDIES[reading["verdict"]]


def test_a_rate_that_is_much_too_high_is_told_with_where_the_model_stood(verdict_of, fluent):
    settings = {"epochs": 3, "learning_rate": 0.3, "max_grad_norm": 0.0}
    reading = verdict_of(SENTENCES, fluent, **settings)
    assert reading["verdict"] == "diverging"
    assert "made the model worse on both" in reading["evidence"]
    assert "Lower learning_rate" in reading["remedy"]
