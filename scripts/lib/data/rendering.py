"""Render conversations with a chat template into tokens and loss masks, once for all runs."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from scripts.lib.data.contract import Findings, asked_alike, golden_conversation, prove_template
from scripts.lib.data.control_tokens import add_tokens, lacking_tokens
from scripts.lib.data.conversation import Conversation
from scripts.lib.data.encoding import CONTROL_TOKEN_IN_CONTENT, Encoded, Encoder, hidden
from scripts.lib.data.masking import loss_mask, tokens_in
from scripts.lib.data.records import SOURCES, UnusableRow
from scripts.lib.data.renderer import Renderer
from scripts.lib.data.samples import Sample, SampleSpec, samples
from scripts.lib.data.table_writer import TableWriter
from scripts.lib.data.templates import (
    OWN,
    TRL,
    TemplateSpec,
    asked_through,
    load_fast_tokenizer,
    resolve_template,
)
from scripts.lib.data.tokenizer_files import copy_tokenizer
from scripts.lib.data.training_templates import other_templates, training_template
from scripts.lib.errors import TemplateError
from scripts.lib.model_files import CONTROL_TOKENS_FILE

BATCH_ROWS = 256
ROWS_PER_SHARD = 50_000
SHOWN_EXAMPLES = 3
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


@dataclass(frozen=True, kw_only=True)
class _Waiting:
    """One row on its way to a shard.

    Attributes:
        sample: The row before its tokens.
        twin: The same with the text of control tokens hidden, where the data holds any.
    """

    sample: Sample
    twin: str | None


@dataclass(kw_only=True)
class _Tally:
    """Counts for the facts.

    Attributes:
        dropped: Reason -> conversations of which no row is left.
        rows_dropped: Reason -> rows of conversations that have others left.
        given: Arguments of the template, as JSON -> conversations that are rendered with them.
        tokens_once: Tokens of the longest row of each conversation.
    """

    findings: Findings = field(default_factory=Findings)
    splits: dict[str, Counter[str]] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)
    rows_dropped: Counter[str] = field(default_factory=Counter)
    given: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    read: int = 0
    kept: int = 0
    turn_by_turn: int = 0
    truncated: int = 0
    defused: int = 0
    tokens_once: int = 0

    def drop(self, id_: str, reason: str, detail: str) -> None:
        """Count a conversation that is lost."""
        self.dropped[reason] += 1
        self.show(id_, reason, detail)

    def show(self, id_: str, reason: str, detail: str) -> None:
        """Keep and print the first examples of each reason."""
        shown = self.examples.setdefault(reason, [])
        if len(shown) < SHOWN_EXAMPLES:
            shown.append(f"{id_}: {detail}")
            print(f"dropped, {reason}: {shown[-1]}", flush=True)

    def tokens(self) -> dict[str, Any]:
        """Return the facts."""
        every = sum(split["tokens"] for split in self.splits.values())
        return {
            "conversations": self.read,
            "kept": self.kept,
            "dropped": dict(sorted(self.dropped.items())),
            "rows": self.findings.rows,
            "rows_dropped": dict(sorted(self.rows_dropped.items())),
            "turn_by_turn": self.turn_by_turn,
            "growth": round(every / self.tokens_once, 3) if self.tokens_once else 1.0,
            "truncated": self.truncated,
            "control_text_defused": self.defused,
            "splits": {split: dict(sorted(self.splits[split].items())) for split in self.splits},
            **({"template_arguments": dict(sorted(self.given.items()))} if self.given else {}),
        }


def render_shards(spec: RenderSpec, chat: Path, model: Path, out: Path) -> dict[str, Any]:
    """Write shards of tokens and loss masks, the tokenizer that goes with them, and the contract.

    Args:
        spec: What decides the result.
        chat: Folder of `format_chat`.
        model: Folder of the model; only its tokenizer files are read.
        out: Empty folder for `{train,valid,test}-00000.parquet`, `tokenizer/`, `contract.json`,
            `summary.json` (the counts, and an example of each reason to drop), and, where the
            tokenizer lacks control tokens of the template, `control_tokens.json`: those that were
            added to `tokenizer/`, with their ids.

    Returns:
        The facts: `{"contract": {"passed", "checks"}, "tokens": {...}}`. A contract that does not
        hold is a fact, not an error.

    Raises:
        TemplateError: If there is no template, no fast tokenizer, or the template refuses a plain
            question and answer or every conversation.
    """
    tokenizer = load_fast_tokenizer(model)
    asked = None
    if spec.template == TRL:
        template = training_template(tokenizer)
        asked = Renderer(tokenizer, resolve_template(OWN, tokenizer))
    else:
        template = resolve_template(spec.template, tokenizer)
    own = asked_through(spec.template) == OWN
    copy_tokenizer(model, out / "tokenizer", None if own else template.text)
    added: dict[str, int] = {}
    # TRL's are made of the tokenizer's own template: as control tokens go, they count as it does.
    lacking = [] if asked else lacking_tokens(tokenizer, template)
    if lacking:
        added = add_tokens(tokenizer, lacking, out / "tokenizer")
        _write_json(out / CONTROL_TOKENS_FILE, added)
        print(f"added to the tokenizer: {', '.join(f'{k} {v}' for k, v in added.items())}")
    stage = _Stage(spec, Renderer(tokenizer, template), Encoder(tokenizer), asked)
    stage.renderer.text(golden_conversation())
    for split in SOURCES:
        if (table := chat / f"{split}.parquet").is_file():
            stage.write_split(split, table, out)
    tally = stage.tally
    if tally.dropped["template_refuses"] == tally.read:
        raise TemplateError(
            f"the template refuses every conversation of {chat}, for example"
            f" {'; '.join(tally.examples.get('template_refuses', []))}; give the run a `template`"
            f" that can write them ({other_templates(tokenizer, template)}), or repair the rows"
        )
    contract = prove_template(stage.renderer, stage.encoder, spec, tally.findings, added, asked)
    _write_json(out / "contract.json", contract)
    tokens = tally.tokens()
    examples = {"dropped_examples": dict(sorted(tally.examples.items()))}
    _write_json(out / "summary.json", tokens | examples)
    facts = {name: contract[name] for name in ("passed", "checks")}
    return {"contract": facts, "tokens": tokens}


def told(tokens: Mapping[str, Any]) -> str:
    """Say in one line what became of the conversations."""
    splits = tokens["splits"].values()
    trained, every = (sum(s[key] for s in splits) for key in ("trained_tokens", "tokens"))
    lost, rows_lost = tokens["dropped"], tokens["rows_dropped"]
    return (
        f"{tokens['conversations']:,} conversations: {tokens['kept']:,} rendered as"
        f" {tokens['rows']:,} rows ({tokens['turn_by_turn']:,} turn by turn, which makes"
        f" {tokens['growth']:g} times their tokens), of which {tokens['truncated']:,} were cut;"
        f" {_counted(lost)} dropped, and {_counted(rows_lost)} rows of others;"
        f" {trained:,} of {every:,} tokens are trained on"
    )


def _counted(lost: Mapping[str, int]) -> str:
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in lost.items())
    return f"{sum(lost.values()):,}{f' ({reasons})' if reasons else ''}"


class _Stage:
    """The tools of one rendering and what they have seen."""

    def __init__(
        self, spec: RenderSpec, renderer: Renderer, encoder: Encoder, asked: Renderer | None
    ) -> None:
        self.spec, self.renderer, self.encoder, self.asked = spec, renderer, encoder, asked
        self.tally = _Tally()

    def write_split(self, split: str, table: Path, out: Path) -> None:
        """Render one table of conversations into shards, in order."""
        counts = self.tally.splits.setdefault(
            split,
            Counter(conversations=0, rows=0, tokens=0, trained_tokens=0, longest_tokens=0),
        )
        with TableWriter(
            lambda part: out / f"{split}-{part:05d}.parquet", SHARD_SCHEMA, ROWS_PER_SHARD
        ) as shard:
            for rows in self._conversations(table):
                lengths = [len(row["input_ids"]) for row in rows]
                counts["conversations"] += 1
                counts["rows"] += len(rows)
                counts["tokens"] += sum(lengths)
                counts["trained_tokens"] += sum(sum(row["loss_mask"][1:]) for row in rows)
                counts["longest_tokens"] = max(counts["longest_tokens"], *lengths)
                self.tally.tokens_once += max(lengths)
                for row in rows:
                    shard.add(row)

    def _conversations(self, table: Path) -> Iterator[list[dict[str, Any]]]:
        """Yield the rows of each conversation of which any is left."""
        with pq.ParquetFile(table) as source:
            for batch in source.iter_batches(batch_size=BATCH_ROWS):
                waiting = {row["conversation_id"]: self._waiting(row) for row in batch.to_pylist()}
                texts = [one.sample.text for rows in waiting.values() for one in rows]
                encoded = iter(self.encoder.encode(texts))
                done = [
                    self._finished(id_, rows, [next(encoded) for _ in rows])
                    for id_, rows in waiting.items()
                ]
                self._count_irreversible([row for rows in done for row in rows])
                yield from (rows for rows in done if rows)

    def _count_irreversible(self, rows: list[dict[str, Any]]) -> None:
        decoded = self.encoder.decode([row["input_ids"] for row in rows])
        changed = sum(text != row["text"] for row, text in zip(rows, decoded, strict=True))
        self.tally.findings.not_reversible += changed

    def _waiting(self, row: Mapping[str, Any]) -> list[_Waiting]:
        """Return what one conversation becomes; nothing, and a count, if it cannot be used."""
        self.tally.read += 1
        id_ = row["conversation_id"]
        conversation = Conversation.from_row(row)
        try:
            found = samples(self.renderer, conversation, id_, self.spec)
            twins: list[str | None] = [None] * len(found)
            if self.encoder.has_control_text(conversation):
                twins = list(self._twins(conversation, id_, len(found)))
        except UnusableRow as error:
            self.tally.drop(id_, error.reason, error.detail)
            return []
        except TemplateError as error:
            self.tally.drop(id_, "template_refuses", str(error))
            return []
        self.tally.findings.look_at(conversation)
        if self.asked:
            same = asked_alike(self.renderer, self.asked, conversation, self.spec)
            self.tally.findings.asked_otherwise += not same
        if given := row["template_arguments"]:
            self.tally.given[given] += 1
        return [_Waiting(sample=one, twin=twin) for one, twin in zip(found, twins, strict=True)]

    def _twins(self, conversation: Conversation, id_: str, count: int) -> Iterator[str]:
        """Yield the texts of a conversation with the control tokens in its data hidden."""
        twin = hidden(conversation, self.encoder.with_placeholders)
        texts = [one.text for one in samples(self.renderer, twin, id_, self.spec)]
        if len(texts) != count:
            raise UnusableRow(*CONTROL_TOKEN_IN_CONTENT)
        yield from texts

    def _finished(
        self, id_: str, rows: list[_Waiting], encoded: list[Encoded]
    ) -> list[dict[str, Any]]:
        """Return the rows of a shard, those that can be used."""
        done: list[dict[str, Any]] = []
        lost: list[tuple[_Waiting, UnusableRow]] = []
        for one, tokens in zip(rows, encoded, strict=True):
            try:
                done.append(self._finish(one, tokens))
            except UnusableRow as error:
                lost.append((one, error))
        if done:
            self.tally.kept += 1
            self.tally.turn_by_turn += len(rows) > 1
        elif lost:
            _, why = lost[0]
            self.tally.drop(id_, why.reason, why.detail)
            return []
        for one, why in lost:
            self.tally.rows_dropped[why.reason] += 1
            self.tally.show(one.sample.id, why.reason, why.detail)
        return done

    def _finish(self, one: _Waiting, encoded: Encoded) -> dict[str, Any]:
        """Return the row of a shard."""
        limit, text = self.spec.max_length_tokens, one.sample.text
        if one.twin is not None:
            encoded = self.encoder.encode_data(text, one.twin)
        loss = loss_mask(encoded, text, one.sample.answers, self.encoder.special_ids)
        whole = self.spec.train_on == "all"
        mask = tokens_in(encoded, one.sample.trained) if whole else loss.mask
        too_long = len(encoded.ids) > limit
        if too_long and self.spec.on_too_long == "drop":
            raise UnusableRow("too_long", f"{len(encoded.ids)} tokens, the limit is {limit}")
        if too_long:
            text, mask = text[: encoded.spans[limit - 1][1]], mask[:limit]
        if not any(mask[1:]):  # the first token of a row is never predicted
            raise UnusableRow("nothing_to_train_on", "no trained token is left")
        self.tally.truncated += too_long
        self.tally.defused += one.twin is not None
        ids = encoded.ids[:limit]
        self._note(ids, mask, ended=loss.ended)
        return {
            "conversation_id": one.sample.id,
            "text": text,
            "input_ids": ids,
            "loss_mask": mask,
        }

    def _note(self, ids: list[int], mask: list[int], *, ended: bool) -> None:
        bos = self.renderer.tokenizer.bos_token_id
        findings = self.tally.findings
        findings.rows += 1
        findings.trained_tokens += sum(mask[1:])
        findings.unended += not ended
        findings.double_bos += bos is not None and ids[:2] == [bos, bos]


def _write_json(path: Path, content: object) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8")
