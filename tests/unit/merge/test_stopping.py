"""A merged model stops where scoring stopped it: written, proved, and said in its card."""

import json
import shutil
from pathlib import Path

import pytest
import trl
from transformers import AutoModelForCausalLM, GenerationConfig

from scripts.lib.data.ends import answer_ends, end_token, stop_tokens
from scripts.lib.data.templates import CHATML
from scripts.lib.errors import TemplateError
from scripts.lib.merge.merging import merge_adapter
from scripts.lib.merge.proof_files import check_stops
from scripts.lib.merge.stopping import name_stops
from scripts.lib.questions.prompts import load_tokenizer
from scripts.lib.report.card import CardSpec, card_text, stop_words
from scripts.lib.score.respondent import Loading, load_backend
from tests.tiny_model import make_tiny_model
from tests.unit.merge.test_merging import make_adapter

SHIPPED = Path(trl.__file__).parent / "chat_templates"
# Control tokens of real models, at ids of their own: not where any model's eos is.
ADDED = (
    *("<bos>", "<start_of_turn>", "<end_of_turn>", "<|eot_id|>", "<|end|>", "</s>"),
    *("<|return|>", "<|call|>"),
)
SYSTEM = "{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}"
ENDS = {
    "ChatML": (CHATML, "<|im_end|>"),
    "Gemma": ((SHIPPED / "gemma.jinja").read_text(), "<end_of_turn>"),
    "Llama 3": ((SHIPPED / "llama3.jinja").read_text(), "<|eot_id|>"),
    # It writes the end of the text behind that of the last turn.
    "Phi 3": ((SHIPPED / "phi3.jinja").read_text(), "<|end|>"),
    "default system turn": (SYSTEM + CHATML, "<|im_end|>"),
}
PLAIN = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }} ### End\n{% endfor %}"
NOTHING = "{% for m in messages %}{{ m['content'] }}{% endfor %}"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return a base whose tokenizer knows many templates' tokens, and an adapter to it."""
    home = tmp_path_factory.mktemp("stopping")
    plain = make_tiny_model(home / "plain", vocabulary_size=320)
    tokenizer = load_tokenizer(plain, chat_template=False)
    tokenizer.add_special_tokens({"additional_special_tokens": list(ADDED)})
    tokenizer.bos_token, tokenizer.eos_token = "<bos>", "<|endoftext|>"
    model = AutoModelForCausalLM.from_pretrained(plain)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.save_pretrained(home / "base")
    tokenizer.save_pretrained(home / "base")
    adapter = make_adapter(home / "adapter", home / "base", scale=0.05)
    return home / "base", adapter


def variant(made, folder, *, template=None, eos=0, file=True, pad=None):
    """Return base and adapter with another template, and another generation config.

    Args:
        made: The two.
        folder: Where to copy them.
        template: Text that the adapter's tokenizer carries; None for none.
        eos: What the base's generation config names; None for nothing.
        file: Whether the base has a generation_config.json; else its config.json names *eos*.
        pad: Padding token that it names.
    """
    model, adapter = (shutil.copytree(one, folder / one.name) for one in made)
    for one in (model, adapter):
        (one / "chat_template.jinja").unlink(missing_ok=True)
    if template is not None:
        (adapter / "chat_template.jinja").write_text(template)
    (model / "generation_config.json").unlink()
    if file:
        settings = {"temperature": 0.6, "do_sample": True, "_from_model_config": True}
        settings |= {} if eos is None else {"eos_token_id": eos}
        settings |= {} if pad is None else {"pad_token_id": pad}
        (model / "generation_config.json").write_text(json.dumps(settings))
    else:
        config = json.loads((model / "config.json").read_text())
        config |= {"eos_token_id": eos, "pad_token_id": pad}
        (model / "config.json").write_text(json.dumps(config))
    return model, adapter


def merged_of(model, adapter, out):
    out.mkdir()
    merge_adapter(model, adapter, out)
    return name_stops(model, adapter, out)


def at_generation(folder):
    """Return where transformers stops the model of a folder by itself."""
    found = AutoModelForCausalLM.from_pretrained(folder).generation_config.eos_token_id
    return set() if found is None else {found} if isinstance(found, int) else set(found)


def at_scoring(folder, *, chat_template):
    """Return where the back end of scoring stops the model of a folder."""
    tokenizer = load_tokenizer(folder, chat_template=chat_template)
    loading = Loading(
        model=folder,
        adapter=None,
        tokenizer=tokenizer,
        dtype="float32",
        batch_size=1,
        ends=answer_ends(tokenizer).texts if chat_template else (),
        context=64,
    )
    return set(load_backend("hf", loading).model.generation_config.eos_token_id)


def proof(model, adapter, merged):
    return {check["name"]: check for check in check_stops(model, adapter, merged)}


