"""The rows of a training: its splits as datasets, checked against the model that they are for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from accelerate import PartialState
from datasets import Dataset
from transformers import AutoConfig

from scripts.lib.errors import TrainingError
from scripts.lib.machine.device import compute_device
from scripts.lib.train.answers import Questions, read_questions
from scripts.lib.train.callbacks import say
from scripts.lib.train.loop import LoopSpec
from scripts.lib.train.optimization import OWN_SET, needs_held_out
from scripts.lib.train.shards import (
    ShardFacts,
    check_facts,
    lengths_of,
    load_shards,
    pack,
    read_facts,
    read_new_tokens,
    read_prompts,
    shard_files,
)


@dataclass(frozen=True, kw_only=True)
class Splits:
    """The splits as datasets, with what the shards hold, and tokens that are new to the model."""

    train: Dataset
    valid: Mapping[str, Dataset]
    facts: ShardFacts
    prompts: list[list[int]]
    new_tokens: dict[str, int]
    questions: Questions | None

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence that is trained on."""
        return max(lengths_of(self.train))


def load_splits(
    loop: LoopSpec, model: Path, shards: Path, evaluation: Sequence[Path], scratch: Path
) -> Splits:
    """Check and load the shards; packed where the loop says so.

    Args:
        loop: How long, how fast and on what is trained.
        model: Folder of the base, for the rows of its embedding.
        shards: Folder of rendered shards.
        evaluation: Folders of those whose valid rows the loop's `evaluate_on` names.
        scratch: Folder for the datasets' files.

    Raises:
        TrainingError: If they do not fit the model or the loop.
    """
    train_files, valid_files = shard_files(shards, "train"), shard_files(shards, "valid")
    facts = read_facts(train_files)
    rows = AutoConfig.from_pretrained(model).get_text_config().vocab_size
    new_tokens = read_new_tokens(shards)
    vocabulary = max(rows, *(id_ + 1 for id_ in new_tokens.values()), 0)
    check_facts(facts, shards, loop.max_length_tokens, vocabulary)
    if new_tokens:
        told = ", ".join(f"{token} {id_}" for token, id_ in new_tokens.items())
        say(f"new to the model, whose embedding has {rows} rows: {told}; their rows are trained")
    watching = needs_held_out(vars(loop))
    if watching and not valid_files:
        raise TrainingError(
            f"{shards} has no valid split, which {watching[0]} watches. Set valid_fraction for the"
            f" dataset, or do without {watching[0]}."
        )
    cache = scratch / "datasets"
    with PartialState(cpu=compute_device() == "cpu").main_process_first():
        train = load_shards(train_files, cache)
        valid = {OWN_SET: load_shards(valid_files, cache)} if valid_files else {}
        for name, folder in zip(loop.evaluate_on, evaluation, strict=True):
            valid[name] = _load_valid(name, folder, vocabulary, cache)
        if loop.packing:
            train = pack(train, loop.max_length_tokens)
    # A set of which no row is trained on has no loss.
    valid = {name: rows for name, rows in valid.items() if len(rows)}
    return Splits(
        train=train,
        valid=valid,
        facts=facts,
        prompts=read_prompts(valid_files or train_files),
        new_tokens=new_tokens,
        questions=read_questions(
            loop, shards, valid_files, facts.tokens * loop.batch_size / len(train)
        ),
    )


def _load_valid(name: str, shards: Path, vocabulary: int, cache: Path) -> Dataset:
    """Load the held-out rows of another dataset than the run's own.

    Raises:
        TrainingError: If there are none, or they hold a token that the model has no embedding for.
    """
    files = shard_files(shards, "valid")
    rows = load_shards(files, cache) if files else None
    if not rows:
        raise TrainingError(
            f"evaluate_on: {name}: {shards} holds no held-out row with a token to predict. Raise"
            " valid_fraction for its dataset, or leave it out."
        )
    if (largest := read_facts(files).largest_id) >= vocabulary:
        raise TrainingError(
            f"evaluate_on: {name}: token id {largest} has no row in the model's embedding of"
            f" {vocabulary}. Its rows hold a control token that those trained on have not."
        )
    return rows
