"""How much a loaded model is given at once, by the card that it lies on."""

import itertools
from types import SimpleNamespace

import torch
from transformers import LlamaConfig

from scripts.lib.score import batches as module
from scripts.lib.score.batches import Batches
from scripts.lib.score.prefix_groups import TokenSequence

GB, GIB = 10**9, 2**30
# Llama 3 8B, and SmolLM2 135M: their shapes, and their weights in bfloat16.
LARGE = (
    LlamaConfig(
        vocab_size=128_256,
        hidden_size=4096,
        intermediate_size=14_336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
    ),
    16 * GB,
)
SMALL = (
    LlamaConfig(
        vocab_size=49_152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
    ),
    GB // 3,
)
CARDS = (24 * GB, 80 * GB, 141 * GB)
PAST = 900


def on_card(monkeypatch, card, model, **options):
    """Return the batches of a model on a card of so many bytes."""
    config, weights = model
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (card - weights, card))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: weights)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: weights)
    stand_in = SimpleNamespace(device="cuda", config=config, dtype=torch.bfloat16)
    return Batches(stand_in, **options)


def questions(count, length=120):
    """Return sequences of so many tokens after PAST that they share, scored at their last."""
    tokens = tuple(range(PAST + length))
    return [TokenSequence(tokens=tokens, asked=(), unscored=len(tokens) - 1)] * count


def test_each_card_takes_what_it_can_within_three_quarters_of_it(monkeypatch):
    taken = {"rows": [], "padded": []}
    for card, way in itertools.product(CARDS, taken):
        batches = on_card(monkeypatch, card, LARGE)
        needs = list(getattr(batches, way)(questions(2000), PAST))
        size = batches.fitting(needs)
        assert LARGE[1] + needs[size - 1].bytes <= 0.75 * card
        more = needs[size]
        assert LARGE[1] + more.bytes > 0.75 * card or more.tokens > 65_536
        taken[way].append(size)
    for sizes in taken.values():
        assert sizes == sorted(sizes) and sizes[0] < sizes[-1]
    # Each sequence of a padded batch has its own copy of what all share.
    assert taken["rows"][0] > 2 * taken["padded"][0]


def test_a_small_model_gets_as_much_as_is_read_faster_together_on_any_card(monkeypatch):
    for card in CARDS:
        batches = on_card(monkeypatch, card, SMALL)
        assert batches.fitting(batches.rows(questions(2000), PAST)) == 65_536 // 120


def test_a_card_that_weights_fill_still_reads(monkeypatch):
    batches = on_card(monkeypatch, 24 * GB, (LARGE[0], 22 * GB))
    needs = list(batches.rows(questions(2000), PAST))
    size = batches.fitting(needs)
    assert size > 1
    assert needs[size - 1].bytes <= 2 * GB / 4


def test_less_memory_means_less_at_once_and_none_still_means_one(monkeypatch):
    found = []
    for room in (0, GIB, 4 * GIB, 64 * GIB):
        monkeypatch.setattr(module, "room_bytes", lambda device, room=room: room)
        stand_in = SimpleNamespace(device="cuda", config=LARGE[0], dtype=torch.bfloat16)
        batches = Batches(stand_in)
        found.append(batches.fitting(batches.padded(questions(999), PAST)))
    assert found[0] == 1
    assert found == sorted(found) and found[1] < found[2] < found[3]


def test_a_gpu_takes_more_at_once_than_a_processor_gains_from(monkeypatch):
    monkeypatch.setattr(module, "room_bytes", lambda device: 64 * GIB)
    sizes = []
    for device in ("cpu", "cuda"):
        stand_in = SimpleNamespace(device=device, config=SMALL[0], dtype=torch.bfloat16)
        batches = Batches(stand_in)
        sizes.append((batches.fitting(batches.rows(questions(999), PAST)), batches.most_answers))
    assert sizes[0][0] < sizes[1][0] and sizes[0][1] < sizes[1][1]


def test_sequences_that_are_scored_at_unlike_places_cost_the_vocabulary_at_all_of_them(monkeypatch):
    """The vocabulary of a padded batch comes out at the same places of each sequence."""
    batches = on_card(monkeypatch, 80 * GB, LARGE)

    def scored(lengths):
        found = []
        for length in lengths:
            tokens = tuple(range(length))
            found.append(TokenSequence(tokens=tokens, asked=(), unscored=length - 1))
        return list(batches.padded(found, 0))[-1].bytes

    cost = batches.bytes
    more = 3 * (3 - 1) * cost.logits + (3 - 1) * cost.softmax
    assert scored([300, 200, 100]) - scored([300, 300, 300]) == more


def test_a_bound_is_kept_and_a_row_may_be_given_by_hand(monkeypatch):
    batches = on_card(monkeypatch, 141 * GB, SMALL, most=7, row_tokens=500)
    assert (batches.most, batches.most_answers) == (7, 7)
    assert batches.fitting(batches.rows(questions(99), PAST)) == 500 // 120
