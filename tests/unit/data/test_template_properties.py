"""On every template that people use, what is trained is the turns asked for and their ends.

Whatever is said: the trained text is what it is for other words, with these in their place.
"""

import re
from functools import cache

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from scripts.lib.data.conversation import Conversation, Message
from scripts.lib.data.encoding import Encoder
from scripts.lib.data.records import UnusableRow
from scripts.lib.data.samples import SampleSpec, samples
from scripts.lib.errors import TemplateError
from scripts.tools.template_outcomes import MARKS, known_templates, renderer_for, wants_parts
from tests.chat_samples import runs_of

KNOWN = {one.name: one for one in known_templates()}
QUIET = {
    "derandomize": True,
    "database": None,
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
    "phases": [Phase.generate],  # what fails is short already
}
# Words no template changes, so many as a conversation has places.
PROBES = tuple(f"qzj{letter}vxk" for letter in "abcdefghijklmnop")


def said(text):
    """Tell whether somebody can say this without meaning a control token or a tag."""
    return bool(text.strip()) and not MARKS.search(text) and not re.search(r"[<>\[\]{}]", text)


WORDS = st.text(
    st.one_of(
        st.sampled_from("abc  \n\t\"'\\éß日本語🙂"),
        st.characters(codec="utf-8", exclude_categories=["Cc", "Co", "Cn"]),
    ),
    min_size=1,
    max_size=24,
).filter(said)


SPECS = st.fixed_dictionaries(
    {
        "train_on": st.sampled_from(["assistant", "assistant", "last_assistant"]),
        "turns": st.sampled_from(["auto", "each"]),
    }
)


@st.composite
def shapes(draw):
    """Draw whether there is a system turn, and for each question whether a tool is asked first
    and whether the answer begins with a thought, and in which place."""
    place = st.sampled_from([None, None, "content", "key"])
    rounds = st.tuples(st.booleans(), place)
    return draw(st.booleans()), tuple(draw(st.lists(rounds, min_size=1, max_size=3)))


def conversation(shape, words):
    """Return a conversation of a shape that says the words, in order."""
    system, rounds = shape
    left = iter(words)
    turns = [Message(role="system", content=next(left))] if system else []
    for number, (calls, thought) in enumerate(rounds):
        turns.append(Message(role="user", content=next(left)))
        if calls:
            id_ = f"call{number:05d}"
            function = {"name": "look_up", "arguments": {"key": "Bonn"}}
            call = {"type": "function", "id": id_, "function": function}
            turns.append(Message(role="assistant", content="", tool_calls=(call,)))
            answer = next(left)
            turns.append(Message(role="tool", content=answer, tool_call_id=id_, name="look_up"))
        answer, reasoning = next(left), next(left) if thought else None
        if thought == "content":
            answer, reasoning = f"<think>\n{reasoning}\n</think>\n\n{answer}", None
        turns.append(Message(role="assistant", content=answer, reasoning=reasoning))
    parameters = {"type": "object", "properties": {"key": {"type": "string", "description": "?"}}}
    function = {"name": "look_up", "description": "Looks up", "parameters": parameters}
    tool = {"type": "function", "function": function}
    tools = (tool,) if any(calls for calls, _ in rounds) else ()
    return Conversation(messages=tuple(turns), tools=tools)


@cache
def renderer(name):
    return renderer_for(KNOWN[name])


@cache
def encoder(name):
    return Encoder(renderer(name).tokenizer)


def trained(name, talked, spec):
    """Return the texts of the trained tokens of each row, or the reason for there being none."""
    try:
        rows = samples(renderer(name), talked, "x", SampleSpec(**spec))
    except UnusableRow as error:
        return error.reason
    except TemplateError:
        return "template_refuses"
    return [text for row in rows for text in runs_of(encoder(name), row)]


def with_words(text, words):
    """Return a pattern of *text* with the words for the probes, white space at their ends aside."""
    pattern = re.escape(text)
    for probe, said in zip(PROBES, words, strict=False):
        pattern = pattern.replace(probe, rf"\s*{re.escape(said.strip())}\s*")
    return pattern


def asked(talked, spec):
    """Return the words that somebody who reads the conversation expects to be trained."""
    answers = [one for one in talked.messages if one.role == "assistant"]
    chosen = answers[-1:] if spec["train_on"] == "last_assistant" else answers
    texts = [one.content + (one.reasoning or "") for one in chosen]
    return [probe for probe in PROBES if any(probe in text for text in texts)]


def check(name, shape, spec, words):
    usual, found = (trained(name, conversation(shape, one), spec) for one in (PROBES, words))
    if isinstance(usual, str) or isinstance(found, str):
        assert usual == found
        return
    once = [probe for text in usual for probe in PROBES for _ in range(text.count(probe))]
    assert sorted(once) == asked(conversation(shape, PROBES), spec)
    # Where words have white space at their ends an earlier turn can look otherwise: the texts are
    # the same, and stand in one row or in several.
    whole, expected = "\0".join(found), with_words("\0".join(usual), words)
    assert re.fullmatch(expected, whole), (expected, whole)


TEXT = [name for name in KNOWN if not wants_parts(renderer(name))]


def holds_for(name, examples):
    @settings(max_examples=examples, **QUIET)
    @given(shapes(), SPECS, st.lists(WORDS, min_size=len(PROBES), max_size=len(PROBES)))
    def holds(shape, spec, words):
        check(name, shape, spec, words)

    holds()


@pytest.mark.parametrize("name", TEXT)
def test_what_is_trained_is_what_was_said_and_its_ends(name):
    holds_for(name, 6)


@pytest.mark.slow
@pytest.mark.parametrize("name", TEXT)
def test_what_is_trained_is_what_was_said_and_its_ends_for_many_words(name):
    holds_for(name, 150)
