"""Every answer is trained as the model is asked for it: reasoning once and closed, then the end."""

import pytest

from scripts.lib.data.conversation import Conversation, Message
from scripts.lib.data.encoding import Encoder
from scripts.lib.data.records import UnusableRow
from scripts.lib.data.samples import SampleSpec, samples
from scripts.lib.data.templates import load_fast_tokenizer
from tests.chat_samples import GENERATION, TINY_TEMPLATE, renderer_of, talk, trained_texts
from tests.tiny_model import make_tiny_model

# The kinds of reasoning templates: DeepSeek-R1's distilled models cut it and open a new one,
# Qwen3.6's writes what stands under a key and opens one, Qwen3's writes an empty one itself.
_TURN = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}"
_OPENED = GENERATION.replace("assistant\n", "assistant\n<think>\n")
CUTS_AND_OPENS = (
    _TURN
    + "{% set said = m.content.split('</think>')[-1] if m.role == 'assistant' else m.content %}"
    "{{ said + '<|im_end|>\n' }}{% endfor %}" + _OPENED
)
WRITES_AND_OPENS = (
    _TURN + "{% if m.role == 'assistant' %}"
    "{{ '<think>\n' + (m.reasoning_content or '') + '\n</think>\n\n' }}{% endif %}"
    "{{ m.content + '<|im_end|>\n' }}{% endfor %}" + _OPENED
)
WRITES = WRITES_AND_OPENS.replace(_OPENED, GENERATION)
CLOSES = WRITES_AND_OPENS.replace(
    _OPENED, GENERATION.replace("assistant\n", "assistant\n<think>\n\n</think>\n\n")
)
REASONED = "<think>\nfour each\n</think>\n\nEight."


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return load_fast_tokenizer(make_tiny_model(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def encoder(tokenizer):
    return Encoder(tokenizer)


def keyed(answer, reasoning):
    turns = (
        Message(role="user", content="?"),
        Message(role="assistant", content=answer, reasoning=reasoning),
    )
    return Conversation(messages=turns)


@pytest.mark.parametrize(
    ("template", "reasoned", "plain"),
    [
        (CUTS_AND_OPENS, "four each\n</think>\n\nEight.", "</think>\n\nEight."),
        (WRITES_AND_OPENS, "four each\n</think>\n\nEight.", "\n</think>\n\nEight."),
        (WRITES, REASONED, "<think>\n\n</think>\n\nEight."),
        (TINY_TEMPLATE, REASONED, "Eight."),
    ],
)
def test_reasoning_is_trained_once_and_closed(tokenizer, encoder, template, reasoned, plain):
    def trained(conversation, **spec):
        return trained_texts(tokenizer, encoder, template, conversation, **spec)

    written = "<think>four each</think>Eight." if template != TINY_TEMPLATE else REASONED
    for words in (REASONED, written):
        assert trained(talk("?", words)) == [f"{reasoned}<|im_end|>"]
    assert trained(keyed("Eight.", "four each"), fold_reasoning=True) == [f"{reasoned}<|im_end|>"]
    assert trained(keyed("Eight.", None)) == [f"{plain}<|im_end|>"]
    several = trained(talk("?", REASONED, "?", "Eight."))
    assert several == [f"{reasoned}<|im_end|>", f"{plain}<|im_end|>"]


@pytest.mark.parametrize("template", [CUTS_AND_OPENS, WRITES_AND_OPENS, WRITES])
def test_answers_without_reasoning_can_be_rejected(tokenizer, encoder, template):
    with pytest.raises(UnusableRow, match="no_reasoning"):
        trained_texts(tokenizer, encoder, template, talk("?", "4"), plain_answers="reject")
    assert trained_texts(tokenizer, encoder, template, talk("?", REASONED), plain_answers="reject")


def test_an_empty_reasoning_can_be_put_in_front(tokenizer, encoder):
    silent = WRITES.replace("(m.reasoning_content or '')", "m.reasoning_content").replace(
        "{% if m.role == 'assistant' %}", "{% if m.reasoning_content %}"
    )
    assert trained_texts(tokenizer, encoder, silent, talk("?", "4")) == ["4<|im_end|>"]
    closed = trained_texts(tokenizer, encoder, silent, talk("?", "4"), plain_answers="close_empty")
    assert closed == ["<think>\n\n</think>\n\n4<|im_end|>"]


@pytest.mark.parametrize(
    ("conversation", "reason", "template"),
    [
        (talk("?", "<think>four each. Eight."), "reasoning_never_closes", WRITES),
        (talk("?", "<think>a</think><think>b</think>Eight."), "several_reasonings", WRITES),
        (keyed("<think>a</think>Eight.", "b"), "several_reasonings", WRITES),
        (keyed("Eight.", "four each"), "reasoning_not_rendered", TINY_TEMPLATE),
        (talk("?", REASONED), "prompt_closes_reasoning", CLOSES),
    ],
)
def test_reasoning_without_a_place_is_a_reason(tokenizer, encoder, conversation, reason, template):
    with pytest.raises(UnusableRow) as caught:
        trained_texts(tokenizer, encoder, template, conversation)
    assert caught.value.reason == reason


def test_an_opened_reasoning_is_never_left_open(tokenizer, encoder):
    with pytest.raises(UnusableRow, match="close_empty"):
        trained_texts(
            tokenizer, encoder, CUTS_AND_OPENS, talk("?", "4"), plain_answers="as_template"
        )


def test_text_about_the_tags_is_text(tokenizer, encoder):
    words = "Close it with </think>, open it with <think>."
    assert trained_texts(tokenizer, encoder, TINY_TEMPLATE, talk("?", words)) == [
        f"{words}<|im_end|>"
    ]


def test_turns_that_are_not_to_be_learnt_are_read_only(tokenizer, encoder):
    wrong = Message(role="assistant", content="5", trained=False)
    turns = talk("2+2?", "x", "No.", "4").messages
    conversation = Conversation(messages=(turns[0], wrong, *turns[2:]))
    assert trained_texts(tokenizer, encoder, TINY_TEMPLATE, conversation) == ["4<|im_end|>"]
    with pytest.raises(UnusableRow, match="nothing_to_train_on"):
        none = Conversation(messages=(turns[0], wrong))
        trained_texts(tokenizer, encoder, TINY_TEMPLATE, none)


def test_the_first_control_token_behind_an_answer_ends_it(tokenizer, encoder):
    """As Phi-3's templates, which write the end of the text behind the last turn's end."""
    two = TINY_TEMPLATE.replace(
        "{% endfor %}",
        "{% endfor %}{% if not add_generation_prompt %}{{ '<|endoftext|>' }}{% endif %}",
        1,
    )
    both = ["4<|im_end|>", "Yes.<|im_end|>"]
    assert trained_texts(tokenizer, encoder, two, talk("2+2?", "4", "sure?", "Yes.")) == both


# As Mistral's published templates: the system text stands at a question that is the last turn.
AT_LAST_QUESTION = (
    "{% for m in messages %}{% if m.role != 'system' %}{{ '<|im_start|>' }}"
    "{% if loop.last and m.role == 'user' %}{{ messages[0].content + ' ' }}{% endif %}"
    "{{ m.content + '<|im_end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>' }}{% endif %}"
)


def test_an_answer_is_found_where_only_the_prompt_holds_the_system_text(tokenizer, encoder):
    talked = talk("2+2?", "4", "sure?", "Yes.", system="Be short.")
    rows = samples(renderer_of(tokenizer, AT_LAST_QUESTION), talked, "x", SampleSpec())
    assert [row.text for row in rows] == [
        "<|im_start|>Be short. 2+2?<|im_end|><|im_start|>4<|im_end|>",
        "<|im_start|>2+2?<|im_end|><|im_start|>4<|im_end|><|im_start|>Be short. sure?<|im_end|>"
        "<|im_start|>Yes.<|im_end|>",
    ]
    assert trained_texts(tokenizer, encoder, AT_LAST_QUESTION, talked) == [
        "4<|im_end|>",
        "Yes.<|im_end|>",
    ]


def test_another_start_of_the_answer_is_still_a_reason(tokenizer, encoder):
    other = TINY_TEMPLATE.replace("assistant\\n", "model\\n")
    assert other != TINY_TEMPLATE
    with pytest.raises(UnusableRow, match="prompt_is_not_a_prefix"):
        trained_texts(tokenizer, encoder, other, talk("2+2?", "4"))


def test_reasoning_that_shares_words_with_the_answer_is_not_lost(tokenizer, encoder):
    """A template that cuts the reasoning writes the same words with and without it."""
    cuts = CUTS_AND_OPENS.replace(_OPENED, GENERATION)
    with pytest.raises(UnusableRow, match="reasoning_not_rendered"):
        trained_texts(tokenizer, encoder, cuts, keyed("Eight is four and four.", "four"))


# As Gemma 4's: reasoning in tags of its own, in the first versions only beside calls.
OWN_TAGS = (
    _TURN + "{% if m.reasoning %}{{ '<|endoftext|>' + m.reasoning + '<|endoftext|>' }}{% endif %}"
    "{{ m.content }}{% for call in m.tool_calls or [] %}{{ call.function | tojson }}{% endfor %}"
    "{{ '<|im_end|>\n' }}{% endfor %}" + GENERATION
)


def test_reasoning_that_is_written_only_beside_calls_is_found(tokenizer, encoder):
    beside_calls = OWN_TAGS.replace("if m.reasoning", "if m.reasoning and m.tool_calls")
    call = {"type": "function", "function": {"name": "count", "arguments": {}}}
    turns = (
        Message(role="user", content="?"),
        Message(role="assistant", content="", reasoning="look", tool_calls=(call,)),
    )
    (trained,) = trained_texts(tokenizer, encoder, beside_calls, Conversation(messages=turns))
    assert trained.startswith("<|endoftext|>look<|endoftext|>") and '"count"' in trained
    with pytest.raises(UnusableRow, match="reasoning_not_rendered"):
        trained_texts(tokenizer, encoder, beside_calls, keyed("Eight.", "four each"))


def test_no_tags_are_put_before_an_answer_that_the_template_does_not_know(tokenizer, encoder):
    assert trained_texts(tokenizer, encoder, OWN_TAGS, talk("?", "4")) == ["4<|im_end|>"]
    with pytest.raises(UnusableRow, match="no_empty_reasoning"):
        trained_texts(tokenizer, encoder, OWN_TAGS, talk("?", "4"), plain_answers="close_empty")


# As gpt-oss's: the reasoning that led to a call is shown until an answer stands there.
UNTIL_ANSWERED = (
    "{% set last = messages[-1] %}{% for m in messages %}{{ '<|im_start|>' + m.role + ':' }}"
    "{% if m.thinking and (loop.last or last.role == 'tool') %}"
    "{{ 'hm ' + m.thinking + '<|endoftext|>' }}{% endif %}"
    "{{ m.content }}{% for call in m.tool_calls or [] %}{{ call.function | tojson }}{% endfor %}"
    "{{ '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant:' }}{% endif %}"
)


@pytest.mark.parametrize(
    ("reasoning", "trained"), [(None, "Four."), ("sum", "hm sum<|endoftext|>Four.")]
)
def test_reasoning_that_led_to_a_call_stands_in_the_prompt_of_the_answer(
    tokenizer, encoder, reasoning, trained
):
    call = {"type": "function", "function": {"name": "count", "arguments": {}}}
    turns = (
        Message(role="user", content="?"),
        Message(role="assistant", content="", reasoning="look", tool_calls=(call,)),
        Message(role="tool", content="4", name="count"),
        Message(role="assistant", content="Four.", reasoning=reasoning),
    )
    talked = Conversation(messages=turns)
    (row,) = samples(renderer_of(tokenizer, UNTIL_ANSWERED), talked, "x", SampleSpec())
    assert "hm look" in row.text
    texts = trained_texts(tokenizer, encoder, UNTIL_ANSWERED, talked)
    assert texts[0].startswith("hm look") and texts[1] == f"{trained}<|im_end|>"
