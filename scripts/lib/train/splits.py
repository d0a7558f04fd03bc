"""The rows of a training: its splits as datasets, checked against the model that they are for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from accelerate import PartialState
from datasets import Dataset, concatenate_datasets
from transformers import AutoConfig

from scripts.lib.errors import TrainingError
from scripts.lib.machine.device import compute_device
from scripts.lib.train.answers import Questions, read_questions
from scripts.lib.train.callbacks import say
from scripts.lib.train.loop import LoopSpec
from scripts.lib.train.mixture import Mixture, Portion, Rows, mix, told
from scripts.lib.train.mixture_document import Given
from scripts.lib.train.optimization import OWN_SET, needs_held_out
from scripts.lib.train.shards import (
    ShardFacts,
    Stored,
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
    given: Sequence[Given] = ()

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence that is trained on."""
        return max(lengths_of(self.train))


def load_splits(
    loop: LoopSpec,
    model: Path,
    shards: Sequence[Path],
    portions: Sequence[Portion],
    evaluation: Sequence[Path],
    scratch: Path,
) -> Splits:
    """Check and load the shards; packed where the loop says so.

    Args:
        loop: How long, how fast and on what is trained.
        model: Folder of the base, for the rows of its embedding.
        shards: Folders of rendered shards, one for each dataset.
        portions: What is taken of each of them; empty where all of one is.
        evaluation: Folders of those whose valid rows the loop's `evaluate_on` names.
        scratch: Folder for the datasets' files.

    Raises:
        TrainingError: If they do not fit the model or the loop.
    """
    train_files, valid_files = (
        [shard_files(folder, split) for folder in shards] for split in ("train", "valid")
    )
    rows = AutoConfig.from_pretrained(model).get_text_config().vocab_size
    new_tokens = _new_tokens(shards)
    vocabulary = max(rows, *(id_ + 1 for id_ in new_tokens.values()), 0)
    each = [read_facts(files) for files in train_files]
    for one, folder in zip(each, shards, strict=True):
        check_facts(one, folder, loop.max_length_tokens, vocabulary)
    if new_tokens:
        said = ", ".join(f"{token} {id_}" for token, id_ in new_tokens.items())
        say(f"new to the model, whose embedding has {rows} rows: {said}; their rows are trained")
    watching = needs_held_out(vars(loop))
    lacking = [folder for folder, files in zip(shards, valid_files, strict=True) if not files]
    if watching and lacking:
        raise TrainingError(
            f"{lacking[0]} has no valid split, which {watching[0]} watches. Set valid_fraction for"
            f" the dataset, or do without {watching[0]}."
        )
    mixture = _mixture(shards, portions) if portions else None
    facts = _facts_of(each, mixture) if mixture else each[0]
    held_out = _stored(valid_files, mixture)
    cache = scratch / "datasets"
    with PartialState(cpu=compute_device() == "cpu").main_process_first():
        train = load_shards(_all(train_files), cache, mixture.train if mixture else None)
        valid = {OWN_SET: _load_held_out(held_out, cache)} if held_out else {}
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
        prompts=read_prompts(held_out or [Stored(files=files) for files in train_files]),
        new_tokens=new_tokens,
        questions=read_questions(
            loop, shards[0], held_out, facts.tokens * loop.batch_size / len(train)
        ),
        given=mixture.given if mixture else (),
    )


def _all(files: Sequence[Sequence[Path]]) -> list[Path]:
    """Return the shards of all datasets."""
    return [file for one in files for file in one]


def _facts_of(each: Sequence[ShardFacts], mixture: Mixture) -> ShardFacts:
    """Return what an epoch over several datasets holds."""
    return ShardFacts(
        rows=len(mixture.train),
        tokens=mixture.tokens,
        trained_tokens=mixture.trained_tokens,
        longest=max(one.longest for one in each),
        largest_id=max(one.largest_id for one in each),
    )


def _new_tokens(shards: Sequence[Path]) -> dict[str, int]:
    """Return the control tokens that are new to the model, the same for all datasets.

    Raises:
        TrainingError: If they are not the same.
    """
    first, *others = shards
    found = read_new_tokens(first)
    for other in others:
        if read_new_tokens(other) != found:
            raise TrainingError(
                f"{first} and {other} were rendered with other control tokens. Render both with"
                " the same model and template."
            )
    return found


def _mixture(shards: Sequence[Path], portions: Sequence[Portion]) -> Mixture:
    """Choose the rows of several datasets, and say what each gives.

    Raises:
        TrainingError: If one gives nothing.
    """
    train, valid, test = (
        [Rows.of(shard_files(folder, split)) for folder in shards]
        for split in ("train", "valid", "test")
    )
    mixture = mix(train, valid, test, portions)
    for folder, given in zip(shards, mixture.given, strict=True):
        say(f"{folder.name}: {told(given)}")
        if not given["rows"]:
            raise TrainingError(
                f"{folder}: other datasets of the run hold out all of its rows, so none is trained"
                " on. Take it out of the run's dataset, or give the others other rows."
            )
    return mixture


def _stored(valid_files: Sequence[Sequence[Path]], mixture: Mixture | None) -> list[Stored]:
    """Return the held-out rows that are measured, of each dataset that has some."""
    if mixture is None:
        return [Stored(files=files) for files in valid_files if files]
    return [
        Stored(files=files, chosen=chosen, label=f"{number}: " if len(valid_files) > 1 else "")
        for number, (files, chosen) in enumerate(zip(valid_files, mixture.valid, strict=True), 1)
        if len(chosen)
    ]


def _load_held_out(sets: Sequence[Stored], cache: Path) -> Dataset:
    """Load the held-out rows of all datasets, one behind the other."""
    loaded = [load_shards(one.files, cache, one.chosen) for one in sets]
    return concatenate_datasets(loaded) if len(loaded) > 1 else loaded[0]


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
