"""Training on several datasets: what is read and measured, and what each gave, to the last row."""

import json

import pyarrow.parquet as pq
import pytest

from scripts.lib.adapters.lora import PROMPTS_FILE
from scripts.lib.errors import TrainingError
from scripts.lib.model_files import CONTROL_TOKENS_FILE
from scripts.lib.train.full_tuning import FullSpec, train_model
from scripts.lib.train.mixture import Portion, Rows, mix
from scripts.lib.train.spec import TrainSpec
from tests.tiny_shards import make_shards
from tests.unit.train.test_training import LOOP, contents, held_out_loss, losses, make_spec


def pairs(name: str, count: int, words: int) -> list[tuple[str, str]]:
    return [(f"{name} {n}?", f"{name} {n}{' word' * words}") for n in range(count)]


@pytest.fixture(scope="module")
def own(tmp_path_factory, model):
    rows = pairs("own", 10, 2)
    return make_shards(
        tmp_path_factory.mktemp("own") / "own-1", model, {"train": rows[:8], "valid": rows[8:]}
    )


@pytest.fixture(scope="module")
def general(tmp_path_factory, model):
    rows = pairs("general", 50, 5)
    return make_shards(
        tmp_path_factory.mktemp("general") / "general-2",
        model,
        {"train": rows[:40], "valid": rows[40:]},
    )


def spec_of(*portions, **changes) -> TrainSpec:
    spec = make_spec(**changes)
    return TrainSpec(lora=spec.lora, training=spec.training, mixture=portions)


SHARES = (Portion(share=0.75), Portion(share=0.25))


def test_each_dataset_gives_its_share_and_the_job_says_so(train, own, general, capfd):
    facts, _ = train(spec_of(*SHARES), shards=[own, general])
    mine, theirs = facts["mixture"]
    longest = int(Rows.of([general / "train-00000.parquet"]).trained.max())
    asked = mine["trained_tokens"] / 3
    assert abs(theirs["trained_tokens"] - asked) <= longest
    assert (mine["rows"], mine["rows_there"], theirs["rows_there"]) == (8, 8, 40)
    assert 0 < theirs["rows"] < 40
    assert facts["train_rows"] == mine["rows"] + theirs["rows"] == facts["train_sequences"]
    assert facts["trained_tokens"] == mine["trained_tokens"] + theirs["trained_tokens"]
    assert facts["train_tokens"] == mine["tokens"] + theirs["tokens"]
    assert facts["valid_rows"] == mine["held_out"] + theirs["held_out"]
    assert (mine["held_out"], theirs["held_out_there"]) == (2, 10)
    assert 1 <= theirs["held_out"] < 10
    said = capfd.readouterr().err
    assert "own-1: 8 of 8 rows" in said
    assert f"general-2: {theirs['rows']} of 40 rows, {40 - theirs['rows']} left out" in said
    assert "(25.00% asked)" in said


def test_the_loss_on_held_out_rows_is_that_of_the_rows_that_were_chosen(
    train, model, own, general, tmp_path
):
    facts, _ = train(spec_of(*SHARES, max_steps=1), shards=[own, general])
    rows = {
        split: [Rows.of([one / f"{split}-00000.parquet"]) for one in (own, general)]
        for split in ("train", "valid")
    }
    chosen = mix(rows["train"], rows["valid"], [Rows.of([])] * 2, SHARES).valid
    total = tokens = 0.0
    for folder, places in zip((own, general), chosen, strict=True):
        part = tmp_path / folder.name
        part.mkdir()
        table = pq.read_table(folder / "valid-00000.parquet").take(places)
        pq.write_table(table, part / "valid-00000.parquet")
        count = int(Rows.of([part / "valid-00000.parquet"]).trained.sum())
        total, tokens = total + held_out_loss(model, part) * count, tokens + count
    assert losses(facts, "valid_loss")[0] == pytest.approx(total / tokens, abs=1e-5)


@pytest.mark.parametrize("packing", [False, True])
def test_the_order_of_the_shards_changes_no_weight(train, own, general, packing):
    one, first = train(spec_of(*SHARES, packing=packing), "one", shards=[own, general])
    other, second = train(spec_of(*SHARES[::-1], packing=packing), "other", shards=[general, own])
    name = "adapter_model.safetensors"
    assert contents(first)[name] == contents(second)[name]
    assert one["mixture"] == other["mixture"][::-1]
    assert losses(one, "valid_loss") == pytest.approx(losses(other, "valid_loss"))


