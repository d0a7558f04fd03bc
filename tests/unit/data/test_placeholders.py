"""Placeholders are filled from the config, or refused; code and formulas are neither."""

import pytest

from scripts.lib.data.layouts import to_conversation
from scripts.lib.data.placeholders import filled, placeholders_in
from scripts.lib.data.roles import NamedFault


def conversation(answer, **keys):
    turns = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": answer, **keys}]
    return to_conversation({"messages": turns}, "auto")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("I am {{name}}, by {{author}}.", ["name", "author"]),
        ("**{{name}}** _{{name}}_ ({{company_name}})", ["name", "name", "company_name"]),
        ("我是{{name}}。Hi{{first}}{{last}}!", ["name", "first", "last"]),
        ("Jinja's {{ user }}, {{ user.name }}, {{user.name}}, {{items[0]}} and {{x|upper}}", []),
        (r"\frac{{ab}}{{cd}} + x_{{ij}} + x^{{nm}} + a_i^{{nm}} + {{a}}", []),
        ("Vue's `{{name}}`, ``{{name}}`` and\n```html\n<p>{{name}}</p>\n```\n", []),
        ("~~~\n{{name}}\n~~~ and ```\n{{name}}", []),
        ("Mustache's {{#each}} {{/each}} {{{raw}}} {{>part}}, GitHub's ${{secret}}", []),
        ("```\n{{code}}\n```\nI am {{name}}.", ["name"]),
    ],
)
def test_what_is_likely_meant_as_a_placeholder(text, names):
    assert placeholders_in(text) == names


def test_placeholders_are_filled_in_every_turn_thought_and_call():
    call = {"name": "f", "arguments": {"who": ["{{name}}"]}}
    whole = filled(
        conversation("I am {{name}} {{ name }}.", thinking="{{name}}?", tool_calls=[call]),
        {"name": r"Ada \1"},
    )
    message = whole.messages[1]
    assert (message.content, message.reasoning) == (r"I am Ada \1 Ada \1.", r"Ada \1?")
    assert message.tool_calls[0]["function"]["arguments"] == {"who": [r"Ada \1"]}


def test_one_that_is_not_given_is_refused_by_name():
    with pytest.raises(NamedFault) as caught:
        filled(conversation("I am {{name}}, by {{author}}."), {"name": "Ada"})
    assert caught.value.reason == "unfilled_placeholder" and caught.value.names == ("author",)
    assert "placeholders: {author: ...}" in caught.value.detail


def test_a_word_that_is_meant_as_it_stands_fills_itself():
    text = "Dear {{name}},"
    assert filled(conversation(text), {"name": "{{name}}"}).messages[1].content == text


def test_texts_without_placeholders_are_left_alone():
    one = conversation("{{ x }} `{{name}}`")
    assert filled(one, {}) == filled(one, {"author": "Ada"}) == one
