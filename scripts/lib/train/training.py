"""Fine-tune one LoRA adapter on rendered shards; a run can be stopped, and goes on from there.

    train_adapter(spec, model, shards, out, scratch=scratch, threads=8, micro_batch=None)

The recipe (measured on SmolLM2-135M, 2 cores, packed rows of 1,024 tokens, tokens per CPU second):
TRL's own step in bfloat16 85; with the loss over labelled positions only 110; with attention
within each conversation as well 155.
"""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
from accelerate import PartialState
from datasets import Dataset
from transformers import (
    AutoConfig,
    AutoTokenizer,
    PrinterCallback,
    TrainerCallback,
)

from scripts.lib.device import compute_device
from scripts.lib.errors import TrainingError
from scripts.lib.files import copy_files, files_below
from scripts.lib.lora import PROMPTS_FILE, changes_base
from scripts.lib.out_of_memory import until_it_fits
from scripts.lib.train.arguments import training_arguments
from scripts.lib.train.callbacks import (
    BestKeeper,
    Keeper,
    Progress,
    StopRequest,
    held_out,
    say,
)
from scripts.lib.train.launch import (
    check_batch,
    default_micro_batch,
    smaller_micro_batch,
    world_size,
)
from scripts.lib.train.lora_config import lora_config
from scripts.lib.train.loss_verdict import assess_losses
from scripts.lib.train.model import arithmetic, load_base
from scripts.lib.train.new_tokens import give_rows
from scripts.lib.train.output import save_adapter, thin
from scripts.lib.train.shards import (
    ShardFacts,
    check_facts,
    load_shards,
    pack,
    read_facts,
    read_new_tokens,
    read_prompts,
    shard_files,
)
from scripts.lib.train.spec import TrainSpec, check_spec
from scripts.lib.train.trainer import Trainer, last_checkpoint

CHECKPOINT_SECONDS = 300.0  # what a killed job loses at most