def test_a_row_that_is_repeated_is_read_again_in_the_same_epoch(train, own, general):
    repeated = (Portion(repeat=3), Portion(max_rows=4))
    facts, _ = train(spec_of(*repeated, packing=False, epochs=1), shards=[own, general])
    mine, theirs = facts["mixture"]
    assert (mine["rows"], mine["different_rows"], theirs["rows"]) == (24, 8, 4)
    assert facts["train_rows"] == 28
    assert facts["steps"] == -(-28 // LOOP["batch_size"])


def test_all_rows_of_datasets_that_are_named_only_are_read_and_measured(train, own, general):
    facts, _ = train(spec_of(Portion(), Portion(), max_steps=1), shards=[own, general])
    assert (facts["train_rows"], facts["valid_rows"]) == (48, 12)
    assert [one["held_out"] for one in facts["mixture"]] == [2, 10]


def test_one_dataset_tells_of_no_mixture_and_one_that_is_capped_does(train, own):
    assert "mixture" not in train(make_spec(max_steps=1), "plain", shards=own)[0]
    facts, _ = train(spec_of(Portion(max_rows=3), max_steps=1), "capped", shards=[own])
    assert [one["rows"] for one in facts["mixture"]] == [3]
    assert facts["valid_rows"] == 2


def test_a_model_is_trained_as_a_whole_on_several_datasets(tmp_path, model, own, general):
    training = {k: v for k, v in LOOP.items() if not k.startswith("loraplus")}
    spec = FullSpec.from_json(
        {
            "training": {**training, "max_steps": 1},
            "mixture": [{"share": share, "repeat": 1, "max_rows": None} for share in (0.75, 0.25)],
        }
    )
    (tmp_path / "out").mkdir()
    facts = train_model(
        spec, model, [own, general], tmp_path / "out", scratch=tmp_path / "s", threads=1
    )
    assert [one["share_asked"] for one in facts["mixture"]] == [0.75, 0.25]


def test_answers_and_the_proof_ask_rows_of_every_dataset(train, own, general):
    _, out = train(spec_of(*SHARES, max_steps=1, answers=3, answer_tokens=8), shards=[own, general])
    lines = [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]
    assert {line["row"].partition(": ")[0] for line in lines} == {"1", "2"}
    prompts = json.loads((out / PROMPTS_FILE).read_text())
    starts = [
        pq.read_table(one / "valid-00000.parquet")["input_ids"].to_pylist()
        for one in (own, general)
    ]
    assert all(any(prompt in rows for prompt in prompts) for rows in starts)


def test_a_dataset_whose_rows_another_holds_out_is_refused(train, model, own, tmp_path):
    rows = pairs("own", 10, 2)
    turned = make_shards(tmp_path / "turned", model, {"train": rows[8:], "valid": rows[:8]})
    with pytest.raises(TrainingError, match=r"hold out all of its rows"):
        train(spec_of(Portion(), Portion()), shards=[own, turned])


def test_a_dataset_with_nothing_to_train_on_is_refused(train, model, own, tmp_path):
    empty = make_shards(tmp_path / "empty", model, {"train": [("say", "")]}, end_is_trained=False)
    with pytest.raises(TrainingError, match=r"empty: the train split holds 1 rows and not one"):
        train(spec_of(*SHARES), shards=[own, empty])


def test_shards_with_other_control_tokens_are_refused(train, model, own, tmp_path):
    other = make_shards(tmp_path / "other", model, {"train": pairs("other", 3, 1)})
    (other / CONTROL_TOKENS_FILE).write_text(json.dumps({"<|new|>": 5}))
    with pytest.raises(TrainingError, match=r"with other control tokens"):
        train(spec_of(*SHARES), shards=[own, other])


def test_every_dataset_holds_rows_out_where_the_loss_on_them_decides(train, model, own, tmp_path):
    alone = make_shards(tmp_path / "alone", model, {"train": pairs("other", 30, 1)})
    with pytest.raises(TrainingError, match=r"alone has no valid split, which"):
        train(spec_of(*SHARES, early_stopping_patience=1), "watched", shards=[own, alone])
    facts, _ = train(spec_of(*SHARES, max_steps=1), "measured", shards=[own, alone])
    assert [one["held_out"] for one in facts["mixture"]] == [2, 0]
