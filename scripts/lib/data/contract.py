"""What a chat template is proved to do, before anything is trained on its text.

Each check states its evidence. A failing check does not stop the rendering; whoever wants to train
on the shards reads the contract and refuses.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

from scripts.lib.data.conversation import PLAIN_FORM, Conversation, Message
from scripts.lib.data.encoding import Encoded, Encoder, Span
from scripts.lib.data.masking import loss_mask
from scripts.lib.data.reasoning import Said, handed_over, in_words
from scripts.lib.data.records import UnusableRow
from scripts.lib.data.renderer import Renderer
from scripts.lib.data.samples import Sample, SampleSpec, samples
from scripts.lib.data.templates import MARKER, own_template
from scripts.lib.data.training_templates import other_templates
from scripts.lib.data.turns import difference, prompt_of, trained_turns
from scripts.lib.errors import TemplateError

# Line breaks, double spaces and other scripts are what careless tokenizers lose.
GOLDEN_SYSTEM = "Answer in one short sentence."
GOLDEN_TURNS = (
    ("Name a prime number.\nAnd why  that one?", "7, as only 1 and 7 divide it."),
    ("And “Primzahl” in 日本語, naïvely?", "素数."),
)
GOLDEN_REASONING = "The smallest will do."
Check = dict[str, Any]
PREFIX_REASONS = ("prompt_is_not_a_prefix", "turn_is_not_a_prefix")


@dataclass(kw_only=True)
class Findings:
    """What the rows of a dataset showed; the golden conversation uses only what they use.

    Attributes:
        system: A conversation has a system turn.
        several: A conversation has several assistant turns.
        plain: An answer has no reasoning.
        rows: Rows that were written to shards.
        trained_tokens: Tokens in them that are trained on.
        unended: Rows with a trained turn that no control token ends.
        double_bos: Rows that begin with two BOS tokens.
        not_reversible: Rows whose tokens decode to another text.
        conversations: Conversations that were rendered.
        asked_otherwise: Conversations whose prompts are others where the model is asked.
    """

    system: bool = False
    several: bool = False
    plain: bool = False
    rows: int = 0
    trained_tokens: int = 0
    unended: int = 0
    double_bos: int = 0
    not_reversible: int = 0
    conversations: int = 0
    asked_otherwise: int = 0

    def add(self, later: "Findings") -> None:
        """Add what other rows showed: whether any did, and how many."""
        for one in fields(self):
            mine, other = getattr(self, one.name), getattr(later, one.name)
            setattr(self, one.name, mine or other if one.type is bool else mine + other)

    def look_at(self, conversation: Conversation) -> None:
        """Note which features of templates a conversation needs."""
        self.conversations += 1
        roles = [message.role for message in conversation.messages]
        self.system = self.system or "system" in roles
        self.several = self.several or roles.count("assistant") > 1
        answers = (message for message in conversation.messages if message.role == "assistant")
        self.plain = self.plain or not all(
            handed_over(message, PLAIN_FORM).reasoning for message in answers
        )


def golden_conversation(
    *, system: bool = False, several: bool = False, reasoning: bool = False
) -> Conversation:
    """Return the conversation that every contract shows.

    Args:
        system: Begin with a system turn; some templates know none.
        several: Have two questions instead of one.
        reasoning: Let each answer follow from some.
    """
    messages = [Message(role="system", content=GOLDEN_SYSTEM)] if system else []
    for question, answer in GOLDEN_TURNS if several else GOLDEN_TURNS[:1]:
        words = in_words(Said(GOLDEN_REASONING if reasoning else None, answer))
        messages += [
            Message(role="user", content=question),
            Message(role="assistant", content=words),
        ]
    return Conversation(messages=tuple(messages))


@dataclass(frozen=True, kw_only=True)
class _GoldenRow:
    """One row of the golden conversation with its tokens."""

    sample: Sample
    encoded: Encoded
    mask: list[int]
    ended: bool

    def answers(self) -> list[str]:
        """Return the characters of the trained tokens of each answer."""
        return [self._trained(span) for span in self.sample.answers]

    def _trained(self, span: Span) -> str:
        places = [
            place
            for place, trained in zip(self.encoded.spans, self.mask, strict=True)
            if trained and span[0] <= place[0] < span[1]
        ]
        return self.sample.text[places[0][0] : places[-1][1]] if places else ""


def prove_template(
    renderer: Renderer,
    encoder: Encoder,
    spec: SampleSpec,
    findings: Findings,
    added: Mapping[str, int] = MappingProxyType({}),
    asked: Renderer | None = None,
) -> dict[str, Any]:
    """Check a template on the golden conversation and on what the rows showed.

    Args:
        renderer: The template with its tokenizer.
        encoder: The tokenizer.
        spec: What conversations become.
        findings: What the rows showed.
        added: Control tokens that the model's tokenizer lacks, with the ids that they were given.
        asked: The template that the trained model is asked through, where it is another.

    Returns:
        `{"passed", "template", "checks": [{"name", "passed", "evidence"}], "golden"}`.

    Raises:
        TemplateError: If the template cannot render the golden conversation at all.
    """
    conversation = golden_conversation(
        system=findings.system,
        several=findings.several,
        reasoning=findings.rows > 0 and not findings.plain,
    )
    fault: UnusableRow | None = None
    found: list[Sample] = []
    try:
        found = samples(renderer, conversation, "golden", spec)
    except UnusableRow as error:
        fault = error
    text = found[-1].text if found else renderer.text(conversation)
    encoded = encoder.encode([text])[0]
    rows = list(_with_tokens(encoder, found))
    ended = bool(rows) and all(row.ended for row in rows)
    checks = [
        _survives_encoding(encoder, encoded, text, findings),
        _are_prefixes(renderer, fault, found),
        _is_verbatim(fault),
        _markers_are_single_tokens(renderer, encoder, text, added),
        _end_of_turn_is_trained(renderer, rows, ended, findings),
        _at_most_one_bos(renderer, encoded, findings),
        _something_is_trained(findings),
        _padding_is_not_trained(renderer, encoded, ended),
    ]
    if asked:
        checks.append(_is_asked_as_trained(renderer, asked, conversation, spec, findings))
    return {
        "passed": all(check["passed"] for check in checks),
        "template": {"source": renderer.template.source, "sha256": renderer.template.sha256},
        "checks": checks,
        "golden": {
            "messages": [message.for_template() for message in conversation.messages],
            "text": text,
            "input_ids": encoded.ids,
            "answers": [answer for row in rows for answer in row.answers()],
        },
    }


def _with_tokens(encoder: Encoder, found: Sequence[Sample]) -> Iterator[_GoldenRow]:
    for sample, encoded in zip(found, encoder.encode([one.text for one in found]), strict=True):
        loss = loss_mask(encoded, sample.text, sample.answers, encoder.special_ids)
        yield _GoldenRow(sample=sample, encoded=encoded, mask=loss.mask, ended=loss.ended)


def _check(name: str, passed: bool, evidence: str) -> Check:
    return {"name": name, "passed": passed, "evidence": evidence}


def _survives_encoding(encoder: Encoder, encoded: Encoded, text: str, seen: Findings) -> Check:
    """Decode what was encoded; spaces that some decoders put beside control tokens are let go."""
    decoded = encoder.decode([encoded.ids])[0]
    same = decoded == text or _tight(decoded) == _tight(text)
    rows = f"{seen.not_reversible} of {seen.rows} rows decode to another text"
    how = f"the golden text comes back; {rows}" if same else difference(decoded, text)
    return _check("text_survives_encoding", same, how)


def _tight(text: str) -> str:
    return re.sub(rf"[ ]*({MARKER.pattern})[ ]*", r"\1", text).strip(" ")


def _are_prefixes(renderer: Renderer, fault: UnusableRow | None, found: Sequence[Sample]) -> Check:
    """Tell how the answers follow their prompts: in one text, or each behind its own."""
    name = "answers_follow_their_prompts"
    if fault and fault.reason in PREFIX_REASONS:
        remedy = f"choose {other_templates(renderer.tokenizer, renderer.template)}"
        if fault.reason == "turn_is_not_a_prefix":
            remedy = f"write `turns: auto`, or {remedy}"
        return _check(name, False, f"{fault.detail}; {remedy}")
    if len(found) > 1:
        how = "each answer has a row of its own, behind the prompt that the model is given for it"
    else:
        how = "all answers stand in one row, each behind the prompt that the model is given for it"
    return _check(name, True, how)


def _is_verbatim(fault: UnusableRow | None) -> Check:
    name = "content_is_verbatim"
    if fault and fault.reason not in PREFIX_REASONS:
        return _check(name, False, f"{fault.reason}: {fault.detail}")
    return _check(name, True, "every turn stands in the text")


def _markers_are_single_tokens(
    renderer: Renderer, encoder: Encoder, text: str, added: Mapping[str, int]
) -> Check:
    markers = sorted(set(MARKER.findall(text)))
    pieces = {
        marker: len(encoded.ids)
        for marker, encoded in zip(markers, encoder.encode(markers), strict=True)
    }
    split = {marker: count for marker, count in pieces.items() if count != 1}
    whole = ", ".join(marker for marker in markers if marker not in split)
    evidence = f"one token each: {whole or 'no markers'}"
    if added:
        ids = ", ".join(f"{token} {number}" for token, number in added.items())
        evidence += f"; added to the model's tokenizer, to be trained: {ids}"
    own = renderer.template.text == own_template(renderer.tokenizer)
    if split:
        evidence += f"; split into several tokens: {split}"
        evidence += (
            ", as the model's own template always had them"
            if own
            else "; choose a template made for this vocabulary"
        )
    return _check("markers_are_single_tokens", own or not split, evidence)


def _end_of_turn_is_trained(
    renderer: Renderer, rows: Sequence[_GoldenRow], ended: bool, seen: Findings
) -> Check:
    name = "end_of_turn_is_trained"
    if not ended or seen.unended:
        return _check(
            name,
            False,
            f"golden conversation: {'ended' if ended else 'not ended'} by a control token inside"
            f" the loss; {seen.unended} of {seen.rows} rows are not: the model would not"
            " learn to stop; choose a template that ends the assistant's turn:"
            f" {other_templates(renderer.tokenizer, renderer.template)}",
        )
    last = rows[-1].answers()[-1].rstrip()
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
        f" {doubled}; at the start of {seen.double_bos} of {seen.rows} rows",
    )


def _something_is_trained(seen: Findings) -> Check:
    return _check(
        "something_is_trained",
        seen.trained_tokens > 0,
        f"{seen.trained_tokens} trained tokens in {seen.rows} conversations",
    )


def asked_alike(
    renderer: Renderer, asked: Renderer, conversation: Conversation, spec: SampleSpec
) -> bool:
    """Tell whether two templates give a model the same prompts of a conversation's trained turns.

    One that a template refuses is asked in no way.
    """
    try:
        turns = trained_turns(conversation, spec.train_on)
        return all(
            prompt_of(renderer, conversation, turn) == prompt_of(asked, conversation, turn)
            for turn in turns
        )
    except (TemplateError, UnusableRow):
        return False


def _is_asked_as_trained(
    renderer: Renderer,
    asked: Renderer,
    conversation: Conversation,
    spec: SampleSpec,
    seen: Findings,
) -> Check:
    """The template of training is not shipped: what it teaches has to be what is asked."""
    stops = (*asked.ends.texts, renderer.tokenizer.eos_token)
    unstopped = [end for end in renderer.ends.texts if end not in stops]
    golden = asked_alike(renderer, asked, conversation, spec)
    alike = golden and not seen.asked_otherwise
    found = (
        "the tokenizer's own template, with which the model is shipped and scored, gives it"
        f" {'the same prompts' if alike else 'other prompts'}"
    )
    if not alike:
        found += (
            f" in {seen.asked_otherwise} of {seen.conversations} conversations"
            f"{'' if golden else ', and in the golden one'}"
        )
    if unstopped:
        found += f"; nothing stops the model there at {', '.join(unstopped)}"
    if not alike or unstopped:
        found += "; leave `template` out, so that each turn is trained as the model is asked for it"
    return _check("asked_as_trained", alike and not unstopped, found)


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
