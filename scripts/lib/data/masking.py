"""Which tokens of a rendered conversation are trained on.

Masks come from rendering prefixes of the conversation, not from `{% generation %}` marks: most
templates have none, and give an all-zero mask without a word.
"""

import json
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from scripts.lib.data.conversation import Conversation, Message, TrainOn
from scripts.lib.data.encoding import Encoded, Span
from scripts.lib.data.records import UnusableRow
from scripts.lib.data.templates import Renderer, for_template

SHOWN_CHARACTERS = 60
# So many equal characters are no accident: what follows them is where the two texts part.
LEAST_SAME = 8


@dataclass(frozen=True, kw_only=True)
class LossMask:
    """What is trained on in one conversation.

    Attributes:
        mask: 1 for each trained token, else 0.
        ended: Whether every trained turn ends with a control token.
    """

    mask: list[int]
    ended: bool


def trained_turns(conversation: Conversation, train_on: TrainOn) -> list[int]:
    """Return the numbers of the assistant turns whose words are checked and trained on."""
    turns = [n for n, message in enumerate(conversation.messages) if message.role == "assistant"]
    match train_on:
        case "assistant":
            return turns
        case "last_assistant" | "all":
            return turns[-1:]
        case _:
            assert_never(train_on)


def turn_spans(
    renderer: Renderer, conversation: Conversation, text: str, turns: Sequence[int]
) -> list[Span]:
    """Return the characters that the model itself has to write, turn by turn.

    A span begins where the prompt of that turn ends, as it is rendered for generation, and ends
    where the rendering up to this turn does.

    Args:
        renderer: Renders prefixes of the conversation.
        conversation: The conversation.
        text: Its rendering.
        turns: Numbers of assistant turns.

    Returns:
        (start, end) in *text* for each turn.

    Raises:
        UnusableRow: If a prefix of the conversation is not rendered as a prefix of the text, or a
            turn's words are not in it.
        TemplateError: If the template refuses a prefix.
    """
    spans = []
    for turn in turns:
        prompt = prompt_of(renderer, conversation, turn)
        through = through_turn(renderer, conversation, turn)
        for part, reason in ((prompt, "prompt_is_not_a_prefix"), (through, "turn_is_not_a_prefix")):
            if not text.startswith(part):
                raise UnusableRow(
                    reason, f"turn {turn} of the whole text: {difference(part, text)}"
                )
        if len(through) < len(prompt):
            raise UnusableRow("turn_is_not_a_prefix", f"turn {turn} is shorter than its prompt")
        spans.append((len(prompt), len(through)))
    return spans


def prompt_of(renderer: Renderer, conversation: Conversation, turn: int) -> str:
    """Return what the model is given before it writes *turn*."""
    messages = for_template(conversation.messages[:turn])
    return renderer.render(messages, conversation.tools, generation_prompt=True)


def through_turn(renderer: Renderer, conversation: Conversation, turn: int) -> str:
    """Return the rendering of the conversation up to the end of *turn*."""
    return renderer.render(for_template(conversation.messages[: turn + 1]), conversation.tools)


def difference(prefix: str, text: str) -> str:
    """Show where a would-be prefix leaves the text."""
    place = next(
        (n for n, (mine, other) in enumerate(zip(prefix, text, strict=False)) if mine != other),
        min(len(prefix), len(text)),
    )
    mine, other = (one[place : place + SHOWN_CHARACTERS] for one in (prefix, text))
    return f"{mine!r} against {other!r} at {place}"


def check_words(
    conversation: Conversation, text: str, turns: Sequence[int], spans: Sequence[Span]
) -> None:
    """Demand that the text holds what was said, white space at the ends aside.

    Assistant turns outside *turns* are exempt: templates of reasoning models cut the reasoning from
    earlier answers, on purpose.

    Raises:
        UnusableRow: If words, a tool call or a tool's description are missing.
    """
    for turn, (start, end) in zip(turns, spans, strict=True):
        _check_answer(conversation.messages[turn], turn, text[start:end])
    for number, message in enumerate(conversation.messages):
        words = message.content.strip()
        # Some templates print the answer of a tool as a JSON text.
        escaped = json.dumps(words, ensure_ascii=False)[1:-1]
        if message.role != "assistant" and words not in text and escaped not in text:
            found = f"turn {number} ({message.role}): {missing_words(words, text)}"
            raise UnusableRow("content_not_rendered", found)
    for tool in conversation.tools:
        name = tool["function"].get("name")
        if isinstance(name, str) and name not in text:
            raise UnusableRow(
                "tools_not_rendered",
                f"the template leaves out the tool {name!r}; the text begins with"
                f" {text[:SHOWN_CHARACTERS]!r}",
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


def loss_mask(
    encoded: Encoded, text: str, spans: Sequence[Span], special_ids: frozenset[int]
) -> LossMask:
    r"""Return the mask of the tokens that begin inside the spans.

    A turn is trained up to its last control token; white space that the template puts after it
    belongs to nobody. A token that straddles the start of a span is not trained: its first
    half is prompt, and after that prompt the model can never be asked for it. One that straddles
    the end is: the model has to write it. Example: of `<|im_start|>assistant\nHi<|im_end|>\n`, the
    tokens of `Hi<|im_end|>` are trained.

    Args:
        encoded: Tokens and their places.
        text: The rendered text.
        spans: Characters of the trained turns.
        special_ids: Ids of control tokens.
    """
    starts = [start for start, _ in encoded.spans]
    mask = [0] * len(starts)
    ended = True
    for start, end in spans:
        first, behind = bisect_left(starts, start), bisect_left(starts, end)
        last = next(
            (n for n in range(behind - 1, first - 1, -1) if encoded.ids[n] in special_ids), None
        )
        if last is not None and not text[encoded.spans[last][1] : end].strip():
            behind = last + 1
        else:
            ended = False
            behind = bisect_left(starts, start + len(text[start:end].rstrip()))
        mask[first:behind] = [1] * (behind - first)
    return LossMask(mask=mask, ended=ended)


def _check_answer(message: Message, turn: int, body: str) -> None:
    words = message.content.strip()
    if words not in body:
        found = f"turn {turn} (assistant): {missing_words(words, body)}"
        raise UnusableRow("content_not_rendered", found)
    for call in message.tool_calls:
        name = call["function"]["name"]
        if name not in body:
            raise UnusableRow(
                "tool_calls_not_rendered",
                f"turn {turn} calls {name!r}, but is rendered as {body[:SHOWN_CHARACTERS]!r}",
            )
