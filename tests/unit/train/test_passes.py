"""What a training chooses on a card, with the card's memory put in its place."""

import pytest

from scripts.lib.machine.memory_limits import card_room
from scripts.lib.train import passes
from scripts.lib.train.attention import SEGMENTS
from scripts.lib.train.full_tuning import FullSpec, FullTuning
from scripts.lib.train.lora_tuning import LoraTuning
from scripts.lib.train.memory import CARD_SHARE
from scripts.lib.train.micro_batch import Passes
from scripts.lib.train.model_size import ModelSize
from scripts.lib.train.shards import load_shards, pack, shard_files
from tests.unit.train.test_training import LOOP, make_spec

LARGE = 2**40


@pytest.fixture
def choose(model, shards, tmp_path, monkeypatch):
    """Return the choice for a card with so many bytes of room."""
    rows = load_shards(shard_files(shards, "train"), tmp_path / "cache")

    def run(room, *, tuning=None, micro_batch=None, attention="sdpa", **changes):
        monkeypatch.setattr(passes, "compute_device", lambda: "cuda")
        monkeypatch.setattr(passes, "choose_attention", lambda *_: attention)
        monkeypatch.setattr(passes, "_room", lambda: room)
        tuning = tuning or LoraTuning(make_spec(batch_size=24, **changes))
        data = pack(rows, tuning.loop.max_length_tokens) if tuning.loop.packing else rows
        return passes.passes_of(tuning, model, data, micro_batch, sharded=False)

    return run


def test_a_large_card_takes_the_whole_step_at_once_and_recomputes_nothing(choose, capfd):
    assert choose(LARGE) == Passes(sequences=24, recomputed=0)
    assert "24 sequences per pass: at most about " in capfd.readouterr().err


def test_a_plan_counts_with_the_share_of_a_free_card_that_its_job_will_take():
    assert card_room(LARGE, LARGE) == int(CARD_SHARE * LARGE)


def test_a_card_that_holds_nothing_gets_the_least(choose):
    assert choose(0) == Passes(sequences=1, recomputed=1)


def test_less_room_is_less_at_once_or_more_recomputed_and_it_fits(choose):
    ways = [choose(room * 2**20) for room in (40, 20, 10, 8, 7)]
    assert len(set(ways)) > 2
    assert [way.sequences for way in ways] == sorted((w.sequences for w in ways), reverse=True)


def test_what_the_profile_says_is_kept(choose):
    assert choose(0, micro_batch=6) == Passes(sequences=6, recomputed=1)
    assert choose(LARGE, micro_batch=6) == Passes(sequences=6, recomputed=0)


def test_packed_rows_are_counted_by_what_lies_in_them(choose):
    assert choose(LARGE, packing=True).sequences == 24


def test_a_full_fine_tune_is_counted_with_all_of_its_weights(choose):
    loop = {key: value for key, value in LOOP.items() if not key.startswith("loraplus")}
    tuning = FullTuning(FullSpec.from_json({"training": loop}))
    assert choose(LARGE, tuning=tuning) == Passes(sequences=4, recomputed=0)
    assert choose(0, tuning=tuning) == Passes(sequences=1, recomputed=1)


def test_a_base_whose_files_tell_no_sizes_is_trained_as_before(choose, monkeypatch):
    monkeypatch.setattr(passes, "size_of", lambda _: None)
    assert choose(LARGE) == Passes(sequences=24, recomputed=1)
    untold = ModelSize(tensors={}, config={})
    monkeypatch.setattr(passes, "size_of", lambda _: untold)
    assert choose(LARGE) == Passes(sequences=24, recomputed=1)


@pytest.mark.parametrize("packing", [True, False])
def test_a_flat_row_that_is_masked_against_itself_is_as_long_as_a_padded_one(
    choose, monkeypatch, packing
):
    monkeypatch.setattr(passes, "MICRO_BATCH_TOKENS", {"cuda": 512})
    short = choose(LARGE, packing=packing)
    assert short.sequences < 24
    assert choose(LARGE, packing=packing, attention=SEGMENTS).sequences == 24


def test_processes_go_as_the_least_of_their_cards_can(choose, monkeypatch):
    alone = choose(8 * 2**20, attention="sdpa")
    others = [(8 * 2**20, True), (LARGE, False)]
    monkeypatch.setattr(passes, "gather_object", lambda own: [*own, *others])
    assert choose(LARGE, attention=SEGMENTS) == alone
