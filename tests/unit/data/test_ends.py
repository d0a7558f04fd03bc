"""Answers end at one place for training and for everyone who asks a model."""

from pathlib import Path

import pytest
import trl

from scripts.lib.data.conversation import Conversation, Message
from scripts.lib.data.ends import ControlTokens, answer_ends
from scripts.lib.data.renderer import Renderer
from scripts.lib.data.templates import CHATML, MARKER, Template, load_fast_tokenizer
from scripts.lib.data.turns import asked_turn
from tests.chat_samples import talk
from tests.tiny_model import make_tiny_model

SHIPPED = Path(trl.__file__).parent / "chat_templates"
CALL = {"type": "function", "id": "abcdefghi"}
# What ends answers and calls there, as the models' own cards describe it.
KNOWN = {
    "phi3": ("<|end|>", ""),
    "gptoss": ("<|return|>", "<|call|>"),
    "llama3_1": ("<|eot_id|>", ""),
    "qwen2_5": ("<|im_end|>", ""),
    "qwen3": ("<|im_end|>", ""),
    "deepseek_r1_distill": ("<｜end▁of▁sentence｜>", ""),
    "glm4moe": ("<|user|>", "<|observation|>"),
}
TOOLS = (
    {
        "type": "function",
        "function": {"name": "weather", "description": "?", "parameters": {"properties": {}}},
    },
)


@pytest.fixture
def tokenizer(tmp_path):
    return load_fast_tokenizer(make_tiny_model(tmp_path))


def given(tokenizer, text):
    """Return the tokenizer with a template and its control tokens."""
    marks = sorted(set(MARKER.findall(text)))
    tokenizer.add_special_tokens({"additional_special_tokens": marks})
    tokenizer.chat_template = text
    return tokenizer


def trained_end(tokenizer, conversation):
    """Return the control token with which training lets the last turn end."""
    template = Template(source="custom", text=tokenizer.chat_template)
    renderer = Renderer(tokenizer, template)
    turn = asked_turn(renderer, conversation, len(conversation.messages) - 1, None)
    found = ControlTokens(tokenizer).at_end(turn.written, 0)
    return found[-1][0] if found else ""


@pytest.mark.parametrize("name", KNOWN)
def test_asking_and_training_end_an_answer_at_the_same_token(tokenizer, name):
    given(tokenizer, (SHIPPED / f"{name}.jinja").read_text(encoding="utf-8"))
    ends = answer_ends(tokenizer)
    assert (ends.answer, ends.call) == KNOWN[name]
    # GLM-4.5's writes no end: training refuses it, and a model stops where the next turn begins.
    trained = "" if name == "glm4moe" else ends.answer
    assert trained_end(tokenizer, talk("2+2?", "4")) == trained


@pytest.mark.parametrize("name", ["gptoss", "llama3_1", "qwen2_5", "qwen3"])
def test_asking_and_training_end_a_call_at_the_same_token(tokenizer, name):
    given(tokenizer, (SHIPPED / f"{name}.jinja").read_text(encoding="utf-8"))
    call = CALL | {"function": {"name": "weather", "arguments": {"city": "Bonn"}}}
    turns = (
        Message(role="user", content="Weather in Bonn?"),
        Message(role="assistant", content="", tool_calls=(call,)),
    )
    ends = answer_ends(tokenizer)
    conversation = Conversation(messages=turns, tools=TOOLS)
    assert trained_end(tokenizer, conversation) == (ends.call or ends.answer)
    assert ends.texts == tuple(filter(None, KNOWN[name]))


def test_a_default_system_turn_ends_no_answer(tokenizer):
    text = "{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}" + CHATML
    assert answer_ends(given(tokenizer, text)).texts == ("<|im_end|>",)


def test_an_end_of_words_is_all_that_is_written_behind_an_answer(tokenizer):
    text = "{% for m in messages %}{{ m['content'] }} ### End\n{% endfor %}"
    assert answer_ends(given(tokenizer, text)).texts == ("### End",)
