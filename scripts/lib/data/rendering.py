"""Render conversations with a chat template into tokens and loss masks, once for all runs."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from scripts.lib.data.contract import golden_conversation, prove_template
from scripts.lib.data.control_tokens import add_tokens, lacking_tokens
from scripts.lib.data.encoding import Encoder
from scripts.lib.data.processes import in_processes
from scripts.lib.data.records import SOURCES
from scripts.lib.data.render_tally import Tally, told
from scripts.lib.data.rendered_blocks import (
    SHARD_SCHEMA,
    Block,
    BlockRenderer,
    Rendered,
    RenderSpec,
)
from scripts.lib.data.renderer import Renderer
from scripts.lib.data.table_writer import TableWriter
from scripts.lib.data.templates import (
    OWN,
    TRL,
    asked_through,
    load_fast_tokenizer,
    resolve_template,
)
from scripts.lib.data.tokenizer_files import copy_tokenizer
from scripts.lib.data.training_templates import other_templates, training_template
from scripts.lib.errors import TemplateError
from scripts.lib.model_files import CONTROL_TOKENS_FILE
from scripts.lib.progress import Count

__all__ = ["RenderSpec", "render_shards", "told"]

BATCH_ROWS = 256
# Other processes take seconds to begin, in which so many blocks are done.
BLOCKS_AT_HOME = 40
ROWS_PER_SHARD = 50_000


def render_shards(
    spec: RenderSpec, chat: Path, model: Path, out: Path, *, processes: int = 1
) -> dict[str, Any]:
    """Write shards of tokens and loss masks, the tokenizer that goes with them, and the contract.

    Args:
        spec: What decides the result.
        chat: Folder of `format_chat`.
        model: Folder of the model; only its tokenizer files are read.
        out: Empty folder for `{train,valid,test}-00000.parquet`, `tokenizer/`, `contract.json`,
            `summary.json` (the counts, and an example of each reason to drop), and, where the
            tokenizer lacks control tokens of the template, `control_tokens.json`: those that were
            added to `tokenizer/`, with their ids.
        processes: How many render; the bytes do not depend on it, and few conversations need one.

    Returns:
        The facts: `{"contract": {"passed", "checks"}, "tokens": {...}}`. A contract that does not
        hold is a fact, not an error.

    Raises:
        TemplateError: If there is no template, no fast tokenizer, or the template refuses a plain
            question and answer or every conversation.
        RoomError: If one of the processes is killed.
    """
    tokenizer = load_fast_tokenizer(model)
    asked = None
    if spec.template == TRL:
        template = training_template(tokenizer)
        asked = resolve_template(OWN, tokenizer)
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
    renderer = Renderer(tokenizer, template)
    renderer.text(golden_conversation())
    start = partial(BlockRenderer, spec, tokenizer, template, asked)
    tally = _write_shards(start, chat, out, processes)
    if tally.dropped["template_refuses"] == tally.read:
        raise TemplateError(
            f"the template refuses every conversation of {chat}, for example"
            f" {'; '.join(tally.examples.get('template_refuses', []))}; give the run a `template`"
            f" that can write them ({other_templates(tokenizer, template)}), or repair the rows"
        )
    prompts = Renderer(tokenizer, asked) if asked else None
    contract = prove_template(renderer, Encoder(tokenizer), spec, tally.findings, added, prompts)
    _write_json(out / "contract.json", contract)
    tokens = tally.tokens()
    examples = {"dropped_examples": dict(sorted(tally.examples.items()))}
    _write_json(out / "summary.json", tokens | examples)
    facts = {name: contract[name] for name in ("passed", "checks")}
    return {"contract": facts, "tokens": tokens}


def _write_shards(
    start: Callable[[], Callable[[Block], Rendered]], chat: Path, out: Path, processes: int
) -> Tally:
    """Write the rows of all splits, in order, and return what was counted."""
    tally = Tally()
    tables = {name: table for name in SOURCES if (table := chat / f"{name}.parquet").is_file()}
    total = sum(pq.read_metadata(table).num_rows for table in tables.values())
    count = Count("conversations rendered", total)
    with ExitStack() as stack:
        shards: dict[str, TableWriter] = {}
        for split in tables:
            tally.begin(split)
            writer = TableWriter(partial(_shard, out, split), SHARD_SCHEMA, ROWS_PER_SHARD)
            shards[split] = stack.enter_context(writer)
        blocks = (block for split, table in tables.items() for block in _blocks(split, table))
        for done in in_processes(start, blocks, processes, at_home=BLOCKS_AT_HOME):
            shards[done.split].add_table(done.rows)
            count.add(done.tally.read)
            for reason, text in tally.add(done.tally):
                print(f"dropped, {reason}: {text}", flush=True)
    return tally


def _blocks(split: str, table: Path) -> Iterator[Block]:
    with pq.ParquetFile(table) as source:
        for rows in source.iter_batches(batch_size=BATCH_ROWS):
            yield Block(split, rows)


def _shard(out: Path, split: str, part: int) -> Path:
    return out / f"{split}-{part:05d}.parquet"


def _write_json(path: Path, content: object) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8")
