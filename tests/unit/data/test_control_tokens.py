"""Control tokens that a template writes are added where a tokenizer lacks them, and no others."""

import json
import shutil

import pyarrow.parquet as pq
import pytest
from transformers import AutoTokenizer

from scripts.lib.data.control_tokens import add_tokens, lacking_tokens, written_tokens
from scripts.lib.data.templates import CHATML, Template, load_fast_tokenizer
from scripts.lib.errors import TemplateError
from scripts.lib.model_files import CONTROL_TOKENS_FILE
from tests.base_model import make_base_shards, make_base_tokenizer
from tests.chat_samples import FOREIGN, TINY_TEMPLATE
from tests.tiny_model import make_tokenizer

ADDED = ["<|im_start|>", "<|im_end|>"]


def template(text):
    return Template(source="custom:test", text=text)


@pytest.fixture
def base(tmp_path):
    folder = tmp_path / "base"
    make_base_tokenizer().save_pretrained(folder)
    return folder


def shards_of(base, rows, out, template="chatml"):
    facts = make_base_shards(base, rows, out, template=template)
    return facts, pq.read_table(out / "train-00000.parquet").to_pylist()


def test_what_a_template_writes_is_found_in_order_and_comments_are_no_part_of_it():
    assert written_tokens(CHATML) == ADDED
    assert written_tokens("{# <|note|>\n#}" + FOREIGN) == ["<|start|>", "<|end|>"]


def test_nothing_is_added_where_a_tokenizer_has_the_tokens_or_brings_a_template_that_ends():
    known, unknown = make_tokenizer(), make_base_tokenizer()
    assert lacking_tokens(known, template(CHATML)) == []
    assert lacking_tokens(unknown, template(CHATML)) == ADDED
    unknown.chat_template = CHATML  # as some bases bring it, of which no token can end an answer
    assert lacking_tokens(unknown, template(CHATML)) == ADDED
    unknown.chat_template = CHATML.replace("<|im_end|>", "<|endoftext|>")
    assert lacking_tokens(unknown, template(unknown.chat_template)) == []
    # A model with a template and a vocabulary of its own may be given a foreign one.
    assert lacking_tokens(known, template(FOREIGN)) == ["<|start|>", "<|end|>"]
    assert lacking_tokens(known, template("{{ '<|endoftext|>' }}" + TINY_TEMPLATE)) == []


def test_rendering_adds_the_tokens_behind_the_vocabulary_and_says_so(base, tmp_path):
    out = tmp_path / "shards"
    before = load_fast_tokenizer(base).get_vocab()
    facts, rows = shards_of(base, [("say <|im_end|>", "the answer is A")], out)
    carried = AutoTokenizer.from_pretrained(out / "tokenizer")
    ids = {token: len(before) + place for place, token in enumerate(ADDED)}
    assert carried.get_vocab() == before | ids
    assert carried.chat_template == CHATML
    assert json.loads((out / CONTROL_TOKENS_FILE).read_text()) == ids
    assert facts["contract"]["passed"], facts["contract"]
    found = {check["name"]: check["evidence"] for check in facts["contract"]["checks"]}
    assert f"<|im_end|> {ids['<|im_end|>']}" in found["markers_are_single_tokens"]
    (row,) = rows
    # The one that the data holds stays text; two that the template wrote end turns.
    assert row["input_ids"].count(ids["<|im_end|>"]) == 2
    trained = [n for n, mask in zip(row["input_ids"], row["loss_mask"], strict=True) if mask]
    assert carried.decode(trained) == "the answer is A<|im_end|>"


