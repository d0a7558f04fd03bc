"""Texts as tokens: each encoded once in a job, in batches, and kept as small as it can be.

lm-eval encodes a context anew with each of its choices. Here a tokenizer that reads texts line by
line (`line_reading`) encodes each line that occurs once, and texts are put together from their
lines: of a five-shot prompt only the question's own lines are new.
"""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

from scripts.lib.questions.line_reading import added_around, line_starts, reads_by_lines

Tokens: TypeAlias = "array[int]"
"""Token ids of four bytes each: a list of Python's integers takes nine times as much."""

# Texts that the tokenizer is given at once; it needs some hundred bytes for each of their tokens.
_BATCH = 256

# What stands before a line that is not the first, and after one that is not the last, while it is
# encoded: a line break, and the first letter of another line, which is one token.
_BREAK, _LETTER = "\n", "a"


@dataclass(frozen=True, slots=True)
class TokenPair:
    """A context and what may follow it, as lm-eval's `_encode_pair` reads them.

    Attributes:
        context: Tokens of the context alone.
        begins: As many tokens as that, of the two as one text; nearly always the same.
        continuation: The others of the two as one text.
    """

    context: Tokens
    begins: Tokens
    continuation: Tokens

    @property
    def whole(self) -> Tokens:
        """Tokens of the two as one text."""
        return self.begins + self.continuation


class _Edge(NamedTuple):
    """A stretch of a text that begins or ends it, and is encoded by itself.

    Attributes:
        text: The stretch.
        first: Whether it begins its text.
        last: Whether it ends its text.
        opened: Whether the tokenizer adds to it what it adds to every text.
    """

    text: str
    first: bool = True
    last: bool = True
    opened: bool = False


_Part: TypeAlias = "_Edge | str"
"""A stretch of a text; one that neither begins nor ends a text is its text alone."""


@dataclass(frozen=True)
class _Plan:
    """How a context and what may follow it are put together from parts.

    Attributes:
        head: Parts that the context alone and the whole texts have in common.
        end: The last part of the context alone.
        ends: The rest of each whole text.
        opened: Whether something is put before the context alone, and before each whole text.
    """

    head: Sequence[_Part]
    end: _Edge
    ends: list[list[_Part]]
    opened: list[bool]


