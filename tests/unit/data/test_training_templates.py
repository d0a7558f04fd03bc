"""`template: trl`: TRL's template for training, the tokenizer's own for all that comes after."""

import json
import shutil
from pathlib import Path

import pytest
import trl
from transformers import AutoTokenizer

from scripts.lib.artifacts.stages import libraries_of
from scripts.lib.data.formatting import FormatSpec, format_chat
from scripts.lib.data.rendering import RenderSpec, render_shards
from scripts.lib.data.templates import CHATML, MARKER, Template
from scripts.lib.data.training_templates import (
    other_templates,
    training_template,
    unknown_to_trl,
)
from scripts.lib.errors import TemplateError
from tests.tiny_model import make_tiny_model
from tests.unit.scoring_data import write_rows

SHIPPED = Path(trl.__file__).parent / "chat_templates"
ORIGINALS = sorted(
    file.stem for file in SHIPPED.glob("*.jinja") if not file.stem.endswith("_training")
)
SEVERAL = ("2+2?", "4", "sure?", "Yes.")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


def text_of(name):
    return (SHIPPED / f"{name}.jinja").read_text(encoding="utf-8")


def with_template(plain, folder, name):
    """Return a model folder whose tokenizer has a template that TRL ships, and its tokens."""
    model = shutil.copytree(plain, folder / name)
    tokenizer = AutoTokenizer.from_pretrained(model)
    marks = sorted(set(MARKER.findall(text_of(name))))
    tokenizer.add_special_tokens({"additional_special_tokens": marks})
    tokenizer.chat_template = text_of(name)
    tokenizer.save_pretrained(model)
    return model


def rendered(folder, model, *contents):
    roles = ["user", "assistant"] * len(contents)
    turns = [{"role": r, "content": c} for r, c in zip(roles, contents, strict=False)]
    write_rows(folder / "raw/train.jsonl", [{"messages": turns}])
    options = {"format": "auto", "system": None, "split_seed": 0, "limit": None}
    chat, out = folder / "chat", folder / "shards"
    chat.mkdir()
    out.mkdir()
    form = FormatSpec(**options, valid_fraction=0.0, test_fraction=0.0)
    format_chat(form, folder / "raw", chat)
    spec = RenderSpec(template="trl", max_length_tokens=2048, on_too_long="drop")
    return render_shards(spec, chat, model, out), out


def checks(facts):
    return {check["name"]: check for check in facts["contract"]["checks"]}


@pytest.mark.parametrize("name", ORIGINALS)
def test_planning_refuses_what_trl_surely_refuses_and_nothing_that_it_takes(plain, name):
    tokenizer = AutoTokenizer.from_pretrained(plain)
    tokenizer.chat_template = text_of(name)
    try:
        training_template(tokenizer)
    except TemplateError as error:
        assert "no training template" in str(error)
        assert "leave `template` out" in (unknown_to_trl(text_of(name)) or "")
    else:
        assert unknown_to_trl(text_of(name)) is None


def test_a_template_of_ones_own_is_told_with_what_to_do():
    assert "leave `template` out" in (unknown_to_trl("{{ messages }}") or "")
    marked = "{% generation %}{{ messages }}{% endgeneration %}"
    assert unknown_to_trl(marked) is None, "only TRL can tell"


def test_what_is_shipped_is_the_tokenizers_own_template(plain, tmp_path):
    model = with_template(plain, tmp_path, "glm4moe")
    facts, out = rendered(tmp_path, model, *SEVERAL)
    contract = json.loads((out / "contract.json").read_text())
    assert contract["template"]["source"] == "trl"
    assert contract["passed"], contract["checks"]
    shipped = AutoTokenizer.from_pretrained(out / "tokenizer")
    assert shipped.chat_template == text_of("glm4moe")
    assert "the same prompts" in checks(facts)["asked_as_trained"]["evidence"]
    assert all(answer.endswith("<|user|>") for answer in contract["golden"]["answers"])


