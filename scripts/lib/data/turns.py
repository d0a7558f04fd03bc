"""What a model is asked for, turn by turn: its prompt, and the text that it has to write.

An earlier turn can look different once a later one follows: templates cut its reasoning, or end the
last turn in another way. So every turn is rendered as the model is asked for it, which is the
conversation up to it with the generation prompt; whoever trains on several turns looks whether
each of these texts is a prefix of the last.
"""

import json
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import assert_never

from scripts.lib.data.conversation import Conversation, Message, PlainAnswers, TrainOn
from scripts.lib.data.reasoning import (
    OPEN,
    Said,
    in_words,
    plain,
    prompt_state,
    reasoned,
    said,
    written_behind,
)
from scripts.lib.data.records import UnusableRow
from scripts.lib.data.renderer import Renderer
from scripts.lib.errors import TemplateError

SHOWN_CHARACTERS = 60
# So many equal characters are no accident: what follows them is where the two texts part.
LEAST_SAME = 8


@dataclass(frozen=True, kw_only=True)
class AskedTurn:
    """One turn as a model is asked for it.

    Attributes:
        number: Its place in the conversation, from 0.
        prompt: What the model is given.
        written: What it has to write: the turn up to the first control token behind its words.
        behind: What the template writes behind that.
    """

    number: int
    prompt: str
    written: str
    behind: str

    @property
    def text(self) -> str:
        """Return the prompt and what follows it."""
        return self.prompt + self.written


def prompt_of(renderer: Renderer, conversation: Conversation, turn: int) -> str:
    """Return what the model is given before it writes *turn*."""
    before = replace(conversation, messages=conversation.messages[:turn])
    return renderer.text(before, generation_prompt=True)


def checked_prompt(renderer: Renderer, conversation: Conversation, turn: int) -> str:
    """Return what the model is given before it writes *turn*, if that says all that it has to.

    Raises:
        UnusableRow: The template leaves words of others or tools out.
        TemplateError: The template refuses the conversation.
    """
    prompt = prompt_of(renderer, conversation, turn)
    _check_others(conversation, turn, prompt)
    return prompt


def asked_turn(
    renderer: Renderer, conversation: Conversation, turn: int, plain_answers: PlainAnswers | None
) -> AskedTurn:
    """Return an assistant's turn as the model is asked for it.

    Args:
        renderer: The template.
        conversation: The conversation; what follows the turn is not looked at.
        turn: The turn's number.
        plain_answers: What becomes of an answer without reasoning; None is the default behind the
            template's generation prompt.

    Raises:
        UnusableRow: The template does not render the turn behind its prompt, leaves words, calls,
            tools or reasoning out, or the reasoning has no place.
        TemplateError: The template refuses the conversation.
    """
    message = conversation.messages[turn]
    prompt = prompt_of(renderer, conversation, turn)
    whole, words = _behind(renderer, conversation, turn, prompt, plain_answers)
    _check_answer(message, words, turn, whole)
    _check_others(conversation, turn, prompt)
    end = _first_end(renderer, message, words, whole)
    return AskedTurn(number=turn, prompt=prompt, written=whole[:end], behind=whole[end:])


def trained_turns(conversation: Conversation, train_on: TrainOn) -> list[int]:
    """Return the numbers of the assistant turns whose words are checked and trained on.

    Raises:
        UnusableRow: The row says of each of them that it is not to be learnt.
    """
    messages = conversation.messages
    turns = [n for n, message in enumerate(messages) if message.role == "assistant"]
    match train_on:
        case "assistant":
            asked = turns
        case "last_assistant" | "all":
            asked = turns[-1:]
        case _:
            assert_never(train_on)
    trained = [turn for turn in asked if messages[turn].trained]
    if not trained:
        raise UnusableRow("nothing_to_train_on", "the row says that no answer is to be learnt")
    return trained


def _behind(
    renderer: Renderer,
    conversation: Conversation,
    turn: int,
    prompt: str,
    plain_answers: PlainAnswers | None,
) -> tuple[str, str]:
    """Return what is rendered behind the prompt of a turn, and the words that must stand in it."""
    message = conversation.messages[turn]
    one = said(message)
    if not one.reasoning:
        # Tags that nobody here knows of are words, also where nothing stands between them.
        known = renderer.knows_reasoning or prompt_state(prompt)[0] != "none"
        words = one.answer if known else message.content
        text = _rendered(renderer, conversation, turn, None, words)
        knows, tags = renderer.knows_reasoning, renderer.knows_tags
        for start in _starts(renderer, conversation, turn, prompt):
            behind = plain(start, text, plain_answers, knows=knows, tags=tags)
            if behind is not None:
                return behind, words
        behind = renderer.continuation(prompt, text)
        if behind is None:
            raise UnusableRow("prompt_is_not_a_prefix", f"turn {turn}: {difference(prompt, text)}")
        return behind, words
    texts = dict(_ways(renderer, conversation, turn, one))
    for start in _starts(renderer, conversation, turn, prompt):
        if (found := reasoned(start, texts, one)) is not None:
            return found, one.answer
    if message.reasoning is None:
        # A template that knows of no reasoning writes the content as it stands.
        text = _rendered(renderer, conversation, turn, None, message.content)
        behind = written_behind(prompt, text)
        if behind is None:
            behind = renderer.continuation(prompt, text)
        if behind is not None:
            return behind, message.content
    raise UnusableRow(
        "reasoning_not_rendered",
        f"turn {turn}: the template writes no reasoning; `fold_reasoning: true` puts it into the"
        " answer",
    )


