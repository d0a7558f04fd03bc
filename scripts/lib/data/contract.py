"""What a chat template is proved to do, before anything is trained on its text.

Each check states its evidence. A failing check does not stop the rendering; whoever wants to train
on the shards reads the contract and refuses.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from scripts.lib.data.conversation import Conversation, Message, TrainOn
from scripts.lib.data.encoding import Encoded, Encoder, Span
from scripts.lib.data.masking import (
    check_words,
    difference,
    loss_mask,
    prompt_of,
    through_turn,
    trained_turns,
    turn_spans,
)
from scripts.lib.data.records import UnusableRow
from scripts.lib.data.templates import MARKER, Renderer

# Line breaks, double spaces and other scripts are what careless tokenizers lose.
GOLDEN_SYSTEM = "Answer in one short sentence."
GOLDEN_TURNS = (
    ("Name a prime number.\nAnd why  that one?", "7, as only 1 and 7 divide it."),
    ("And “Primzahl” in 日本語, naïvely?", "素数."),
)
Check = dict[str, Any]


@dataclass(kw_only=True)
class Findings:
    """What the rows of a dataset showed; the golden conversation uses only what they use.

    Attributes:
        system: A conversation has a system turn.
        several: A conversation has several assistant turns.
        rows: Conversations that were written to shards.
        trained_tokens: Tokens in them that are trained on.
        unended: Conversations with a trained turn that no control token ends.
        double_bos: Conversations that begin with two BOS tokens.
        not_reversible: Conversations whose tokens decode to another text.
    """

    system: bool = False
    several: bool = False
    rows: int = 0
    trained_tokens: int = 0
    unended: int = 0
    double_bos: int = 0
    not_reversible: int = 0

    def look_at(self, conversation: Conversation) -> None:
        """Note which features of templates a conversation needs."""
        roles = [message.role for message in conversation.messages]
        self.system = self.system or "system" in roles
        self.several = self.several or roles.count("assistant") > 1


def golden_conversation(*, system: bool, several: bool) -> Conversation:
    """Return the conversation that every contract shows.

    Args:
        system: Begin with a system turn; some templates know none.
        several: Have two questions instead of one.
    """
    messages = [Message(role="system", content=GOLDEN_SYSTEM)] if system else []
    for question, answer in GOLDEN_TURNS if several else GOLDEN_TURNS[:1]:
        messages += [
            Message(role="user", content=question),
            Message(role="assistant", content=answer),
        ]
    return Conversation(messages=tuple(messages))


def prove_template(
    renderer: Renderer, encoder: Encoder, train_on: TrainOn, findings: Findings
) -> dict[str, Any]:
    """Check a template on the golden conversation and on what the rows showed.

    Args:
        renderer: The template with its tokenizer.
        encoder: The tokenizer.
        train_on: Which turns are trained on; only their prefixes have to hold.
        findings: What the rows showed.

    Returns:
        `{"passed", "template", "checks": [{"name", "passed", "evidence"}], "golden"}`.

    Raises:
        TemplateError: If the template cannot render the golden conversation at all.
    """
    conversation = golden_conversation(system=findings.system, several=findings.several)
    text = renderer.text(conversation)
    encoded = encoder.encode([text])[0]
    turns = trained_turns(conversation, train_on)
    spans: list[Span] = []
    words = ""
    try:
        spans = turn_spans(renderer, conversation, text, turns)
        check_words(conversation, text, turns, spans)
    except UnusableRow as error:
        words = error.detail
    loss = loss_mask(encoded, text, spans, encoder.special_ids)
    ended = bool(spans) and loss.ended
    checks = [
        _survives_encoding(encoder, encoded, text, findings),
        _is_prefix("turns_are_prefixes", through_turn, renderer, conversation, turns, text),
        _is_prefix("generation_prompt_is_a_prefix", prompt_of, renderer, conversation, turns, text),
        _check("content_is_verbatim", not words, words or "every turn stands in the text"),
        _markers_are_single_tokens(encoder, text),
        _end_of_turn_is_trained(renderer, encoded, text, spans, ended, findings),
        _at_most_one_bos(renderer, encoded, findings),
        _something_is_trained(findings),
        _padding_is_not_trained(renderer, encoded, ended),
    ]
    return {
        "passed": all(check["passed"] for check in checks),
        "template": {"source": renderer.template.source, "sha256": renderer.template.sha256},
        "checks": checks,
        "golden": {
            "messages": [message.for_template() for message in conversation.messages],
            "text": text,
            "input_ids": encoded.ids,
            "answers": [_trained_part(encoded, loss.mask, text, span) for span in spans],
        },
    }


def _trained_part(encoded: Encoded, mask: Sequence[int], text: str, span: Span) -> str:
    """Return the characters of the trained tokens that begin inside *span*."""
    places = [
        place
        for place, trained in zip(encoded.spans, mask, strict=True)
        if trained and span[0] <= place[0] < span[1]
    ]
    return text[places[0][0] : places[-1][1]] if places else ""


def _check(name: str, passed: bool, evidence: str) -> Check:
    return {"name": name, "passed": passed, "evidence": evidence}


def _survives_encoding(encoder: Encoder, encoded: Encoded, text: str, seen: Findings) -> Check:
    """Decode what was encoded; spaces that some decoders put beside control tokens are let go."""
    decoded = encoder.decode([encoded.ids])[0]
    same = decoded == text or _tight(decoded) == _tight(text)
    rows = f"{seen.not_reversible} of {seen.rows} conversations decode to another text"
    how = f"the golden text comes back; {rows}" if same else difference(decoded, text)
    return _check("text_survives_encoding", same, how)


def _tight(text: str) -> str:
    return re.sub(rf"[ ]*({MARKER.pattern})[ ]*", r"\1", text).strip(" ")


def _is_prefix(
    name: str,
    part_of: Callable[[Renderer, Conversation, int], str],
    renderer: Renderer,
    conversation: Conversation,
    turns: Sequence[int],
    text: str,
) -> Check:
    for turn in turns:
        part = part_of(renderer, conversation, turn)
        if not text.startswith(part):
            remedy = "choose `template: chatml` or a text of your own"
            if turn != turns[-1]:
                remedy += ", or `train_on: last_assistant`"
            return _check(name, False, f"turn {turn}: {difference(part, text)}; {remedy}")
    return _check(name, True, f"holds for the turns {list(turns)} of the golden conversation")


def _markers_are_single_tokens(encoder: Encoder, text: str) -> Check:
    markers = sorted(set(MARKER.findall(text)))
    pieces = {
        marker: len(encoded.ids)
        for marker, encoded in zip(markers, encoder.encode(markers), strict=True)
    }
    split = {marker: count for marker, count in pieces.items() if count != 1}
    evidence = f"one token each: {', '.join(markers) or 'no markers'}"
    if split:
        evidence = f"split into several tokens: {split}; choose a template made for this vocabulary"
    return _check("markers_are_single_tokens", not split, evidence)


def _end_of_turn_is_trained(
    renderer: Renderer,
    encoded: Encoded,
    text: str,
    spans: Sequence[Span],
    ended: bool,
    seen: Findings,
) -> Check:
    name = "end_of_turn_is_trained"
    if not ended or seen.unended:
        return _check(
            name,
            False,
            f"golden conversation: {'ended' if ended else 'not ended'} by a control token inside"
            f" the loss; {seen.unended} of {seen.rows} conversations are not: the model would not"
            " learn to stop; choose a template that ends the assistant's turn",
        )
    start, end = spans[-1]
    last = text[start:end].rstrip()
    stop = renderer.tokenizer.eos_token
    is_stop = stop is not None and last.endswith(stop)
    note = "" if is_stop else f", which is not the tokenizer's EOS ({stop}): name it a stop token"
    token = MARKER.findall(last)[-1:] or [last[-20:]]
    return _check(name, True, f"trained turns end with {token[0]}{note}")


def _at_most_one_bos(renderer: Renderer, encoded: Encoded, seen: Findings) -> Check:
    bos = renderer.tokenizer.bos_token_id
    doubled = bos is not None and [bos, bos] in [
        encoded.ids[place : place + 2] for place in range(len(encoded.ids) - 1)
    ]
    return _check(
        "at_most_one_bos",
        not doubled and not seen.double_bos,
        f"BOS is {renderer.tokenizer.bos_token}; twice in a row in the golden conversation:"
        f" {doubled}; at the start of {seen.double_bos} of {seen.rows} conversations",
    )


def _something_is_trained(seen: Findings) -> Check:
    return _check(
        "something_is_trained",
        seen.trained_tokens > 0,
        f"{seen.trained_tokens} trained tokens in {seen.rows} conversations",
    )


def _padding_is_not_trained(renderer: Renderer, encoded: Encoded, ended: bool) -> Check:
    """Padding by the token that ends a turn is safe only because the loss has an explicit mask."""
    tokenizer = renderer.tokenizer
    pad = tokenizer.pad_token_id
    if pad is None:
        evidence, passed = "the tokenizer names no padding token", True
    elif pad not in encoded.ids:
        evidence, passed = f"padding ({tokenizer.pad_token}) is not a token of the text", True
    else:
        evidence = (
            f"padding is {tokenizer.pad_token}, which also stands in the text; shards hold no"
        )
        evidence += " padding and an explicit loss mask, so the loss never asks for the token's id"
        passed = ended
    return _check("padding_is_not_trained", passed, evidence)