class TextEncoder:
    """A tokenizer, and all that it has encoded.

    Attributes:
        tokenizer: The tokenizer.
    """

    def __init__(self, tokenizer: Any) -> None:
        """Find out how the tokenizer reads texts.

        Args:
            tokenizer: As transformers loads it.
        """
        self.tokenizer = tokenizer
        # What lm-eval's `hf` takes for the beginning of texts.
        self._start = tokenizer.bos_token or tokenizer.eos_token or ""
        self._by_lines = reads_by_lines(tokenizer)
        self._before = array("I")
        if self._by_lines:
            self._before += array("I", added_around(tokenizer) or ())
            broken = tokenizer.encode(_BREAK + _LETTER, add_special_tokens=False)
            self._break_tokens = len(broken) - 1
        self._parts: dict[_Part, Tokens] = {}
        self._texts: dict[tuple[str, bool], Tokens] = {}
        self._pairs: dict[str, dict[str, TokenPair]] = {}

    def opens(self, text: str) -> bool:
        """Return whether lm-eval's `hf` lets the tokenizer add a beginning to a text.

        It does not where the text begins with it.
        """
        return not (self._start and text.startswith(self._start))

    def text(self, text: str, *, opened: bool) -> Tokens:
        """Return the tokens of a text.

        Args:
            text: The text.
            opened: Whether the tokenizer adds what it adds to every text.
        """
        if (text, opened) not in self._texts:
            self.encode(texts=[(text, opened)])
        return self._texts[text, opened]

    def pair(self, context: str, continuation: str) -> TokenPair:
        """Return the tokens of a context and of what may follow it.

        Args:
            context: Not empty; white space at its end is read with the continuation.
            continuation: What follows.
        """
        if continuation not in self._pairs.get(context, ()):
            self.encode(pairs=[(context, continuation)])
        return self._pairs[context][continuation]

    def forget(self) -> None:
        """Drop all tokens."""
        self._parts.clear()
        self._texts.clear()
        self._pairs.clear()

    def encode(
        self,
        *,
        pairs: Iterable[tuple[str, str]] = (),
        texts: Iterable[tuple[str, bool]] = (),
    ) -> None:
        """Encode what was not encoded before, in batches.

        Args:
            pairs: Contexts and what may follow them, as for `pair`.
            texts: Texts, and whether something is added to them, as for `text`.
        """
        asked: dict[str, list[str]] = {}
        for context, continuation in dict.fromkeys(pairs):
            if continuation not in self._pairs.get(context, ()):
                asked.setdefault(context, []).append(continuation)
        plans = [self._plan(context, ends) for context, ends in asked.items()]
        alone = [key for key in dict.fromkeys(texts) if key not in self._texts]
        splits = [self._split(text, opened=opened) for text, opened in alone]
        self._encode_parts(
            part
            for parts in (
                *splits,
                *(parts for plan in plans for parts in (plan.head, [plan.end], *plan.ends)),
            )
            for part in parts
        )
        for (text, opened), parts in zip(alone, splits, strict=True):
            self._texts[text, opened] = self._joined(self._opening(opened), parts)
        for (context, continuations), plan in zip(asked.items(), plans, strict=True):
            found = self._pairs.setdefault(context, {})
            found.update(zip(continuations, self._put_together(plan), strict=True))
        if not self._by_lines:  # whole texts, which nothing else is made of
            self._parts.clear()

    def _plan(self, context: str, continuations: Sequence[str]) -> _Plan:
        stripped = context.rstrip()
        moved = context[len(stripped) :]
        begun = stripped[: len(self._start)]
        opened = [self.opens(text) for text in (begun, *(begun + moved + c for c in continuations))]
        *head, end = self._split(stripped, opened=opened[0])
        assert isinstance(end, _Edge)
        ends = [
            self._split(end.text + moved + continuation, first=end.first, opened=opens)
            for continuation, opens in zip(continuations, opened[1:], strict=True)
        ]
        return _Plan(head, end, ends, opened)

    def _put_together(self, plan: _Plan) -> list[TokenPair]:
        head = self._joined(array("I"), plan.head)
        alone, *openings = map(self._opening, plan.opened)
        context = self._joined(alone + head, [plan.end])
        length, found = len(context), []
        for opening, parts in zip(openings, plan.ends, strict=True):
            whole = self._joined(opening + head, parts)
            begins = whole[:length]
            found.append(
                TokenPair(context, context if begins == context else begins, whole[length:])
            )
        return found

    def _split(self, text: str, *, opened: bool, first: bool = True) -> list[_Part]:
        """Return the parts of a text, or of the end of one; the last is an edge."""
        if not self._by_lines:
            return [_Edge(text, opened=opened)]
        cuts = [0, *line_starts(text), len(text)]
        lines = [text[start:stop] for start, stop in pairwise(cuts)]
        if len(lines) == 1:
            return [_Edge(text, first=first)]
        opening = [_Edge(lines[0], last=False)] if first else lines[:1]
        return [*opening, *lines[1:-1], _Edge(lines[-1], first=False)]

    def _opening(self, opened: bool) -> Tokens:
        return self._before if opened else self._before[:0]

    def _joined(self, opening: Tokens, parts: Sequence[_Part]) -> Tokens:
        tokens = opening[:]
        for part in parts:
            tokens += self._parts[part]
        return tokens

    def _encode_parts(self, parts: Iterable[_Part]) -> None:
        new = [part for part in dict.fromkeys(parts) if part not in self._parts]
        for opened in (False, True):
            asked = [part for part in new if _is_opened(part) == opened]
            for start in range(0, len(asked), _BATCH):
                batch = asked[start : start + _BATCH]
                found = _encoded(self.tokenizer, [self._in_place(part) for part in batch], opened)
                for part, ids in zip(batch, found, strict=True):
                    self._parts[part] = array("I", self._own(part, ids))

    def _in_place(self, part: _Part) -> str:
        """Return a part between what it may be between, where it is not a text by itself."""
        if isinstance(part, str):
            return _BREAK + part + _LETTER
        return ("" if part.first else _BREAK) + part.text + ("" if part.last else _LETTER)

    def _own(self, part: _Part, ids: Sequence[int]) -> Sequence[int]:
        """Return a part's own tokens of those of `_in_place`."""
        first, last = (False, False) if isinstance(part, str) else (part.first, part.last)
        return ids[0 if first else self._break_tokens : len(ids) if last else -1]


def _is_opened(part: _Part) -> bool:
    return not isinstance(part, str) and part.opened


def _encoded(tokenizer: Any, texts: list[str], opened: bool) -> Sequence[Sequence[int]]:
    if not tokenizer.is_fast:
        return [tokenizer.encode(text, add_special_tokens=opened) for text in texts]
    read: Sequence[Sequence[int]] = tokenizer(
        texts,
        add_special_tokens=opened,
        return_attention_mask=False,
        return_token_type_ids=False,
    )["input_ids"]
    return read