def ids(folder, *tokens):
    tokenizer = load_tokenizer(folder, chat_template=False)
    return [tokenizer.convert_tokens_to_ids(token) for token in tokens]


@pytest.mark.parametrize("kind", ENDS)
@pytest.mark.parametrize("eos", [0, [0], [1, 0], None], ids=["int", "list", "two", "none"])
@pytest.mark.parametrize("file", [True, False], ids=["file", "no file"])
def test_a_merged_model_stops_where_scoring_stops(made, tmp_path, kind, eos, file):
    template, end = ENDS[kind]
    if not file and isinstance(eos, list):
        eos = eos[-1]  # a config.json that names several is as rare as it is alike
    model, adapter = variant(made, tmp_path, template=template, eos=eos, file=file)
    facts = merged_of(model, adapter, tmp_path / "merged")
    (token,) = ids(adapter, end)
    own = ids(adapter, "<|endoftext|>")
    named = [] if eos is None else [eos] if isinstance(eos, int) else eos
    assert facts["end_of_turn"] == end
    assert facts["end_token"] == token
    assert facts["tokens"][: len(named)] == named  # who takes the first one finds it in its place
    assert set(facts["tokens"]) == {*named, *own, token}
    assert at_generation(tmp_path / "merged") == set(facts["tokens"])
    assert at_scoring(tmp_path / "merged", chat_template=True) == set(facts["tokens"])
    found = proof(model, adapter, tmp_path / "merged")
    assert all(check["passed"] for check in found.values()), found
    assert str(token) in found["stops"]["evidence"]


def test_a_call_stops_where_it_ends_in_another_way(made, tmp_path):
    template = (SHIPPED / "gptoss.jinja").read_text()
    model, adapter = variant(made, tmp_path, template=template)
    facts = merged_of(model, adapter, tmp_path / "merged")
    answer, call = ids(adapter, "<|return|>", "<|call|>")
    assert (facts["end_of_turn"], facts["end_token"]) == ("<|return|>", answer)
    assert (facts["end_of_call"], facts["call_token"]) == ("<|call|>", call)
    assert at_generation(tmp_path / "merged") == {0, answer, call}
    assert at_scoring(tmp_path / "merged", chat_template=True) == {0, answer, call}
    found = proof(model, adapter, tmp_path / "merged")
    assert all(check["passed"] for check in found.values()), found
    assert f"'<|call|>': {call}" in found["stops"]["evidence"]
    assert f"a call with `<|call|>` (token {call})" in stop_words(facts)


def test_what_else_generates_stays_as_it_was(made, tmp_path):
    model, adapter = variant(made, tmp_path, template=CHATML)
    merged_of(model, adapter, tmp_path / "merged")
    written = json.loads((tmp_path / "merged/generation_config.json").read_text())
    (end,) = ids(adapter, "<|im_end|>")
    assert written == {"temperature": 0.6, "do_sample": True, "eos_token_id": [0, end]}


def test_a_template_that_ends_with_the_bases_eos_changes_no_byte(made, tmp_path):
    template = CHATML.replace("<|im_end|>", "<|endoftext|>")
    model, adapter = variant(made, tmp_path, template=template)
    facts = merged_of(model, adapter, tmp_path / "merged")
    assert (facts["added"], facts["end_token"]) == ([], 0)
    name = "generation_config.json"
    assert (tmp_path / "merged" / name).read_bytes() == (model / name).read_bytes()


def test_no_file_is_made_where_the_config_says_it_already(made, tmp_path):
    template = CHATML.replace("<|im_end|>", "<|endoftext|>")
    model, adapter = variant(made, tmp_path, template=template, file=False)
    assert not merged_of(model, adapter, tmp_path / "merged")["added"]
    assert not (tmp_path / "merged/generation_config.json").exists()
    assert at_generation(tmp_path / "merged") == {0}
    assert all(check["passed"] for check in proof(model, adapter, tmp_path / "merged").values())


def test_a_file_that_has_to_be_made_holds_what_transformers_derived(made, tmp_path):
    model, adapter = variant(made, tmp_path, template=CHATML, file=False, pad=5)
    before = AutoModelForCausalLM.from_pretrained(model).generation_config
    merged_of(model, adapter, tmp_path / "merged")
    after = GenerationConfig.from_pretrained(tmp_path / "merged")
    assert (after.pad_token_id, after.bos_token_id) == (5, before.bos_token_id)
    assert after.eos_token_id == [0, *ids(adapter, "<|im_end|>")]


def test_the_runs_own_generation_config_is_completed_too(made, tmp_path):
    model, adapter = variant(made, tmp_path, template=CHATML)
    (adapter / "generation_config.json").write_text('{"eos_token_id": 3, "top_k": 7}')
    merged_of(model, adapter, tmp_path / "merged")
    written = json.loads((tmp_path / "merged/generation_config.json").read_text())
    assert written["top_k"] == 7
    assert set(written["eos_token_id"]) == {3, 0, *ids(adapter, "<|im_end|>")}
    assert all(check["passed"] for check in proof(model, adapter, tmp_path / "merged").values())


