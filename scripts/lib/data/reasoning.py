"""An assistant's reasoning: in the row, in the prompt, and in what the model has to write.

    state of the prompt   the row reasons                 the row does not
    -------------------   -----------------------------   ------------------------------------------
    none                  as the template writes both     `as_template`: as the template writes it
                                                          `close_empty`: an empty one goes in front
    open                  the reasoning, closed, answer   `close_empty`: closed at once, then answer
    closed                unusable: it would be a second  the answer

With `reject` a row that does not reason is unusable wherever the template knows of reasoning.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from scripts.lib.data.conversation import Message, PlainAnswers, TurnForm
from scripts.lib.data.records import UnusableRow

OPEN, CLOSE = "<think>", "</think>"

PromptState = Literal["none", "open", "closed"]
"""Whether the start of an answer, as the model is given it, has opened or closed a reasoning."""


@dataclass(frozen=True)
class Said:
    """What an assistant's turn holds.

    Attributes:
        reasoning: What it thought, white space at the ends aside; None or '' is nothing.
        answer: What it said.
    """

    reasoning: str | None
    answer: str


def said(message: Message) -> Said:
    r"""Take the reasoning of an assistant's turn apart from its answer.

    It stands under a key of its own, or at the start of the content up to `</think>`. The `<think>`
    may be missing there: behind a prompt that ends with it a model writes none. Example:
    `<think>\nFour each.\n</think>\n\nEight.` is `Four each.` and `Eight.`

    Raises:
        UnusableRow: If it never ends, there are several, or both places hold one and they differ.
    """
    content = message.content
    lead = content.lstrip()
    opened = lead.startswith(OPEN)
    if not opened and CLOSE not in content:
        reasoning = message.reasoning
        return Said(None if reasoning is None else reasoning.strip(), content)
    before, close, answer = lead.removeprefix(OPEN).partition(CLOSE)
    if not close:
        raise UnusableRow(
            "reasoning_never_closes", f"the answer begins with {OPEN}, and no {CLOSE} follows"
        )
    if OPEN in before or answer.lstrip().startswith(OPEN) or CLOSE in answer:
        if not opened:
            return Said(message.reasoning, content)  # a text about the tags
        raise UnusableRow("several_reasonings", f"the answer holds several {OPEN} or {CLOSE}")
    if message.reasoning and message.reasoning.strip() != before.strip():
        raise UnusableRow(
            "several_reasonings", "the content begins with another reasoning than the row's key"
        )
    return Said(before.strip(), answer.lstrip())


def in_words(one: Said) -> str:
    """Return a turn's content with its reasoning in front, as R1 and Qwen3 models write both."""
    return f"{OPEN}\n{one.reasoning}\n{CLOSE}\n\n{one.answer}" if one.reasoning else one.answer


def handed_over(message: Message, form: TurnForm) -> Message:
    """Return an earlier turn with its reasoning where the template looks for it."""
    if message.role != "assistant" or form.reasoning == "unknown":
        return message
    try:
        one = said(message)
    except UnusableRow:  # nobody learns it: it is shown as it stands
        return message
    if form.reasoning == "keys":
        return replace(message, reasoning=one.reasoning, content=one.answer)
    if one.reasoning and message.reasoning is not None:
        return replace(message, reasoning=None, content=in_words(one))
    return message


def prompt_state(prompt: str) -> tuple[PromptState, str]:
    r"""Tell whether a prompt has opened a reasoning, and what stands in front of that.

    Example: `...assistant\n<think>\n` is open behind `...assistant\n`.
    """
    end = prompt.rstrip()
    if end.endswith(OPEN):
        return "open", end.removesuffix(OPEN)
    if not end.endswith(CLOSE):
        return "none", prompt
    before = end.removesuffix(CLOSE).rstrip()
    return "closed", before.removesuffix(OPEN)


def default_plain_answers(state: PromptState) -> PlainAnswers:
    """Return what becomes of answers without reasoning where nothing is configured."""
    return "close_empty" if state == "open" else "as_template"