def test_reserved_tokens_and_the_text_of_the_vocabulary_stay_as_they_are(base, tmp_path):
    old = load_fast_tokenizer(base)
    shards_of(base, [("q", "a")], tmp_path / "shards")
    new = load_fast_tokenizer(tmp_path / "shards" / "tokenizer")
    reserved = "<|reserved_0|>"
    assert new.convert_tokens_to_ids(reserved) == old.convert_tokens_to_ids(reserved)
    text = "the answer is <|reserved_0|> naïve 日本 <|endoftext|>"
    assert new.encode(text) == old.encode(text)
    assert (new.eos_token, new.bos_token, new.pad_token) == (old.eos_token, old.bos_token, None)


@pytest.mark.parametrize("form", ["added_tokens_decoder", "added_tokens.json", "settings only"])
def test_every_list_of_a_tokenizer_names_the_added_tokens(base, tmp_path, form):
    settings_file = base / "tokenizer_config.json"
    settings = json.loads(settings_file.read_text())
    plain = {"lstrip": False, "rstrip": False, "single_word": False}
    if form == "added_tokens_decoder":
        settings["added_tokens_decoder"] = {
            "0": {**plain, "content": "<|endoftext|>", "normalized": False, "special": True},
            "1": {**plain, "content": "<|reserved_0|>", "normalized": False, "special": True},
        }
    elif form == "added_tokens.json":
        (base / form).write_text(json.dumps({"<|endoftext|>": 0, "<|reserved_0|>": 1}))
    else:  # a token that tokenizer.json does not know
        settings["pad_token"] = "<|pad|>"
    settings_file.write_text(json.dumps(settings))
    before = load_fast_tokenizer(base)
    shards_of(base, [("q", "a")], tmp_path / "shards")
    carried = tmp_path / "shards" / "tokenizer"
    after = load_fast_tokenizer(carried)
    assert after.get_vocab() == before.get_vocab() | {
        token: len(before) + place for place, token in enumerate(ADDED)
    }
    if form == "added_tokens_decoder":
        listed = json.loads((carried / "tokenizer_config.json").read_text())[form]
        assert listed[str(len(before))]["content"] == "<|im_start|>"
    elif form == "added_tokens.json":
        assert json.loads((carried / form).read_text())["<|im_end|>"] == len(before) + 1


def test_an_entry_that_the_vocabulary_never_uses_becomes_the_control_token(base, tmp_path):
    file = base / "tokenizer.json"
    stored = json.loads(file.read_text())
    stored["model"]["vocab"]["<|im_end|>"] = size = len(stored["model"]["vocab"])
    file.write_text(json.dumps(stored))
    assert load_fast_tokenizer(base).encode("<|im_end|>") != [size]
    out = tmp_path / "shards"
    facts, _ = shards_of(base, [("q", "a")], out)
    assert facts["contract"]["passed"]
    assert json.loads((out / CONTROL_TOKENS_FILE).read_text()) == {
        "<|im_start|>": size + 1,
        "<|im_end|>": size,
    }


def test_files_that_do_not_take_the_tokens_are_refused(base, tmp_path, monkeypatch):
    tokenizer = load_fast_tokenizer(base)
    untouched = shutil.copytree(base, tmp_path / "copy")
    monkeypatch.setattr(
        "scripts.lib.data.control_tokens.load_fast_tokenizer", lambda _: make_base_tokenizer()
    )
    with pytest.raises(TemplateError, match="cannot be given them"):
        add_tokens(tokenizer, ADDED, untouched)


def test_a_models_own_template_is_taken_as_it_was_published(base, tmp_path):
    own = CHATML.replace("<|im_start|>", "<|turn|>").replace("<|im_end|>", "<|endoftext|>")
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template = own
    tokenizer.save_pretrained(base)
    for name, choice in {"own": "tokenizer", "same": {"name": "custom", "text": own}}.items():
        facts, _ = shards_of(base, [("q", "a")], tmp_path / name, choice)
        assert facts["contract"]["passed"], facts["contract"]
        assert not (tmp_path / name / CONTROL_TOKENS_FILE).exists()
        found = {check["name"]: check["evidence"] for check in facts["contract"]["checks"]}
        assert "<|turn|>" in found["markers_are_single_tokens"]
