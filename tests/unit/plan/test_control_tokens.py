"""What cannot be done with rows that a template's control tokens need is told before any job."""

import pytest
from transformers import AutoTokenizer

from scripts.lib.data.control_tokens import lacking_tokens
from scripts.lib.data.templates import CHATML, Template
from scripts.lib.plan.control_tokens import _known_tokens
from tests.base_model import make_base_tokenizer
from tests.tiny_model import make_tokenizer
from tests.unit.plan.test_base_templates import (
    PLAIN,
    RUN,
    home,  # noqa: F401  a fixture
    planned,
)
from tests.unit.plan.test_refused_at_planning import refusal

BASE = {"path": "base", "template": "chatml"}
TWO = {"one": RUN, "two": RUN | {"lora": {"r": 4}}}
COMBINED = {"candidates": {"blend": {"combine": {"one": 0.5, "two": 0.5}}}}


@pytest.mark.parametrize(
    ("runs", "more", "told"),
    [
        (TWO, COMBINED, "candidates.blend.combine: the template of runs.one adds <|im_start|>"),
        ({"r": RUN | {"lora": {"target_modules": ["q_proj", "embed_tokens"]}}}, {}, "runs.r.lora"),
        ({"r": RUN | {"lora": {"target_modules": [r"model.embed_tokens"]}}}, {}, "runs.r.lora"),
        ({"r": RUN | {"lora": {"modules_to_save": ["embed_tokens"]}}}, {}, "runs.r.lora.modules"),
        ({"r": RUN | {"lora": {"modules_to_save": ["lm_head"]}}}, {}, "runs.r.lora.modules"),
        ({"r": RUN | {"merge": False}}, {"backend": "vllm"}, "runs.r.merge: the template of"),
    ],
)
def test_new_rows_are_refused_where_they_have_no_place(home, runs, more, told, monkeypatch):  # noqa: F811
    monkeypatch.setattr("scripts.lib.plan.local_files.LocalSources.package_version", lambda *_: "1")
    benchmark = PLAIN | {key: more[key] for key in more if key == "backend"}
    rest = {key: more[key] for key in more if key != "backend"}
    make_base_tokenizer().save_pretrained(home / "base")
    text = refusal(home, {"b": benchmark}, model=BASE, runs=runs, **rest)
    assert told in text and "choose a template made for this vocabulary" in text
    # The very runs go where the tokenizer has the tokens, or brings the template.
    tokenizer = make_tokenizer()
    tokenizer.chat_template = None
    tokenizer.save_pretrained(home / "base")
    planned(home, {"b": benchmark}, model=BASE, runs=runs, **rest)
    tokenizer = make_base_tokenizer()
    tokenizer.chat_template = CHATML.replace("<|im_end|>", "<|endoftext|>")
    tokenizer.save_pretrained(home / "base")
    (home / "own.jinja").write_text(tokenizer.chat_template)
    own = BASE | {"template": "own.jinja"}
    planned(home, {"b": benchmark}, model=own, runs=runs, **rest)


@pytest.mark.parametrize("make", [make_base_tokenizer, make_tokenizer])
def test_planning_and_rendering_agree_on_what_a_tokenizer_lacks(tmp_path, make):
    made = make()
    made.chat_template = None
    made.add_tokens(["<|user|>"], special_tokens=True)
    made.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    text = "{{ '<|user|>' }}" + CHATML.replace("<|im_end|>", "<|endoftext|>")
    lacking = lacking_tokens(loaded, Template(source="custom:test", text=text))
    known = _known_tokens(tmp_path)
    for token in ("<|user|>", "<|endoftext|>", "<|im_start|>"):
        assert (token in known) == (token not in lacking), token
