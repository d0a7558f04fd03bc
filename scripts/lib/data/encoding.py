"""Text to tokens with their places, so that text of the data never turns into a control token.

A tokenizer takes `<|im_end|>` in a user's message for the real end of a turn. Here such text is
encoded as ordinary characters: the conversation is rendered a second time with placeholders of the
same length, which shows the control tokens that the template itself wrote, and only those are kept.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from tokenizers import Tokenizer

from scripts.lib.data.conversation import Conversation
from scripts.lib.data.records import UnusableRow

Span = tuple[int, int]  # characters: first, and one past the last
ControlToken = tuple[int, Span]

CONTROL_TOKEN_IN_CONTENT = (
    "control_token_in_content",
    "the data holds the text of a control token, and this tokenizer cannot tell them apart",
)

PLACEHOLDER = "\ue000"  # private use: in no vocabulary, and no template strips it


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Tokens of one text.

    Attributes:
        ids: Token ids.
        starts: For each token the first character that it stands for.
        ends: For each token the character behind the last.
    """

    ids: list[int]
    starts: list[int]
    ends: list[int]

    @property
    def spans(self) -> list[Span]:
        """Return for each token the characters it stands for, as (start, end)."""
        return list(zip(self.starts, self.ends, strict=True))


def _encoded(ids: list[int], spans: Sequence[Span]) -> Encoded:
    starts, ends = [start for start, _ in spans], [end for _, end in spans]
    return Encoded(ids=ids, starts=starts, ends=ends)


class Encoder:
    """A tokenizer stripped of what would add, move or cut tokens.

    Args:
        tokenizer: A fast tokenizer of transformers; it is not changed.

    Attributes:
        backend: The tokenizer's own, stripped.
        special_ids: Ids of all control tokens.
    """

    def __init__(self, tokenizer: Any) -> None:
        # Byte-level post-processors trim white space from spans and templates add a BOS: both
        # would shift the loss, and neither changes the ids of a rendered text.
        self.backend = _bare(tokenizer)
        special = {
            token.content: number
            for number, token in tokenizer.added_tokens_decoder.items()
            if token.special
        }
        self.special_ids = frozenset(special.values())
        longest_first = sorted(special, key=lambda text: (-len(text), text))
        self._special = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
        self._first = frozenset(text[0] for text in special if text)

    @cached_property
    def _literal(self) -> Tokenizer:
        """The same without control tokens; few datasets need it, and it takes as long to read."""
        literal = Tokenizer.from_str(self.backend.to_str())
        literal.encode_special_tokens = True
        return literal

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Encode each text as a whole; control tokens in it count as such."""
        encodings = self.backend.encode_batch(list(texts), add_special_tokens=False)
        return [_encoded(one.ids, one.offsets) for one in encodings]

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Return the texts of token ids, control tokens included."""
        texts: list[str] = self.backend.decode_batch(
            [list(one) for one in ids], skip_special_tokens=False
        )
        return texts

    def has_control_text(self, conversation: Conversation) -> bool:
        """Say whether the data itself holds the text of a control token."""
        return any(
            self._special.search(text)
            for text in _texts(conversation)
            # Most texts have not even the first character of one, which takes less to see.
            if any(first in text for first in self._first)
        )

    def with_placeholders(self, value: Any) -> Any:
        """Return JSON-like data with the text of every control token hidden, lengths unchanged."""
        if isinstance(value, str):
            return self._special.sub(lambda found: PLACEHOLDER * len(found.group()), value)
        if isinstance(value, Mapping):
            return {
                self.with_placeholders(key): self.with_placeholders(item)
                for key, item in value.items()
            }
        if isinstance(value, (list, tuple)):
            return [self.with_placeholders(item) for item in value]
        return value

    def encode_defused(self, text: str, hidden: str) -> Encoded | None:
        """Encode *text* with only those control tokens that stand in *hidden* too.

        Args:
            text: The rendered conversation.
            hidden: The same, rendered from data with placeholders.

        Returns:
            The tokens, or None if the two texts do not run in parallel, or this tokenizer would
            not keep the text out of its control tokens.
        """
        if len(text) != len(hidden) or any(
            mine != other and other != PLACEHOLDER for mine, other in zip(text, hidden, strict=True)
        ):
            return None
        whole = self.encode([hidden])[0]
        tokens = self._control_tokens(whole)
        # Some tokenizers (Metaspace) encode a piece otherwise than the same text amid a whole.
        if self._in_pieces(hidden, tokens) != whole:
            return None
        encoded = self._in_pieces(text, tokens)
        return encoded if self._control_tokens(encoded) == tokens else None

    def encode_data(self, text: str, hidden: str) -> Encoded:
        """Encode *text* as `encode_defused` does.

        Raises:
            UnusableRow: The tokenizer cannot keep the data's text out of its control tokens.
        """
        encoded = self.encode_defused(text, hidden)
        if encoded is None:
            raise UnusableRow(*CONTROL_TOKEN_IN_CONTENT)
        return encoded

    def _in_pieces(self, text: str, tokens: Sequence[ControlToken]) -> Encoded:
        """Encode the text between the given control tokens literally, as tokenizers do inside."""
        ids: list[int] = []
        spans: list[Span] = []
        position = 0
        for number, (start, end) in [*tokens, (None, (len(text), len(text)))]:
            piece = self._literal.encode(text[position:start], add_special_tokens=False)
            ids += piece.ids
            spans += [(left + position, right + position) for left, right in piece.offsets]
            if number is not None:
                ids.append(number)
                spans.append((start, end))
            position = end
        return _encoded(ids, spans)

    def _control_tokens(self, encoded: Encoded) -> list[ControlToken]:
        return [
            (number, span)
            for number, span in zip(encoded.ids, encoded.spans, strict=True)
            if number in self.special_ids
        ]


def hidden(conversation: Conversation, hide: Callable[[Any], Any]) -> Conversation:
    """Return a conversation with *hide* put on all that the data says in it."""
    messages = [
        replace(
            message,
            content=hide(message.content),
            reasoning=hide(message.reasoning),
            name=hide(message.name),
            tool_calls=tuple(map(hide, message.tool_calls)),
        )
        for message in conversation.messages
    ]
    tools: tuple[Mapping[str, Any], ...] = tuple(map(hide, conversation.tools))
    return replace(conversation, messages=tuple(messages), tools=tools)


def _bare(tokenizer: Any) -> Tokenizer:
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.post_processor = None
    backend.no_truncation()
    backend.no_padding()
    return backend


def _texts(conversation: Conversation) -> list[str]:
    messages = conversation.messages
    texts = [message.content for message in messages]
    texts += [text for one in messages for text in (one.reasoning, one.name) if text]
    calls = [message.tool_calls for message in conversation.messages if message.tool_calls]
    if calls or conversation.tools:
        texts.append(json.dumps([calls, conversation.tools], ensure_ascii=False))
    return texts
