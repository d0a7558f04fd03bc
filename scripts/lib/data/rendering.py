"""Render conversations with a chat template into tokens and loss masks, once for all runs."""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypedDict, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from scripts.lib.data.contract import Findings, golden_conversation, prove_template
from scripts.lib.data.conversation import Conversation, TrainOn
from scripts.lib.data.encoding import Encoded, Encoder, Span
from scripts.lib.data.masking import check_words, loss_mask, trained_turns, turn_spans
from scripts.lib.data.records import SOURCES, UnusableRow
from scripts.lib.data.table_writer import TableWriter
from scripts.lib.data.templates import (
    OWN,
    Renderer,
    TemplateSpec,
    for_template,
    load_fast_tokenizer,
    resolve_template,
)
from scripts.lib.errors import TemplateError
from scripts.lib.files import copy_files, files_below
from scripts.lib.model_files import TEMPLATE_FILE, TOKENIZER_FILES

T = TypeVar("T")

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
TEMPLATE_FOLDER = "additional_chat_templates"


@dataclass(frozen=True, kw_only=True)
class RenderSpec:
    """What decides the shards of a dataset for a model.

    Attributes:
        template: `tokenizer` (the model's own), `chatml`, or `{"name", "text"}`.
        train_on: Whose tokens carry loss: every assistant turn, the last one, or all tokens.
        max_length_tokens: Longest conversation.
        on_too_long: Drop longer ones, or cut them (kept while a trained token is left).
    """

    template: TemplateSpec
    train_on: TrainOn
    max_length_tokens: int
    on_too_long: Literal["drop", "truncate"]


class _Rendered(TypedDict):
    """One conversation on its way to a shard."""

    conversation_id: str
    conversation: Conversation
    text: str
    spans: list[Span]


@dataclass(kw_only=True)
class _Tally:
    """Counts for the facts."""

    findings: Findings = field(default_factory=Findings)
    splits: dict[str, Counter[str]] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    read: int = 0
    truncated: int = 0
    defused: int = 0

    def drop(self, conversation_id: str, reason: str, detail: str) -> None:
        self.dropped[reason] += 1
        shown = self.examples.setdefault(reason, [])
        if len(shown) < SHOWN_EXAMPLES:
            shown.append(f"{conversation_id}: {detail}")
            print(f"dropped, {reason}: {shown[-1]}", flush=True)

    def tokens(self) -> dict[str, Any]:
        return {
            "conversations": self.read,
            "kept": self.findings.rows,
            "dropped": dict(sorted(self.dropped.items())),
            "truncated": self.truncated,
            "control_text_defused": self.defused,
            "splits": {split: dict(sorted(self.splits[split].items())) for split in self.splits},
        }


def render_shards(spec: RenderSpec, chat: Path, model: Path, out: Path) -> dict[str, Any]:
    """Write shards of tokens and loss masks, the tokenizer that goes with them, and the contract.

    Args:
        spec: What decides the result.
        chat: Folder of `format_chat`.
        model: Folder of the model; only its tokenizer files are read.
        out: Empty folder for `{train,valid,test}-00000.parquet`, `tokenizer/`, `contract.json`,
            and `summary.json` (the counts, and an example of each reason to drop).

    Returns:
        The facts: `{"contract": {"passed", "checks"}, "tokens": {...}}`. A contract that does not
        hold is a fact, not an error.

    Raises:
        TemplateError: If there is no template, no fast tokenizer, or the template refuses a plain
            question and answer or every conversation.
    """
    tokenizer = load_fast_tokenizer(model)
    template = resolve_template(spec.template, tokenizer)
    stage = _Stage(spec, Renderer(tokenizer, template), Encoder(tokenizer))
    stage.renderer.text(golden_conversation(system=False, several=False))
    for split in SOURCES:
        if (table := chat / f"{split}.parquet").is_file():
            stage.write_split(split, table, out)
    tally = stage.tally
    if tally.dropped["template_refuses"] == tally.read:
        raise TemplateError(
            f"the template refuses every conversation of {chat}, for example"
            f" {'; '.join(tally.examples.get('template_refuses', []))}; give the run a `template`"
            " that can write them, such as chatml, or repair the rows"
        )
    contract = prove_template(stage.renderer, stage.encoder, spec.train_on, tally.findings)
    copy_tokenizer(model, out / "tokenizer", None if spec.template == OWN else template.text)
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
    lost = tokens["dropped"]
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in lost.items())
    return (
        f"{tokens['conversations']:,} conversations: {tokens['kept']:,} rendered, of which"
        f" {tokens['truncated']:,} were cut, {sum(lost.values()):,} dropped"
        f"{f' ({reasons})' if reasons else ''}; {trained:,} of {every:,} tokens are trained on"
    )


