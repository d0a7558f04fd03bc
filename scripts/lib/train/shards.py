"""Shards on disk -> the datasets that training reads, and the prompts that prove a merge."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datasets import Dataset
from numpy.typing import NDArray
from trl import pack_dataset

from scripts.lib.errors import TrainingError
from scripts.lib.model_files import CONTROL_TOKENS_FILE

IGNORED = -100  # the label that PyTorch's cross entropy leaves out
PROMPT_COUNT = 8
PROMPT_TOKENS = 64  # long enough for a template and a question; eight of them take a second


@dataclass(frozen=True, kw_only=True)
class ShardFacts:
    """What the shards of one split hold.

    Args:
        rows: Conversations.
        tokens: All tokens.
        trained_tokens: Tokens that the loss looks at.
        longest: Tokens of the longest row.
        largest_id: Largest token id.
    """

    rows: int
    tokens: int
    trained_tokens: int
    longest: int
    largest_id: int


def shard_files(shards: Path, split: str) -> list[Path]:
    """Return the shard files of *split* ("train" or "valid") in *shards*, in order."""
    return sorted(shards.glob(f"{split}-*.parquet"))


def read_facts(files: Sequence[Path]) -> ShardFacts:
    """Count what *files* hold, one shard in memory at a time."""
    rows = tokens = trained = longest = largest = 0
    for file in files:
        table = pq.read_table(file, columns=["input_ids", "loss_mask"])
        ids = table["input_ids"]
        rows += table.num_rows
        tokens += pc.sum(pc.list_value_length(ids)).as_py() or 0
        predicted = pc.list_slice(table["loss_mask"], 1)  # the first token of a row never is
        trained += pc.sum(pc.list_flatten(predicted)).as_py() or 0
        longest = max(longest, pc.max(pc.list_value_length(ids)).as_py() or 0)
        largest = max(largest, pc.max(pc.list_flatten(ids)).as_py() or 0)
    return ShardFacts(
        rows=rows, tokens=tokens, trained_tokens=trained, longest=longest, largest_id=largest
    )


def check_facts(facts: ShardFacts, shards: Path, max_length_tokens: int, vocabulary: int) -> None:
    """Refuse shards that cannot be trained on.

    Args:
        facts: Of the train split.
        shards: Where they come from, for the message.
        max_length_tokens: Longest row that the run allows.
        vocabulary: Rows of the model's embedding.

    Raises:
        TrainingError: If nothing is trained on, a row is too long, or an id has no embedding.
    """
    if facts.trained_tokens == 0:
        raise TrainingError(
            f"{shards}: the train split holds {facts.rows} rows and not one token to train on."
            " Look at the dataset's ledger for dropped rows, and at train_on and the template."
        )
    if facts.longest > max_length_tokens:
        raise TrainingError(
            f"{shards}: the longest row has {facts.longest} tokens, the run allows"
            f" {max_length_tokens}. Render the shards with the max_length_tokens of the run."
        )
    if facts.largest_id >= vocabulary:
        raise TrainingError(
            f"{shards}: token id {facts.largest_id} has no row in the model's embedding of"
            f" {vocabulary}. The shards were rendered with the tokenizer of another model."
        )


def read_new_tokens(shards: Path) -> dict[str, int]:
    """Return the control tokens that the shards' tokenizer has and the model's has not: -> id."""
    file = shards / CONTROL_TOKENS_FILE
    found: dict[str, int] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return found


def load_shards(files: Sequence[Path], cache: Path, chosen: NDArray[Any] | None = None) -> Dataset:
    """Return the rows of *files* as `input_ids` and `labels`, memory-mapped from *cache*.

    A label is the token's own id where the loss mask is 1, and IGNORED elsewhere; rows without a
    trained token are left out, since they teach nothing and would only take up steps.

    Args:
        files: Shards.
        cache: Where to map them from.
        chosen: Places of the rows to return, in this order; None for all.
    """
    dataset = Dataset.from_parquet([str(file) for file in files], cache_dir=str(cache))
    if chosen is not None:
        dataset = dataset.select(chosen)
    dataset = dataset.map(_labels, batched=True, remove_columns=dataset.column_names)
    return dataset.filter(_is_trained, batched=True)


def _labels(rows: Mapping[str, list[list[int]]]) -> dict[str, Any]:
    pairs = zip(rows["input_ids"], rows["loss_mask"], strict=True)
    labels = [
        [token if keep else IGNORED for token, keep in zip(ids, mask, strict=True)]
        for ids, mask in pairs
    ]
    return {"input_ids": rows["input_ids"], "labels": labels}


def _is_trained(rows: Mapping[str, list[list[int]]]) -> list[bool]:
    # The first token of a row is never predicted.
    return [any(label != IGNORED for label in labels[1:]) for labels in rows["labels"]]


def pack(dataset: Dataset, max_length_tokens: int) -> Dataset:
    """Lay conversations end to end in rows of at most *max_length_tokens*, none cut.

    Best fit, longest first, among 1,000 neighbours; `seq_lengths` remembers the boundaries,
    by which attention and positions keep the conversations apart.
    """
    return pack_dataset(dataset, max_length_tokens, "bfd")


def lengths_of(dataset: Dataset) -> list[int]:
    """Return the tokens of each row."""
    column = dataset.with_format("arrow")[:]["input_ids"]
    lengths: list[int] = pc.list_value_length(column).to_pylist()
    return lengths


@dataclass(frozen=True, kw_only=True)
class Stored:
    """Rows of a split of one dataset, as they lie in its shards.

    Attributes:
        files: The shards.
        chosen: Places of the rows that count, ascending; None for all.
        label: What tells the names of these rows from those of other datasets.
    """

    files: Sequence[Path]
    chosen: NDArray[Any] | None = None
    label: str = ""

    def rows(self, size: int, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Yield the rows with some of their columns, read so many at once."""
        first = 0
        for file in self.files:
            for batch in pq.ParquetFile(file).iter_batches(size, columns=[*columns]):
                last = first + batch.num_rows
                if self.chosen is not None:
                    inside = self.chosen[(self.chosen >= first) & (self.chosen < last)]
                    batch = batch.take(pa.array(inside - first, pa.int64()))
                yield from batch.to_pylist()
                first = last


def read_prompts(sets: Sequence[Stored]) -> list[list[int]]:
    """Return PROMPT_COUNT rows, cut to PROMPT_TOKENS ids each: the first ones of each dataset."""
    found = [
        [
            row["input_ids"][:PROMPT_TOKENS]
            for row in islice(one.rows(PROMPT_COUNT, ["input_ids"]), PROMPT_COUNT)
        ]
        for one in sets
    ]
    in_turn = chain.from_iterable(zip_longest(*found))
    return [row for row in in_turn if row is not None][:PROMPT_COUNT]
