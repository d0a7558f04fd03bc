"""The rows of a shard that a conversation becomes: one, or one for each turn that is trained on."""

from dataclasses import dataclass

from scripts.lib.data.conversation import Conversation, PlainAnswers, TrainOn, Turns
from scripts.lib.data.encoding import Span
from scripts.lib.data.records import UnusableRow
from scripts.lib.data.renderer import Renderer
from scripts.lib.data.turns import AskedTurn, asked_turn, difference, folded, trained_turns


@dataclass(frozen=True, kw_only=True)
class SampleSpec:
    """What decides the rows of a shard beside template and length.

    Attributes:
        train_on: Whose tokens carry loss: every assistant turn, the last one, or all tokens.
        turns: Conversations as one row, or as one for each trained turn.
        plain_answers: What becomes of an answer without reasoning where the template knows of it;
            None is the default behind the template's generation prompt.
        fold_reasoning: Write reasoning that the template does not render into the answer.
    """

    train_on: TrainOn = "assistant"
    turns: Turns = "auto"
    plain_answers: PlainAnswers | None = None
    fold_reasoning: bool = False


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One row of a shard, before its tokens.

    Attributes:
        id: Id of the conversation, with `#` and the turn where each turn is a row.
        text: What is read.
        answers: Characters of each trained answer, with its end.
        trained: Characters that carry loss.
    """

    id: str
    text: str
    answers: tuple[Span, ...]
    trained: tuple[Span, ...]


def samples(
    renderer: Renderer, conversation: Conversation, conversation_id: str, spec: SampleSpec
) -> list[Sample]:
    """Return the rows of a conversation.

    Raises:
        UnusableRow: If it cannot be rendered as a model is asked for its turns, or they stand in
            no one text and `together` is asked for.
        TemplateError: If the template refuses it.
    """
    if spec.fold_reasoning:
        conversation = folded(renderer, conversation)
    turns = trained_turns(conversation, spec.train_on)
    asked = [asked_turn(renderer, conversation, turn, spec.plain_answers) for turn in turns]
    last = asked[-1]
    if spec.train_on == "all":
        text = last.text + last.behind
        return [
            Sample(
                id=conversation_id,
                text=text,
                answers=(_answer(last),),
                trained=_all_but_untrained(renderer, conversation, text, spec),
            )
        ]
    apart = parted(asked)
    if apart and spec.turns == "together":
        raise UnusableRow("turn_is_not_a_prefix", apart)
    if spec.train_on == "assistant" and (apart or spec.turns == "each"):
        return [
            Sample(
                id=f"{conversation_id}#{one.number}",
                text=one.text,
                answers=(_answer(one),),
                trained=(_answer(one),),
            )
            for one in asked
        ]
    answers = tuple(map(_answer, asked))
    text = last.text + last.behind
    return [Sample(id=conversation_id, text=text, answers=answers, trained=answers)]


def parted(asked: list[AskedTurn]) -> str | None:
    """Say where a turn looks otherwise once later ones follow; None if all stand in the last."""
    text = asked[-1].text
    for one in asked[:-1]:
        if not text.startswith(one.text):
            return f"turn {one.number} of the whole text: {difference(one.text, text)}"
    return None


def _answer(one: AskedTurn) -> Span:
    return len(one.prompt), len(one.text)


def _all_but_untrained(
    renderer: Renderer, conversation: Conversation, text: str, spec: SampleSpec
) -> tuple[Span, ...]:
    """Return the characters of a whole text but for answers that are not to be learnt."""
    spans = []
    start = 0
    for number, message in enumerate(conversation.messages):
        if message.role != "assistant" or message.trained:
            continue
        one = asked_turn(renderer, conversation, number, spec.plain_answers)
        if not text.startswith(one.text):
            raise UnusableRow(
                "turn_is_not_a_prefix",
                f"turn {number} is not to be learnt: {difference(one.text, text)}",
            )
        spans.append((start, len(one.prompt)))
        start = len(one.text)
    return (*spans, (start, len(text)))