def _starts(
    renderer: Renderer, conversation: Conversation, turn: int, prompt: str
) -> Iterator[str]:
    """Yield what may stand before a turn: its prompt, and that without what led to its calls.

    Some templates (gpt-oss's) show the reasoning of a call, and words beside it, until the answer
    stands there.
    """
    yield prompt
    start = renderer.start_of_answer(prompt)
    for words in (True, False):
        before = tuple(_silent(one, words=words) for one in conversation.messages[:turn])
        if before != conversation.messages[:turn]:
            bare = prompt_of(renderer, replace(conversation, messages=before), turn)
            if renderer.start_of_answer(bare) == start:
                yield bare


def _silent(message: Message, *, words: bool) -> Message:
    """Return an earlier turn without its reasoning and, if asked for, *words* beside its calls."""
    if message.role != "assistant":
        return message
    try:
        answer = said(message).answer
    except UnusableRow:  # nobody learns it: it is shown as it stands
        return message
    kept = answer if words or not message.tool_calls else ""
    return replace(message, reasoning=None, content=kept)


def _ways(
    renderer: Renderer, conversation: Conversation, turn: int, one: Said
) -> Iterator[tuple[str, str]]:
    """Yield the conversation up to a turn, with its reasoning handed over in every way."""
    verbatim = conversation.messages[turn].content
    ways = {"keys": (one.reasoning, one.answer)}
    begins = verbatim.lstrip().startswith(OPEN)
    if begins or renderer.knows_tags:
        ways["content"] = (None, verbatim if begins else in_words(one))
    ways["without"] = (None, one.answer)
    for way, (reasoning, answer) in ways.items():
        try:
            yield way, _rendered(renderer, conversation, turn, reasoning, answer)
        except TemplateError:
            if way == "without":
                raise


def folded(renderer: Renderer, conversation: Conversation) -> Conversation:
    """Return a conversation with reasoning in the answers, if the template writes none."""
    if renderer.form.reasoning != "unknown":
        return conversation
    messages = [
        replace(message, reasoning=None, content=in_words(said(message)))
        if message.reasoning
        else message
        for message in conversation.messages
    ]
    return replace(conversation, messages=tuple(messages))


def _rendered(
    renderer: Renderer, conversation: Conversation, turn: int, reasoning: str | None, content: str
) -> str:
    own = conversation.messages[turn]
    if (own.reasoning, own.content) != (reasoning, content):
        own = replace(own, reasoning=reasoning, content=content)
    through = (*conversation.messages[:turn], own)
    return renderer.text(replace(conversation, messages=through))


def _first_end(renderer: Renderer, message: Message, words: str, whole: str) -> int:
    """Return where the first control token behind a turn's words ends, in characters of *whole*.

    Without one that is where its text ends, white space aside.
    """
    calls = message.tool_calls
    last = str(calls[-1]["function"]["name"]) if calls else words.strip()
    start = whole.rfind(last) + len(last)
    found = renderer.control.first_end(whole, start, renderer.ends.answer)
    return found[1] if found else len(whole.rstrip())


def difference(prefix: str, text: str) -> str:
    """Show where a would-be prefix leaves the text."""
    place = next(
        (n for n, (mine, other) in enumerate(zip(prefix, text, strict=False)) if mine != other),
        min(len(prefix), len(text)),
    )
    mine, other = (one[place : place + SHOWN_CHARACTERS] for one in (prefix, text))
    return f"{mine!r} against {other!r} at {place}"


def _check_answer(message: Message, words: str, turn: int, written: str) -> None:
    """Demand that an answer and its calls are rendered, white space at the ends aside."""
    if words.strip() not in written:
        found = f"turn {turn} (assistant): {missing_words(words.strip(), written)}"
        raise UnusableRow("content_not_rendered", found)
    for call in message.tool_calls:
        if (name := call["function"]["name"]) not in written:
            raise UnusableRow(
                "tool_calls_not_rendered",
                f"turn {turn} calls {name!r}, but is rendered as {written[:SHOWN_CHARACTERS]!r}",
            )


def _check_others(conversation: Conversation, turn: int, prompt: str) -> None:
    """Demand that the prompt holds what the others said, and the tools.

    Earlier answers are exempt: templates of reasoning models cut the reasoning, on purpose.
    """
    for number, message in enumerate(conversation.messages[:turn]):
        words = message.content.strip()
        if message.role == "assistant" or words in prompt:
            continue
        # Some templates print the answer of a tool as a JSON text.
        if json.dumps(words, ensure_ascii=False)[1:-1] not in prompt:
            found = f"turn {number} ({message.role}): {missing_words(words, prompt)}"
            raise UnusableRow("content_not_rendered", found)
    for tool in conversation.tools:
        name = tool["function"].get("name")
        if isinstance(name, str) and name not in prompt:
            raise UnusableRow(
                "tools_not_rendered",
                f"the template leaves out the tool {name!r}; the text begins with"
                f" {prompt[:SHOWN_CHARACTERS]!r}",
            )


def missing_words(words: str, text: str) -> str:
    """Show where a text that was to be rendered word for word leaves what was rendered.

    Args:
        words: What was to be there, and is not.
        text: What is.
    """
    # Each prefix of what is there is there too, so the longest is found by halving.
    same = bisect_right(range(1, len(words) + 1), False, key=lambda n: words[:n] not in text)
    expected = words[same : same + SHOWN_CHARACTERS]
    if same < min(LEAST_SAME, len(words)):
        shown = f"{text.strip()[:SHOWN_CHARACTERS]!r}" if text.strip() else "nothing"
        return f"expected {words[:SHOWN_CHARACTERS]!r}, rendered {shown}"
    place = text.index(words[:same]) + same
    rendered = text[place : place + SHOWN_CHARACTERS]
    before = words[max(0, same - LEAST_SAME * 2) : same]
    return f"after {before!r} (character {same}) expected {expected!r}, rendered {rendered!r}"
