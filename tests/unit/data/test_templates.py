"""Chat templates are found, and rendered the same every day."""

import json

import pytest
from pydantic import TypeAdapter, ValidationError

from scripts.lib.config.fields import TemplateChoice
from scripts.lib.data.conversation import Conversation, Message
from scripts.lib.data.templates import CHATML, TEMPLATE_NAMES, load_fast_tokenizer, resolve_template
from scripts.lib.errors import TemplateError
from tests.chat_samples import NO_SYSTEM, TINY_TEMPLATE, renderer_of, talk
from tests.tiny_model import make_tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def tokenizer(folder):
    return load_fast_tokenizer(folder)


def test_a_choice_means_the_own_template_chatml_or_a_text(tokenizer):
    assert resolve_template("tokenizer", tokenizer).text == TINY_TEMPLATE
    assert resolve_template("chatml", tokenizer).text == CHATML
    custom = resolve_template({"name": "mine", "text": "x"}, tokenizer)
    assert (custom.source, custom.text) == ("custom:mine", "x")
    assert custom.sha256 != resolve_template("chatml", tokenizer).sha256


@pytest.mark.parametrize("name", TEMPLATE_NAMES)
def test_every_template_with_a_name_can_be_configured_and_found(tokenizer, name):
    assert TypeAdapter(TemplateChoice).validate_python(name) == name
    assert resolve_template(name, tokenizer).source == name


def test_a_template_without_a_known_name_is_refused_with_the_names():
    with pytest.raises(ValidationError, match=", ".join(TEMPLATE_NAMES)):
        TypeAdapter(TemplateChoice).validate_python("llama-3")


def test_a_tokenizer_without_a_template_asks_for_chatml(folder):
    bare = load_fast_tokenizer(folder)
    bare.chat_template = None
    with pytest.raises(TemplateError, match="template: chatml"):
        resolve_template("tokenizer", bare)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(TemplateError, match="no tokenizer"):
        load_fast_tokenizer(tmp_path)


def test_our_chatml_renders_plain_turns_as_everyone_does(tokenizer):
    for conversation in (talk("Hi", " Hello\n"), talk("a", "b", "c", "d", system="S")):
        ours, theirs = (
            renderer_of(tokenizer, text).text(conversation) for text in (CHATML, TINY_TEMPLATE)
        )
        assert ours == theirs


def test_our_chatml_shows_tools_calls_and_answers(tokenizer):
    call = {"type": "function", "function": {"name": "f", "arguments": {"x": [1, "é"]}}}
    conversation = Conversation(
        messages=(
            Message(role="system", content="S"),
            Message(role="user", content="Q"),
            Message(role="assistant", content="", tool_calls=(call, call)),
            Message(role="tool", content="42", name="f"),
            Message(role="assistant", content="A"),
        ),
        tools=({"type": "function", "function": {"name": "f"}},),
    )
    text = renderer_of(tokenizer, CHATML).text(conversation)
    system, *turns = text.removesuffix("<|im_end|>\n").split("<|im_end|>\n")
    assert system.startswith("<|im_start|>system\nS\n\n")
    assert json.loads(system.split("<tools>\n")[1].split("\n</tools>")[0]) == conversation.tools[0]
    block = '<tool_call>\n{"name": "f", "arguments": {"x": [1, "é"]}}\n</tool_call>'
    assert turns == [
        "<|im_start|>user\nQ",
        f"<|im_start|>assistant\n{block}\n{block}",
        "<|im_start|>tool\n42",
        "<|im_start|>assistant\nA",
    ]


def test_a_template_with_today_in_it_renders_the_same_every_day(tokenizer):
    text = "{% if strftime_now is defined %}{{ strftime_now('%d %b %Y') }}{% endif %}, {{ 1 }}"
    assert renderer_of(tokenizer, text).text(talk("a", "b")) == "26 Jul 2024, 1"


def test_hiding_the_date_changes_nothing_else(tokenizer):
    text = "\n   {% if true %}\nx {% endif %}"
    dated = text + "{% if false %}{{ strftime_now('%d') }}{% endif %}"
    plain, hidden = (renderer_of(tokenizer, one).text(talk("a", "b")) for one in (text, dated))
    assert plain == hidden


def test_a_failing_template_is_named_with_its_message(tokenizer):
    with pytest.raises(TemplateError, match=r"custom:test.*System role not supported"):
        renderer_of(tokenizer, NO_SYSTEM).text(talk("a", "b", system="S"))
    with pytest.raises(TemplateError, match="custom:test"):
        renderer_of(tokenizer, "{% for %}").text(talk("a", "b"))


def test_a_template_cannot_leave_the_sandbox(tokenizer):
    text = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
    with pytest.raises(TemplateError, match="unsafe"):
        renderer_of(tokenizer, text).text(talk("a", "b"))
