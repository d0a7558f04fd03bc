"""The page of chat templates is what the code does, and no template is given up that would do."""

import difflib
import json
import re
from pathlib import Path

import pytest

from scripts.lib.data.conversation import Conversation, Message
from scripts.lib.data.samples import SampleSpec
from scripts.tools.template_outcomes import (
    known_templates,
    outcome,
    renderer_for,
    tokenizer_for,
    wants_parts,
)
from scripts.tools.write_template_docs import PAGE_PATH, REASONS, main

ROOT = Path(__file__).parents[3]
KNOWN = {one.name: one for one in known_templates()}
PICTURES = [name for name, one in KNOWN.items() if wants_parts(renderer_for(one))]
TEXT = [name for name in KNOWN if name not in PICTURES]

TOOL = {
    "type": "function",
    "function": {
        "name": "forecast",
        "description": "What will be",
        "parameters": {
            "type": "object",
            "properties": {"place": {"type": "string", "description": "Where"}},
            "required": ["place"],
        },
    },
}
CALL = {
    "id": "A1b2C3d4E",
    "type": "function",
    "function": {"name": "forecast", "arguments": {"place": "Nara"}},
}


def turn(role, content, **more):
    return {"role": role, "content": content, **more}


RAW = {
    "plain": [turn("user", "alpha?"), turn("assistant", "bravo.")],
    "several": [
        turn("user", "alpha?"),
        turn("assistant", "bravo."),
        turn("user", "charlie?"),
        turn("assistant", "delta."),
    ],
    "system": [turn("system", "echo."), turn("user", "alpha?"), turn("assistant", "bravo.")],
    "tool": [
        turn("user", "alpha?"),
        turn("assistant", "", tool_calls=[CALL]),
        turn("tool", "foxtrot", tool_call_id="A1b2C3d4E", name="forecast"),
        turn("assistant", "bravo."),
    ],
    "thinking": [
        turn("user", "alpha?"),
        turn("assistant", "bravo.", reasoning="golf"),
        turn("user", "charlie?"),
        turn("assistant", "delta.", reasoning="hotel"),
    ],
}


OTHER = {
    "id": "F5g6H7i8J",
    "type": "function",
    "function": {"name": "forecast", "arguments": {"place": "Oslo"}},
}
RAW |= {
    "agent": [
        turn("system", "echo."),
        turn("user", "alpha?"),
        turn("assistant", "", reasoning="golf", tool_calls=[CALL]),
        turn("tool", "foxtrot", tool_call_id="A1b2C3d4E", name="forecast"),
        turn("assistant", "bravo.", reasoning="hotel"),
    ],
    "parallel calls": [
        turn("user", "alpha?"),
        turn("assistant", "", tool_calls=[CALL, OTHER]),
        turn("tool", "foxtrot", tool_call_id="A1b2C3d4E", name="forecast"),
        turn("tool", "india", tool_call_id="F5g6H7i8J", name="forecast"),
        turn("assistant", "bravo."),
    ],
    "words beside a call": [
        turn("user", "alpha?"),
        turn("assistant", "juliet.", tool_calls=[CALL]),
        turn("tool", "foxtrot", tool_call_id="A1b2C3d4E", name="forecast"),
        turn("assistant", "bravo."),
        turn("user", "charlie?"),
        turn("assistant", "delta."),
    ],
}
WITH_TOOLS = [name for name, turns in RAW.items() if any(one["role"] == "tool" for one in turns)]


def conversation(name):
    """Return what the code is given: reasoning in front of the answer, as rows have it."""
    turns = []
    for raw in RAW[name]:
        more = {key: value for key, value in raw.items() if key != "reasoning"}
        if "reasoning" in raw:
            more["content"] = f"<think>\n{raw['reasoning']}\n</think>\n\n{raw['content']}"
        turns.append(Message(**{**more, "tool_calls": tuple(raw.get("tool_calls", ()))}))
    return Conversation(messages=tuple(turns), tools=(TOOL,) if name in WITH_TOOLS else ())


def ways(messages):
    """Yield the turns in every form in which somebody would hand them to a template."""
    for as_text in (False, True):
        for place in ("key", "content"):
            yield [handed(message, as_text, place) for message in messages]


