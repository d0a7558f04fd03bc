"""Exactly what the assistant says is trained on, whatever the template."""

import pytest

from scripts.lib.data.conversation import Conversation, Message
from scripts.lib.data.encoding import Encoded, Encoder
from scripts.lib.data.masking import loss_mask, tokens_in
from scripts.lib.data.records import UnusableRow
from scripts.lib.data.templates import CHATML, load_fast_tokenizer
from scripts.lib.data.turns import asked_turn, missing_words
from tests.chat_samples import (
    DEFAULT_SYSTEM,
    DROPS_SYSTEM,
    NO_END,
    THINKING,
    TINY_TEMPLATE,
    TRIMMED,
    renderer_of,
    talk,
    trained_texts,
)
from tests.tiny_model import make_tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def tokenizer(folder):
    return load_fast_tokenizer(folder)


@pytest.fixture(scope="module")
def encoder(tokenizer):
    return Encoder(tokenizer)


def test_every_turn_of_our_chatml_with_tools_is_trained(tokenizer, encoder):
    call = {"type": "function", "function": {"name": "f", "arguments": {}}}
    conversation = Conversation(
        messages=(
            Message(role="user", content="Q"),
            Message(role="assistant", content="", tool_calls=(call,)),
            Message(role="tool", content="42"),
            Message(role="assistant", content="A"),
        ),
        tools=({"type": "function", "function": {"name": "f"}},),
    )
    assert trained_texts(tokenizer, encoder, CHATML, conversation) == [
        '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call><|im_end|>',
        "A<|im_end|>",
    ]


@pytest.mark.parametrize("template", [TINY_TEMPLATE, CHATML, DEFAULT_SYSTEM, TRIMMED])
def test_each_answer_is_trained_with_its_end_and_nothing_else(tokenizer, encoder, template):
    conversation = talk("q 1", "é😀\n\nx", "q 2", "b  c")
    expected = ["é😀\n\nx<|im_end|>", "b  c<|im_end|>"]
    assert trained_texts(tokenizer, encoder, template, conversation) == expected
    assert (
        trained_texts(tokenizer, encoder, template, conversation, train_on="last_assistant")
        == expected[1:]
    )


def test_white_space_of_answers_is_trained_as_it_is_rendered(tokenizer, encoder):
    conversation = talk("q", "\n\n a \n")
    kept = trained_texts(tokenizer, encoder, TINY_TEMPLATE, conversation)
    assert kept == ["\n\n a \n<|im_end|>"]
    assert trained_texts(tokenizer, encoder, TRIMMED, conversation) == ["a<|im_end|>"]


def test_a_template_without_end_of_turn_trains_the_words_only(tokenizer, encoder):
    assert trained_texts(tokenizer, encoder, NO_END, talk("q", "a b")) == ["a b"]


def test_turns_that_later_ones_change_are_trained_as_they_are_asked_for(tokenizer, encoder):
    conversation = talk("q", "a", "r", "b")
    both = ["<think>\n</think>a<|im_end|>", "<think>\n</think>b<|im_end|>"]
    assert trained_texts(tokenizer, encoder, THINKING, conversation) == both
    for spec in ({"train_on": "last_assistant"}, {"train_on": "last_assistant", "turns": "each"}):
        assert trained_texts(tokenizer, encoder, THINKING, conversation, **spec) == both[1:]
    with pytest.raises(UnusableRow) as caught:
        trained_texts(tokenizer, encoder, THINKING, conversation, turns="together")
    assert caught.value.reason == "turn_is_not_a_prefix"


def test_tokens_count_where_they_begin():
    encoded = Encoded(ids=[0, 1, 2, 3], starts=[0, 1, 3, 5], ends=[1, 3, 5, 6])
    assert tokens_in(encoded, [(0, 1), (2, 5)]) == ((0, 1), (2, 3))


def test_a_token_that_straddles_the_prompt_is_not_trained_and_one_behind_is():
    encoded = Encoded(ids=[0, 1, 2, 3], starts=[0, 1, 3, 5], ends=[1, 3, 5, 6])
    assert loss_mask(encoded, "a\nbc\nd", [(2, 4)], frozenset()).mask == [0, 0, 1, 0]


@pytest.mark.parametrize(
    ("words", "text", "told"),
    [
        (
            "Do say it  twice, please",
            "<user>Do say it twice, please</user>",
            "after 'Do say it ' (character 10) expected ' twice, please',"
            " rendered 'twice, please</user>'",
        ),
        ("Be brief.", "", "expected 'Be brief.', rendered nothing"),
        ("Be brief.", "<user>Hi</user>", "expected 'Be brief.', rendered '<user>Hi</user>'"),
        ("a" * 300, "b" * 300, f"expected '{'a' * 60}', rendered '{'b' * 60}'"),
        (
            "It costs 20 EUR in all",
            "x It costs 20 ",
            "after 'It costs 20 ' (character 12) expected 'EUR in all', rendered ''",
        ),
    ],
)
def test_where_words_leave_what_was_rendered_is_shown(words, text, told):
    assert missing_words(words, text) == told


def test_words_that_a_template_leaves_out_are_told_with_turn_and_role(tokenizer):
    renderer = renderer_of(tokenizer, DROPS_SYSTEM)
    conversation = talk("Hi", "Ho", system="Answer in one word.")
    with pytest.raises(UnusableRow) as caught:
        asked_turn(renderer, conversation, 2, None)
    assert caught.value.reason == "content_not_rendered"
    assert caught.value.detail.startswith(
        "turn 0 (system): expected 'Answer in one word.', rendered '<|im_start|>user"
    )