# Ends that no generation config can name.


@pytest.mark.parametrize(("template", "end"), [(PLAIN, "### End"), (NOTHING, ""), (None, "")])
def test_an_end_that_is_no_token_is_told_and_not_made_up(made, tmp_path, template, end):
    model, adapter = variant(made, tmp_path, template=template)
    facts = merged_of(model, adapter, tmp_path / "merged")
    assert facts == {"tokens": [0], "added": [], "end_of_turn": end, "end_token": None}
    stops = proof(model, adapter, tmp_path / "merged")["stops"]
    assert stops["passed"]
    assert ("no token of its own" in stops["evidence"]) == bool(end)
    words = stop_words(facts)
    assert ("`### End`" in words and "stop_strings" in words) == bool(end)
    assert "token 0" in words


def test_a_template_that_renders_no_answer_ends_none(made, tmp_path):
    model, adapter = variant(made, tmp_path, template="no answer in here")
    assert merged_of(model, adapter, tmp_path / "merged")["end_of_turn"] == ""


def test_a_template_that_fails_is_told_with_its_folder(made, tmp_path):
    model, adapter = variant(made, tmp_path, template="{{ raise_exception('never') }}")
    with pytest.raises(TemplateError, match=r"merged: .* where an answer ends .*never"):
        merged_of(model, adapter, tmp_path / "merged")


# The proof finds what is missing, and what is too much.


@pytest.mark.parametrize(
    ("change", "odd"),
    [
        (lambda c: c | {"eos_token_id": 0}, {"stops"}),
        (lambda c: c | {"eos_token_id": [*c["eos_token_id"], 9]}, {"stops"}),
        (lambda c: {k: v for k, v in c.items() if k != "eos_token_id"}, {"stops"}),
        (lambda c: c | {"temperature": 0.9}, {"generation_config"}),
        (lambda c: c | {"top_p": 0.5}, {"generation_config"}),
        (
            lambda c: c | {"eos_token_id": [*c["eos_token_id"], 9], "pad_token_id": 9},
            {"stops", "generation_config", "stop_tokens"},
        ),
        (lambda c: c | {"eos_token_id": list(reversed(c["eos_token_id"]))}, set()),
    ],
)
def test_the_proof_finds_a_generation_config_that_is_not_right(made, tmp_path, change, odd):
    model, adapter = variant(made, tmp_path, template=CHATML)
    merged_of(model, adapter, tmp_path / "merged")
    file = tmp_path / "merged/generation_config.json"
    file.write_text(json.dumps(change(json.loads(file.read_text()))))
    found = proof(model, adapter, tmp_path / "merged")
    assert {name for name, check in found.items() if not check["passed"]} == odd


def test_padding_with_the_end_of_a_turn_is_no_fault(made, tmp_path):
    (end,) = ids(made[0], "<|im_end|>")
    model, adapter = variant(made, tmp_path, template=CHATML, pad=end)
    merged_of(model, adapter, tmp_path / "merged")
    assert proof(model, adapter, tmp_path / "merged")["stop_tokens"]["passed"]


def test_the_stop_of_a_merge_that_forgot_the_template_is_missed(made, tmp_path):
    model, adapter = variant(made, tmp_path, template=ENDS["Gemma"][0])
    (tmp_path / "merged").mkdir()
    merge_adapter(model, adapter, tmp_path / "merged")
    found = proof(model, adapter, tmp_path / "merged")
    assert not found["stops"]["passed"]
    assert "Stops at 0; scoring stops at 0, " in found["stops"]["evidence"]


# One function for all.


@pytest.mark.parametrize("declared", [None, 7, [7], [7, 2], []])
def test_scoring_merging_and_proof_count_the_same(made, declared):
    tokenizer = load_tokenizer(made[0], chat_template=False)
    tokenizer.chat_template = CHATML
    named = [declared] if isinstance(declared, int) else declared or []
    found = stop_tokens(tokenizer, declared, answer_ends(tokenizer).texts)
    (end,) = ids(made[0], "<|im_end|>")
    assert found == sorted({*named, tokenizer.eos_token_id, end})
    assert end_token(tokenizer, "") is None


CARD = CardSpec(
    card={
        "base": {"source": "hub", "hub": "a/b", "revision": "c"},
        "parts": [],
        "combination": None,
    }
)


def test_the_card_says_where_the_model_stops(made, tmp_path):
    model, adapter = variant(made, tmp_path, template=ENDS["Gemma"][0])
    facts = merged_of(model, adapter, tmp_path / "merged")
    text = card_text(CARD, {}, facts)
    (token,) = ids(adapter, "<end_of_turn>")
    assert f"ends an answer with `<end_of_turn>` (token {token})" in text
    assert "Where it stops" not in card_text(CARD, {})