def handed(message, as_text, place):
    given = {key: value for key, value in message.items() if key != "reasoning"}
    if as_text and "tool_calls" in given:
        given["tool_calls"] = [
            {
                **call,
                "function": {
                    "name": "forecast",
                    "arguments": json.dumps(call["function"]["arguments"]),
                },
            }
            for call in given["tool_calls"]
        ]
    if "reasoning" in message and place == "key":
        given |= {"reasoning_content": message["reasoning"], "thinking": message["reasoning"]}
    elif "reasoning" in message:
        given["content"] = f"<think>\n{message['reasoning']}\n</think>\n\n{message['content']}"
    return given


def accepts(template, name):
    """Tell whether a template writes the prompt and the answer of every turn, by rendering it.

    Nothing of the code that is judged by this has a part in it.
    """
    return any(shows(template, name, messages) for messages in ways(RAW[name]))


def places(message):
    """Return the arguments of a turn's calls."""
    return [call["function"]["arguments"]["place"] for call in message.get("tool_calls", ())]


def shows(template, name, messages):
    tokenizer = tokenizer_for(template.text)

    def rendered(turns, **more):
        return tokenizer.apply_chat_template(
            turns,
            tools=[TOOL] if name in WITH_TOOLS else None,
            chat_template=template.text,
            tokenize=False,
            **more,
        )

    for number, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        raw = RAW[name]
        try:
            prompt = rendered(messages[:number], add_generation_prompt=True)
            whole = rendered(messages[: number + 1])
        except Exception:  # a template is a program: it can fail in any way
            return False
        others = [one["content"] for one in raw[:number] if one["role"] != "assistant"]
        if not all(words in prompt for words in others):
            return False
        if name in WITH_TOOLS and ("forecast" not in prompt or "What will be" not in prompt):
            return False
        said = [raw[number]["content"], *places(raw[number])]
        if "reasoning" in raw[number]:
            if prompt.rstrip().endswith("</think>"):
                return False
            if not prompt.rstrip().endswith("<think>"):  # else the model goes on by itself
                said.append(raw[number]["reasoning"])
        if not all(words in whole for words in said):
            return False
        # The start of an answer, without what is thought there, has to come before the answer.
        start = re.sub(r"\s*<think>(\s*</think>)?\s*$", "", prompt).rstrip()[-12:]
        if start not in whole:
            return False
    return True


def test_the_page_is_up_to_date(tmp_path):
    main(["--root", str(tmp_path)])
    new, on_disk = (
        (root / PAGE_PATH).read_text(encoding="utf-8").splitlines() for root in (tmp_path, ROOT)
    )
    diff = list(difflib.unified_diff(on_disk, new, "page", "code", n=1))
    assert not diff, "run python -m scripts.tools.write_template_docs\n" + "\n".join(diff)


@pytest.mark.parametrize("name", TEXT)
def test_what_a_template_accepts_is_trained_and_else_the_reason_is_named(name):
    renderer = renderer_for(KNOWN[name])
    for kind, raw in RAW.items():
        cell = outcome(renderer, conversation(kind), SampleSpec())
        if not accepts(KNOWN[name], kind):
            assert cell.trained or cell.kind in REASONS, kind
            continue
        answers = [one for one in raw if one["role"] == "assistant"]
        assert len(cell.trained) == len(answers), (kind, cell)
        for answer, text in zip(answers, cell.trained, strict=True):
            words = [answer["content"], answer.get("reasoning", "")]
            assert all(text.count(one) == 1 for one in words if one), (kind, text)
            assert all(one in text for one in places(answer)), (kind, text)


def test_most_templates_accept_most_conversations():
    """Else the test above would prove little."""
    accepted = sum(accepts(KNOWN[name], kind) for name in TEXT for kind in RAW)
    assert accepted > 0.7 * len(TEXT) * len(RAW)


@pytest.mark.parametrize("name", PICTURES)
def test_templates_for_pictures_lose_words_that_stand_in_no_part(name):
    tokenizer = tokenizer_for(KNOWN[name].text)

    def rendered(content):
        try:
            return tokenizer.apply_chat_template(
                [turn("user", content)], chat_template=KNOWN[name].text, tokenize=False
            )
        except Exception:  # as above
            return ""

    part = {"type": "text", "text": "alpha?"}
    assert "alpha?" not in rendered("alpha?") and "alpha?" in rendered([part])
    assert "<image>" in rendered([{"type": "image"}, part])