def train_adapter(
    spec: TrainSpec,
    model: Path,
    shards: Path,
    out: Path,
    *,
    scratch: Path,
    threads: int,
    micro_batch: int | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> dict[str, Any]:
    """Train one adapter and write it, its history and its verdict to *out*.

    A run that was killed goes on from its last checkpoint in *scratch*, to the same bytes.

    Args:
        spec: What to train.
        model: Folder of the base model.
        shards: Folder of rendered shards, with `tokenizer/`.
        out: Empty folder for the results.
        scratch: Folder for checkpoints, the same for each attempt at this spec and no other.
        threads: CPU threads.
        micro_batch: Sequences per forward pass and process; None chooses by length. Halved when
            memory runs out.
        checkpoint_seconds: Least time between two checkpoints.

    Returns:
        Facts: history, verdict, trainable_parameters, steps, kept_step, train_rows, valid_rows,
        train_tokens, trained_tokens, arithmetic (the dtype that was computed in).

    Raises:
        TrainingError: If spec, model and shards do not fit, memory does not suffice, or the job
            was told to end.
    """
    torch.set_num_threads(threads)
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    check_spec(spec)
    per_process = spec.training.batch_size // world_size()
    size = micro_batch or default_micro_batch(
        spec.training.max_length_tokens, per_process, compute_device()
    )
    check_batch(spec.training.batch_size, size)
    if arithmetic(spec) != spec.training.dtype:
        say(f"this processor cannot compute in {spec.training.dtype}: {arithmetic(spec)} is used")
    data = _load_data(spec, model, shards, scratch)
    trainer, _ = until_it_fits(
        lambda size: _fit(spec, model, shards, data, scratch, size, checkpoint_seconds),
        size,
        partial(_smaller, per_process),
    )
    return _write(spec, trainer, model, shards, data, scratch, out)


def _smaller(per_process: int, size: int, cause: str) -> int:
    """Return the next smaller micro batch and say so; see `smaller_micro_batch`."""
    less = smaller_micro_batch(size, per_process, cause)
    say(
        f"memory ran out; going on with {less} sequences per pass and"
        f" {per_process // less} passes per step ({cause})"
    )
    return less


@dataclass(frozen=True, kw_only=True)
class _Data:
    """The splits as datasets, with what the shards hold, and tokens that are new to the model."""

    train: Dataset
    valid: Dataset | None
    facts: ShardFacts
    prompts: list[list[int]]
    new_tokens: dict[str, int]


def _load_data(spec: TrainSpec, model: Path, shards: Path, scratch: Path) -> _Data:
    """Check and load the shards; packed where the spec says so."""
    train_files, valid_files = shard_files(shards, "train"), shard_files(shards, "valid")
    facts = read_facts(train_files)
    rows = AutoConfig.from_pretrained(model).get_text_config().vocab_size
    new_tokens = read_new_tokens(shards)
    vocabulary = max(rows, *(id_ + 1 for id_ in new_tokens.values()), 0)
    check_facts(facts, shards, spec.training.max_length_tokens, vocabulary)
    if new_tokens:
        told = ", ".join(f"{token} {id_}" for token, id_ in new_tokens.items())
        say(f"new to the model, whose embedding has {rows} rows: {told}; their rows are trained")
    if spec.training.early_stopping_patience is not None and not valid_files:
        raise TrainingError(
            f"{shards} has no valid split, which early_stopping_patience watches. Set"
            " valid_fraction for the dataset, or early_stopping_patience: null."
        )
    cache = scratch / "datasets"
    with PartialState().main_process_first():
        train = load_shards(train_files, cache)
        valid = load_shards(valid_files, cache) if valid_files else None
        if spec.training.packing:
            train = pack(train, spec.training.max_length_tokens)
    prompts = read_prompts(valid_files or train_files)
    return _Data(
        train=train, valid=valid or None, facts=facts, prompts=prompts, new_tokens=new_tokens
    )


def _fit(
    spec: TrainSpec,
    model: Path,
    shards: Path,
    data: _Data,
    scratch: Path,
    micro_batch: int,
    checkpoint_seconds: float,
) -> Trainer:
    """Train from the last checkpoint, or from the start, to the end.

    Raises:
        TrainingError: If the job was told to end; a checkpoint is then in *scratch*.
    """
    checkpoint = last_checkpoint(scratch)
    arguments = training_arguments(
        spec.training,
        scratch,
        micro_batch,
        train_rows=len(data.train),
        evaluated=data.valid is not None,
        resumed=checkpoint is not None,
    )
    stop = StopRequest()
    callbacks: list[TrainerCallback] = [Keeper(stop, checkpoint_seconds), Progress()]
    if spec.training.early_stopping_patience is not None:
        callbacks.append(BestKeeper(scratch, spec.training.early_stopping_patience))
    tokenizer = AutoTokenizer.from_pretrained(shards / "tokenizer")
    base = load_base(spec, model)
    known = max(tokenizer.get_vocab().values()) + 1
    rows = give_rows(base, spec, list(data.new_tokens.values()), known)
    trainer = Trainer(
        model=base,
        args=arguments,
        train_dataset=data.train,
        eval_dataset=data.valid,
        processing_class=tokenizer,
        peft_config=lora_config(spec, rows),
        callbacks=callbacks,
    )
    trainer.remove_callback(PrinterCallback)
    # Left to itself, PEFT would put the whole of an embedding that grew into each checkpoint.
    save = partial(trainer.model.save_pretrained, save_embedding_layers=False)
    trainer.model.save_pretrained = save
    if changes_base(spec.lora.init):
        trainer.model.save_pretrained(scratch / "initial")
    if checkpoint:
        say(f"going on from {checkpoint.name}")
    with stop.listening():
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    step, steps = trainer.state.global_step, trainer.state.max_steps
    if stop.received and step < steps:
        raise TrainingError(
            f"the job was told to end (SIGTERM) and stopped after step {step} of {steps}. Its"
            f" checkpoint is in {scratch}; the next start goes on from there."
        )
    return trainer


def _write(
    spec: TrainSpec,
    trainer: Trainer,
    model: Path,
    shards: Path,
    data: _Data,
    scratch: Path,
    out: Path,
) -> dict[str, Any]:
    """Write the files of the artifact and return its facts."""
    state = trainer.state
    kept_step = state.global_step
    if spec.training.early_stopping_patience is not None and held_out(state):
        best = BestKeeper(scratch, spec.training.early_stopping_patience)
        kept_step = best.restore(trainer.model, state)
    if trainer.is_world_process_zero():
        initial = scratch / "initial" if changes_base(spec.lora.init) else None
        save_adapter(trainer.model, model.name, out, initial)
        copy_files(files_below(shards / "tokenizer"), out)
    history = thin(state.log_history)
    # An early stop keeps an earlier adapter: what came after it says nothing about it.
    verdict = assess_losses([event for event in history if event["step"] <= kept_step])
    if trainer.is_world_process_zero():
        lines = [json.dumps(event, allow_nan=False) for event in history]
        (out / "history.jsonl").write_text("\n".join(lines) + "\n")
        (out / "verdict.json").write_text(json.dumps(verdict, indent=1) + "\n")
        (out / PROMPTS_FILE).write_text(json.dumps(data.prompts) + "\n")
        say(f"verdict: {verdict['verdict']}. {verdict['evidence']}")
    return {
        "history": history,
        "verdict": verdict,
        "trainable_parameters": trainer.model.num_parameters(only_trainable=True),
        "steps": state.global_step,
        "kept_step": kept_step,
        "train_rows": data.facts.rows,
        "train_sequences": len(data.train),
        "valid_rows": len(data.valid) if data.valid else 0,
        "train_tokens": data.facts.tokens,
        "trained_tokens": data.facts.trained_tokens,
        "arithmetic": arithmetic(spec),
    }