def copy_tokenizer(model: Path, target: Path, template: str | None) -> None:
    """Copy a tokenizer byte for byte, with another chat template if one is given.

    Args:
        model: Folder that holds the tokenizer.
        target: Folder to make.
        template: Text of the new template, or None to keep the tokenizer's own.
    """
    target.mkdir()
    for name in (*TOKENIZER_FILES, *([TEMPLATE_FILE] if template is None else [])):
        if (model / name).is_file():
            shutil.copyfile(model / name, target / name)
    if template is None:
        copy_files(files_below(model / TEMPLATE_FOLDER), target / TEMPLATE_FOLDER)
        return
    (target / TEMPLATE_FILE).write_bytes(template.encode())
    settings_file = target / "tokenizer_config.json"
    if settings_file.is_file():
        settings = json.loads(settings_file.read_text(encoding="utf-8"))
        if settings.pop("chat_template", None) is not None:
            _write_json(settings_file, settings)


class _Stage:
    """The tools of one rendering and what they have seen."""

    def __init__(self, spec: RenderSpec, renderer: Renderer, encoder: Encoder) -> None:
        self.spec, self.renderer, self.encoder = spec, renderer, encoder
        self.tally = _Tally()

    def write_split(self, split: str, table: Path, out: Path) -> None:
        """Render one table of conversations into shards, in order."""
        counts = self.tally.splits.setdefault(
            split, Counter(conversations=0, tokens=0, trained_tokens=0, longest_tokens=0)
        )
        with TableWriter(
            lambda part: out / f"{split}-{part:05d}.parquet", SHARD_SCHEMA, ROWS_PER_SHARD
        ) as shard:
            for row in self._rows(table):
                shard.add(row)
                tokens = len(row["input_ids"])
                counts["conversations"] += 1
                counts["tokens"] += tokens
                counts["trained_tokens"] += sum(row["loss_mask"][1:])
                counts["longest_tokens"] = max(counts["longest_tokens"], tokens)

    def _rows(self, table: Path) -> Iterator[dict[str, Any]]:
        with pq.ParquetFile(table) as source:
            for batch in source.iter_batches(batch_size=BATCH_ROWS):
                found = (self._unless_unusable(self._render, row) for row in batch.to_pylist())
                rendered = [one for one in found if one is not None]
                encoded = self.encoder.encode([one["text"] for one in rendered])
                done = map(partial(self._unless_unusable, self._finish), rendered, encoded)
                rows = [row for row in done if row is not None]
                decoded = self.encoder.decode([row["input_ids"] for row in rows])
                for row, text in zip(rows, decoded, strict=True):
                    self.tally.findings.not_reversible += text != row["text"]
                    yield row

    def _unless_unusable(
        self, step: Callable[..., T], one: Mapping[str, Any], *more: object
    ) -> T | None:
        """Run one step on a conversation; None, and a count, if it cannot be used."""
        try:
            return step(one, *more)
        except UnusableRow as error:
            reason, detail = error.reason, error.detail
        except TemplateError as error:
            reason, detail = "template_refuses", str(error)
        self.tally.drop(one["conversation_id"], reason, detail)
        return None

    def _render(self, row: Mapping[str, Any]) -> _Rendered:
        self.tally.read += 1
        conversation = Conversation.from_row(row)
        turns = trained_turns(conversation, self.spec.train_on)
        text = self.renderer.text(conversation)
        self.tally.findings.look_at(conversation)
        spans = [(0, len(text))]
        if self.spec.train_on != "all":
            spans = turn_spans(self.renderer, conversation, text, turns)
        check_words(conversation, text, turns, spans)
        return _Rendered(
            conversation_id=row["conversation_id"],
            conversation=conversation,
            text=text,
            spans=spans,
        )

    def _finish(self, one: _Rendered, encoded: Encoded) -> dict[str, Any]:
        """Return the row of a shard."""
        limit = self.spec.max_length_tokens
        control_text = self.encoder.has_control_text(one["conversation"])
        if control_text:
            encoded = self._defused(one)
        loss = loss_mask(encoded, one["text"], one["spans"], self.encoder.special_ids)
        mask = [1] * len(encoded.ids) if self.spec.train_on == "all" else loss.mask
        text, too_long = one["text"], len(encoded.ids) > limit
        if too_long and self.spec.on_too_long == "drop":
            raise UnusableRow("too_long", f"{len(encoded.ids)} tokens, the limit is {limit}")
        if too_long:
            text, mask = text[: encoded.spans[limit - 1][1]], mask[:limit]
        if not any(mask[1:]):  # the first token of a row is never predicted
            raise UnusableRow("nothing_to_train_on", "no trained token is left")
        self.tally.truncated += too_long
        self.tally.defused += control_text
        ids = encoded.ids[:limit]
        self._note(ids, mask, ended=loss.ended)
        return {
            "conversation_id": one["conversation_id"],
            "text": text,
            "input_ids": ids,
            "loss_mask": mask,
        }

    def _defused(self, one: _Rendered) -> Encoded:
        hide = self.encoder.with_placeholders
        conversation = one["conversation"]
        messages = hide(for_template(conversation.messages))
        hidden = self.renderer.render(messages, hide(conversation.tools))
        encoded = self.encoder.encode_defused(one["text"], hidden)
        if encoded is None:
            raise UnusableRow(
                "control_token_in_content",
                "the data holds the text of a control token, and this tokenizer cannot tell them"
                " apart",
            )
        return encoded

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