def test_prompts_that_asking_would_not_give_are_told(plain, tmp_path):
    """TRL's for Qwen3 keeps empty reasoning in earlier turns, where Qwen3's own cuts it."""
    model = with_template(plain, tmp_path, "qwen3")
    once, _ = rendered(tmp_path / "once", model, "2+2?", "4")
    assert once["contract"]["passed"], once["contract"]
    several, _ = rendered(tmp_path / "several", model, *SEVERAL)
    check = checks(several)["asked_as_trained"]
    assert not check["passed"] and not several["contract"]["passed"]
    assert "1 of 1 conversations" in check["evidence"]
    assert "leave `template` out" in check["evidence"]


def test_other_templates_have_no_such_check(plain, tmp_path):
    model = with_template(plain, tmp_path, "qwen3")
    rendered(tmp_path / "once", model, "2+2?", "4")
    out = tmp_path / "own"
    out.mkdir()
    spec = RenderSpec(template="tokenizer", max_length_tokens=2048, on_too_long="drop")
    facts = render_shards(spec, tmp_path / "once/chat", model, out)
    assert "asked_as_trained" not in checks(facts)


def test_trl_is_a_pin_of_those_shards_only():
    assert "trl" in libraries_of("shards", {"template": "trl"})
    for other in ("tokenizer", "chatml", {"name": "custom", "text": "trl"}):
        assert "trl" not in libraries_of("shards", {"template": other})


# A remedy is proposed where it works, with what it takes.


def known_tokenizer(plain, name, marks=True):
    tokenizer = AutoTokenizer.from_pretrained(plain)
    tokenizer.chat_template = text_of(name)
    if marks:
        tokens = sorted(set(MARKER.findall(text_of(name))))
        tokenizer.add_special_tokens({"additional_special_tokens": tokens})
    return tokenizer


def test_trls_is_proposed_where_trl_knows_the_tokenizers(plain):
    for name, known in (("glm4moe", True), ("llama3_1", False)):
        tokenizer = known_tokenizer(plain, name)
        own = Template(source="tokenizer", text=text_of(name))
        assert ("`template: trl`" in other_templates(tokenizer, own)) == known
    after = other_templates(tokenizer, Template(source="trl", text="x"))
    assert "`template: trl`" not in after and "`template: tokenizer`" in after


def test_chatml_is_proposed_with_the_tokens_that_it_would_add(tmp_path):
    own = Template(source="tokenizer", text="x")
    having = AutoTokenizer.from_pretrained(make_tiny_model(tmp_path / "having"))
    assert "`template: chatml`," in other_templates(having, own)
    lacking = without_markers(tmp_path / "lacking", make_tiny_model(tmp_path / "other"))
    text = other_templates(AutoTokenizer.from_pretrained(lacking), own)
    assert "it adds <|im_start|>, <|im_end|> to the tokenizer" in text
    assert "chatml" not in other_templates(having, Template(source="chatml", text=CHATML))


def without_markers(folder, model):
    """Return a copy whose tokenizer does not know ChatML's control tokens."""
    folder = shutil.copytree(model, folder)
    stored = json.loads((folder / "tokenizer.json").read_text())
    marks = {"<|im_start|>", "<|im_end|>"}
    stored["added_tokens"] = [one for one in stored["added_tokens"] if one["content"] not in marks]
    vocabulary = stored["model"]["vocab"]
    stored["model"]["vocab"] = {
        f"unused{number}" if token in marks else token: number
        for token, number in vocabulary.items()
    }
    (folder / "tokenizer.json").write_text(json.dumps(stored))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    for key in ("bos_token", "eos_token", "pad_token", "added_tokens_decoder"):
        settings.pop(key, None)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def test_a_contract_that_fails_for_want_of_an_end_names_what_works(plain, tmp_path):
    model = with_template(plain, tmp_path, "glm4moe")
    rendered(tmp_path / "trl", model, "2+2?", "4")
    out = tmp_path / "own"
    out.mkdir()
    spec = RenderSpec(template="tokenizer", max_length_tokens=2048, on_too_long="drop")
    facts = render_shards(spec, tmp_path / "trl/chat", model, out)
    check = checks(facts)["end_of_turn_is_trained"]
    assert not check["passed"] and "`template: trl`" in check["evidence"]
