"""Blocks of conversations as rows of shards: rendered, encoded, masked and checked, each by itself.

A block is worked on without the others, in whichever process, so that neither its rows nor what
they showed depend on how many processes there are.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from scripts.lib.data.contract import asked_alike
from scripts.lib.data.conversation import Conversation
from scripts.lib.data.encoding import CONTROL_TOKEN_IN_CONTENT, Encoded, Encoder, hidden
from scripts.lib.data.masking import loss_mask, mask_of, tokens_in
from scripts.lib.data.parquet import array_of
from scripts.lib.data.records import UnusableRow
from scripts.lib.data.render_tally import Tally
from scripts.lib.data.renderer import Renderer
from scripts.lib.data.samples import Sample, SampleSpec, samples
from scripts.lib.data.templates import Template, TemplateSpec
from scripts.lib.data.word_cache import word_cache
from scripts.lib.errors import TemplateError

SHARD_SCHEMA = pa.schema(
    [
        ("conversation_id", pa.string()),
        ("text", pa.string()),
        ("input_ids", pa.list_(pa.int32())),
        ("loss_mask", pa.list_(pa.int8())),
    ]
)


@dataclass(frozen=True, kw_only=True)
class RenderSpec(SampleSpec):
    """What decides the shards of a dataset for a model.

    Attributes:
        template: `tokenizer` (the model's own), `chatml`, `trl`, or `{"name", "text"}`.
        max_length_tokens: Longest conversation.
        on_too_long: Drop longer ones, or cut them (kept while a trained token is left).
    """

    template: TemplateSpec
    max_length_tokens: int
    on_too_long: Literal["drop", "truncate"]


@dataclass(frozen=True)
class Block:
    """Conversations of one split, as their table holds them."""

    split: str
    rows: pa.RecordBatch


@dataclass(frozen=True)
class Rendered:
    """What became of a block.

    Attributes:
        split: Its split.
        rows: Rows of a shard, in order.
        tally: What was counted.
    """

    split: str
    rows: pa.Table
    tally: Tally


@dataclass(frozen=True, kw_only=True)
class _Waiting:
    """One row on its way to a shard.

    Attributes:
        sample: The row before its tokens.
        twin: The same with the text of control tokens hidden, where the data holds any.
    """

    sample: Sample
    twin: str | None


@dataclass(frozen=True, kw_only=True)
class _Row:
    """One row of a shard.

    Attributes:
        id: Id of the conversation, with `#` and the turn where each turn is a row.
        text: What is read.
        ids: Its token ids.
        mask: A byte for each, 1 where it is trained on.
        reversible: Whether they are known to decode to the text.
    """

    id: str
    text: str
    ids: list[int]
    mask: bytes
    reversible: bool

    @property
    def trained_tokens(self) -> int:
        """Return how many are trained on; the first token of a row is never predicted."""
        return self.mask.count(1, 1)


class BlockRenderer:
    """Makes rows of blocks, with the tools of one rendering.

    Args:
        spec: What decides the rows.
        tokenizer: The tokenizer, with the control tokens that it is given.
        template: The template.
        asked: The template that the trained model is asked through, where it is another.
    """

    def __init__(
        self, spec: RenderSpec, tokenizer: Any, template: Template, asked: Template | None
    ) -> None:
        self.spec = spec
        self.renderer = Renderer(tokenizer, template)
        self.asked = Renderer(tokenizer, asked) if asked else None
        self.encoder = Encoder(tokenizer)
        self._words = word_cache(self.encoder.backend)
        self._bos = tokenizer.bos_token_id
        self._tally = Tally()

    def __call__(self, block: Block) -> Rendered:
        """Return the rows of a block."""
        self._tally = tally = Tally()
        counts = tally.begin(block.split)
        waiting = [(one[0], self._waiting(*one)) for one in _conversations(block.rows)]
        encoded = iter(self._encoded([one.sample.text for _, rows in waiting for one in rows]))
        rows: list[_Row] = []
        for id_, found in waiting:
            done = self._finished(id_, found, [next(encoded) for _ in found])
            if not done:
                continue
            lengths = [len(row.ids) for row in done]
            counts["conversations"] += 1
            counts["rows"] += len(done)
            counts["tokens"] += sum(lengths)
            counts["trained_tokens"] += sum(row.trained_tokens for row in done)
            counts["longest_tokens"] = max(counts["longest_tokens"], *lengths)
            tally.tokens_once += max(lengths)
            rows += done
        self._count_irreversible([row for row in rows if not row.reversible])
        return Rendered(block.split, _table(rows), tally)

    def _waiting(self, id_: str, given: str | None, conversation: Conversation) -> list[_Waiting]:
        """Return what one conversation becomes; nothing, and a count, if it cannot be used."""
        tally = self._tally
        tally.read += 1
        try:
            found = samples(self.renderer, conversation, id_, self.spec)
            twins: list[str | None] = [None] * len(found)
            if self.encoder.has_control_text(conversation):
                twins = list(self._twins(conversation, id_, len(found)))
        except UnusableRow as error:
            tally.drop(id_, error.reason, error.detail)
            return []
        except TemplateError as error:
            tally.drop(id_, "template_refuses", str(error))
            return []
        tally.findings.look_at(conversation)
        if self.asked:
            same = asked_alike(self.renderer, self.asked, conversation, self.spec)
            tally.findings.asked_otherwise += not same
        if given:
            tally.given[given] += 1
        return [_Waiting(sample=one, twin=twin) for one, twin in zip(found, twins, strict=True)]

    def _twins(self, conversation: Conversation, id_: str, count: int) -> Iterator[str]:
        """Yield the texts of a conversation with the control tokens in its data hidden."""
        twin = hidden(conversation, self.encoder.with_placeholders)
        texts = [one.text for one in samples(self.renderer, twin, id_, self.spec)]
        if len(texts) != count:
            raise UnusableRow(*CONTROL_TOKEN_IN_CONTENT)
        yield from texts

    def _encoded(self, texts: list[str]) -> list[tuple[Encoded, bool]]:
        """Return the tokens of each text, and whether they are known to decode to it."""
        by_words = [self._words.encode(text) if self._words else None for text in texts]
        others = [text for text, found in zip(texts, by_words, strict=True) if found is None]
        wholes = iter(self.encoder.encode(others))
        return [(next(wholes), False) if found is None else (found, True) for found in by_words]

    def _finished(
        self, id_: str, rows: list[_Waiting], encoded: list[tuple[Encoded, bool]]
    ) -> list[_Row]:
        """Return the rows of a shard, those that can be used."""
        done: list[_Row] = []
        lost: list[tuple[_Waiting, UnusableRow]] = []
        for one, (tokens, reversible) in zip(rows, encoded, strict=True):
            try:
                done.append(self._finish(one, tokens, reversible=reversible))
            except UnusableRow as error:
                lost.append((one, error))
        if done:
            self._tally.kept += 1
            self._tally.turn_by_turn += len(rows) > 1
        elif lost:
            _, why = lost[0]
            self._tally.drop(id_, why.reason, why.detail)
            return []
        for one, why in lost:
            self._tally.rows_dropped[why.reason] += 1
            self._tally.show(one.sample.id, why.reason, why.detail)
        return done

    def _finish(self, one: _Waiting, encoded: Encoded, *, reversible: bool) -> _Row:
        """Return the row of a shard."""
        limit, text = self.spec.max_length_tokens, one.sample.text
        if one.twin is not None:
            encoded, reversible = self.encoder.encode_data(text, one.twin), False
        loss = loss_mask(encoded, text, one.sample.answers, self.encoder.special_ids)
        whole = self.spec.train_on == "all"
        trained = tokens_in(encoded, one.sample.trained) if whole else loss.trained
        ids, mask = encoded.ids, mask_of(trained, loss.tokens)
        too_long = len(ids) > limit
        if too_long and self.spec.on_too_long == "drop":
            raise UnusableRow("too_long", f"{len(ids)} tokens, the limit is {limit}")
        if too_long:
            text, ids, mask = text[: encoded.ends[limit - 1]], ids[:limit], mask[:limit]
            reversible = False
        row = _Row(id=one.sample.id, text=text, ids=ids, mask=mask, reversible=reversible)
        if not row.trained_tokens:
            raise UnusableRow("nothing_to_train_on", "no trained token is left")
        self._tally.truncated += too_long
        self._tally.defused += one.twin is not None
        self._note(row, ended=loss.ended)
        return row

    def _note(self, row: _Row, *, ended: bool) -> None:
        bos = self._bos
        findings = self._tally.findings
        findings.rows += 1
        findings.trained_tokens += row.trained_tokens
        findings.unended += not ended
        findings.double_bos += bos is not None and row.ids[:2] == [bos, bos]

    def _count_irreversible(self, rows: list[_Row]) -> None:
        """Count the rows whose tokens decode to another text."""
        decoded = self.encoder.decode([row.ids for row in rows])
        changed = sum(text != row.text for row, text in zip(rows, decoded, strict=True))
        self._tally.findings.not_reversible += changed


def _conversations(rows: pa.RecordBatch) -> Iterator[tuple[str, str | None, Conversation]]:
    """Yield each conversation with its id and, as they stand, the arguments of its template."""
    turns = rows.column("messages")
    names = [field.name for field in turns.type.value_type]
    messages = zip(*(field.to_pylist() for field in turns.flatten().flatten()), strict=True)
    named = (dict(zip(names, one, strict=True)) for one in messages)
    columns = ("conversation_id", "tools", "template_arguments")
    others = (rows.column(name).to_pylist() for name in columns)
    for length, id_, tools, given in zip(turns.value_lengths().to_pylist(), *others, strict=True):
        row = {"messages": list(islice(named, length)), "tools": tools, "template_arguments": given}
        yield id_, given, Conversation.from_row(row)


def _table(rows: list[_Row]) -> pa.Table:
    """Return rows of a shard as a table."""
    ends = np.cumsum([0, *(len(row.ids) for row in rows)], dtype=np.int32)
    ids, masks = array("i"), b"".join(row.mask for row in rows)
    for row in rows:
        ids.extend(row.ids)
    lists = [
        pa.ListArray.from_arrays(
            pa.Array.from_buffers(pa.int32(), len(ends), [None, pa.py_buffer(ends)]),
            pa.Array.from_buffers(kind, int(ends[-1]), [None, pa.py_buffer(values)]),
        )
        for kind, values in ((pa.int32(), ids), (pa.int8(), masks))
    ]
    texts = (array_of([getattr(row, name) for row in rows], pa.string()) for name in ("id", "text"))
    return pa.Table.from_arrays([*texts, *lists], schema=SHARD_SCHEMA)
