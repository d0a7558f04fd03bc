"""What a model card says, and what it must not depend on."""

import json

import pytest
import yaml

from scripts.lib.canonical import canonical_json
from scripts.lib.config.load import load_config
from scripts.lib.report.card import CardSpec, base_licence, card_text, write_card
from tests.identity.worlds import (
    make_blend_world,
    make_hub_world,
    make_left_out_world,
    make_local_world,
    make_mixture_world,
)
from tests.unit.config.test_config import VALID

LICENCE = {"license": "apache-2.0"}
STOPS = {"tokens": [1, 106], "added": [106], "end_of_turn": "<end_of_turn>", "end_token": 106}


def specs(world):
    """Return the card of every merged model of a world, by candidate, as a job reads it."""
    graph = world.graph()
    return {
        candidate.name: json.loads(
            canonical_json(graph.artifacts[candidate.artifacts["merged"]].spec)
        )
        for candidate in graph.candidates
        if "merged" in candidate.artifacts
    }


@pytest.fixture(scope="module")
def cards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("worlds")
    made = (make_hub_world, make_local_world, make_blend_world)
    found = [specs(make(folder / make.__name__)) for make in made]
    return {name: CardSpec(**spec) for world in found for name, spec in world.items()}


def front_matter(text):
    _, head, body = text.split("---\n", 2)
    return yaml.safe_load(head), body


def test_the_hub_finds_base_data_licence_and_library(cards):
    head, _ = front_matter(card_text(cards["polite"], LICENCE))
    assert head == {
        "license": "apache-2.0",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "base_model": "acme/remote",
        "base_model_relation": "finetune",
        "datasets": ["acme/talks"],
        "tags": ["tunesmith", "lora", "sft"],
    }


def test_what_lies_on_a_disk_is_no_repository_of_the_hub(cards):
    head, body = front_matter(card_text(cards["gentle"], {}))
    assert not {"base_model", "datasets", "license"} & head.keys()
    assert "data/" not in body


def test_the_text_has_revisions_and_every_setting(cards):
    text = card_text(cards["polite"], {})
    assert "a" * 40 in text and "b" * 40 in text
    run = load_config(VALID).runs["gentle"]
    for group in ("lora", "training"):
        for key in getattr(run, group).model_dump():
            assert f"| {group}.{key} |" in text


def test_a_combination_says_weights_method_and_all_its_parts(cards):
    head, body = front_matter(card_text(cards["blend"], {}))
    assert "merge" in head["tags"]
    assert "dare_ties_svd" in body and "| density | 0.5 |" in body
    assert body.count("## Training, weight ") == 2


@pytest.mark.parametrize(
    "name", ["polite", "gentle", "blend", "tiny", "north", "south", "talks", "orders"]
)
def test_names_of_the_configuration_are_in_no_card(cards, name):
    for card in cards.values():
        words = card_text(card, {}).replace("acme/talks", "").replace(".jsonl", "")
        assert name not in words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("---\nlicense: mit\ntags: [x]\n---\nText", {"license": "mit"}),
        (
            "---\nlicense: other\nlicense_name: 'llama3'\nlicense_link: LICENSE\n---\n",
            {"license": "other", "license_name": "llama3", "license_link": "LICENSE"},
        ),
        ("license: mit\n", {}),
        ("---\ntags: [x]\n---\nlicense: mit\n", {}),
        ("", {}),
    ],
)
def test_the_licence_is_that_of_the_base_s_front_matter(tmp_path, text, found):
    assert base_licence(tmp_path) == {}
    (tmp_path / "README.md").write_text(text)
    assert base_licence(tmp_path) == found


def test_the_base_s_own_card_is_not_copied_and_the_bytes_are_the_same(tmp_path, cards):
    base, one, two = (tmp_path / name for name in ("base", "one", "two"))
    for folder in (base, one, two):
        folder.mkdir()
    (base / "README.md").write_text("---\nlicense: mit\n---\nThe text of the base.\n")
    for out in (one, two):
        write_card(cards["polite"], base, out, STOPS)
    text = (one / "README.md").read_text()
    assert "The text of the base" not in text and 'license: "mit"' in text
    assert (one / "README.md").read_bytes() == (two / "README.md").read_bytes()


def test_the_formula_of_the_merge_is_that_of_the_adapter(cards):
    spec = json.loads(canonical_json(cards["gentle"].card))
    assert "DoRA" not in card_text(CardSpec(card=spec), {})
    spec["parts"][0]["lora"]["use_dora"] = True
    assert "lengths that DoRA trained" in card_text(CardSpec(card=spec), {})


def test_a_card_lists_each_dataset_of_a_mixture_with_what_was_taken(tmp_path):
    world = make_mixture_world(tmp_path / "world")
    world.config["datasets"]["chats"] = {"hub": "acme/talks", "revision": "b" * 40}
    head, body = front_matter(card_text(CardSpec(**specs(world)["gentle"]), {}))
    assert head["datasets"] == ["acme/talks"]
    lines = [line for line in body.splitlines() if line.startswith("- ")]
    assert len(lines) == 2
    (talks,) = [line for line in lines if "acme/talks" in line]
    assert talks.endswith("(0.2 of the trained tokens, at most 6 rows)")
    (orders,) = [line for line in lines if "train.jsonl" in line]
    assert orders.endswith("(0.8 of the trained tokens)")


def test_a_card_says_that_conversations_with_questions_were_left_out(tmp_path, cards):
    world = make_left_out_world(tmp_path / "world")
    _, body = front_matter(card_text(CardSpec(**specs(world)["gentle"]), {}))
    words = "Conversations that hold a question of a benchmark it is compared by were left out."
    assert words in body
    assert all(words not in card_text(card, {}) for card in cards.values())