def written_behind(prompt: str, text: str) -> str | None:
    """Return what stands in *text* behind *prompt*; None if it does not go on from there.

    Templates agree with their own generation prompts but for white space behind an opened
    reasoning, and but for an empty one that only the prompt holds.
    """
    if text.startswith(prompt):
        return text[len(prompt) :]
    state, head = prompt_state(prompt)
    if state == "none" or not text.startswith(head):
        return None
    rest = text[len(head) :]
    inside = rest.lstrip().startswith(OPEN)
    if state == "open":
        return rest.lstrip().removeprefix(OPEN).lstrip() if inside else None
    return None if inside else rest


def reasoned(prompt: str, texts: Mapping[str, str], one: Said) -> str | None:
    """Return what a model has to write that thinks and then answers.

    Args:
        prompt: What it is given.
        texts: The conversation up to its turn, by how the reasoning was handed to the template;
            under `without` rendered without it.
        one: What the turn holds.

    Returns:
        The text behind the prompt with the reasoning once, or None if the template writes it in
        none of the ways and the prompt does not open one.

    Raises:
        UnusableRow: If the prompt has closed an empty one.
    """
    state, head = prompt_state(prompt)
    if state == "closed":
        raise UnusableRow(
            "prompt_closes_reasoning",
            "the prompt holds an empty reasoning already, and the row has one of its own",
        )
    reasoning = one.reasoning or ""
    without = texts.get("without")
    for text in texts.values():
        # What is rendered alike without a reasoning holds none, whatever words it shares.
        holds = without is None or text.split() != without.split()
        behind = written_behind(prompt, text) if holds else None
        if behind is not None and _holds_once(behind, reasoning, opened=state == "open"):
            return behind
    if state == "open" and without is not None and without.startswith(head):
        rest = without[len(head) :]
        if OPEN not in rest.replace(one.answer, ""):
            return f"{reasoning}\n{CLOSE}\n\n{rest.lstrip()}"
        return f"{reasoning}\n{CLOSE}{rest.partition(CLOSE)[2]}"
    return None


def plain(
    prompt: str, text: str, choice: PlainAnswers | None, *, knows: bool, tags: bool
) -> str | None:
    """Return what a model has to write that answers at once.

    Args:
        prompt: What it is given.
        text: The conversation up to its turn.
        choice: What becomes of it; None is the default behind this prompt.
        knows: Whether the template knows of reasoning.
        tags: Whether it writes or cuts reasoning between `<think>` and `</think>`.

    Returns:
        The text behind the prompt; None if *text* does not go on from there.

    Raises:
        UnusableRow: If such rows are rejected, the opened reasoning would never be closed, or an
            empty one is asked for where the template writes reasoning in other tags.
    """
    state, head = prompt_state(prompt)
    chosen = choice or default_plain_answers(state)
    if chosen == "reject" and knows:
        raise UnusableRow(
            "no_reasoning", "the answer has no reasoning, and `plain_answers: reject`"
        )
    behind = written_behind(prompt, text)
    if state == "open":
        if behind is not None and behind.lstrip().startswith(CLOSE):
            return behind
        if chosen != "close_empty":
            raise UnusableRow(
                "reasoning_never_closes",
                f"the prompt ends with {OPEN}, and the template closes none for an answer without"
                " reasoning; `plain_answers: close_empty` would",
            )
        if not text.startswith(head):
            return None
        return f"{CLOSE}\n\n{text[len(head) :].lstrip()}"
    if behind is None or state == "closed" or chosen != "close_empty" or not knows:
        return behind
    if not tags:
        raise UnusableRow(
            "no_empty_reasoning",
            f"`plain_answers: close_empty` would write {OPEN} and {CLOSE}, and this template"
            " writes reasoning in tags of its own; `as_template` and `reject` work",
        )
    return behind if behind.lstrip().startswith(OPEN) else f"{OPEN}\n\n{CLOSE}\n\n{behind}"


def _holds_once(text: str, reasoning: str, *, opened: bool) -> bool:
    """Tell whether *text* holds a reasoning, and no second one."""
    place = text.find(reasoning)
    if place < 0:
        return False
    before, after = text[:place], text[place + len(reasoning) :]
    if opened:
        return not before.strip() and after.lstrip().startswith(CLOSE)
    return before.count(OPEN) <= 1 and CLOSE not in before
