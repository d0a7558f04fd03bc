"""The flow of a fine-tune on rendered shards: it can be stopped, and goes on from there.

    fine_tune(tuning, model, shards, out, scratch=scratch, threads=8, micro_batch=None)

The recipe (measured on SmolLM2-135M, 2 cores, packed rows of 1,024 tokens, tokens per CPU second):
TRL's own step in bfloat16 85; with the loss over labelled positions only 110; with attention
within each conversation as well 155.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
from accelerate import PartialState
from transformers import (
    AutoTokenizer,
    PreTrainedModel,
    PrinterCallback,
    TrainerCallback,
)

from scripts.lib.errors import TrainingError
from scripts.lib.files import copy_files, files_below
from scripts.lib.machine.device import compute_device
from scripts.lib.machine.out_of_memory import until_it_fits
from scripts.lib.train.answer_faults import Answer
from scripts.lib.train.answers import (
    AnswerKeeper,
    first_and_last,
)
from scripts.lib.train.arguments import count_steps, training_arguments
from scripts.lib.train.attention import SEGMENTS, keeps_apart, stated_attention
from scripts.lib.train.callbacks import (
    BestKeeper,
    Keeper,
    Progress,
    StopRequest,
    held_out,
    loss_key,
    say,
)
from scripts.lib.train.checkpoints import Made, last_checkpoint
from scripts.lib.train.experts import untrained_experts
from scripts.lib.train.loop import LoopSpec
from scripts.lib.train.loss_verdict import Event, Reading, assess_losses, with_answers
from scripts.lib.train.micro_batch import (
    Passes,
    check_batch,
    end_all,
    smaller_passes,
    threads_of_each,
    world_size,
)
from scripts.lib.train.optimization import (
    OWN_SET,
    keeps_best,
    missing_optimizer_package,
    optimization_faults,
)
from scripts.lib.train.passes import passes_of
from scripts.lib.train.records import thin, write_records
from scripts.lib.train.schedules import NO_WARMUP, warmup_of
from scripts.lib.train.sharding import is_sharded, trained_weights, whole_model
from scripts.lib.train.splits import Splits, load_splits
from scripts.lib.train.tracking import NO_TRACKING, Tracking, tracker_callbacks
from scripts.lib.train.trainer import Batches, EvaluationEnded, Trainer
from scripts.lib.train.tuning import Tuning

CHECKPOINT_SECONDS = 300.0  # what a killed job loses at most

_OTHERS_GONE = re.compile(r"gloo/|NCCL|Connection (reset|closed) by peer")


def fine_tune(
    tuning: Tuning,
    model: Path,
    shards: Path | Sequence[Path],
    out: Path,
    *,
    scratch: Path,
    threads: int,
    micro_batch: int | None = None,
    halved: int = 0,
    evaluation: Sequence[Path] = (),
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    tracking: Tracking = NO_TRACKING,
    fsdp: bool = False,
) -> dict[str, Any]:
    """Tune a model and write the result, its history and its verdict to *out*.

    A run that was killed goes on from its last checkpoint in *scratch*, to the same bytes.

    Args:
        tuning: What is trained, and how.
        model: Folder of the base model.
        shards: Folder of rendered shards, with `tokenizer/`; of a mixture one for each dataset.
        out: Empty folder for the results.
        scratch: Folder for checkpoints, the same for each attempt at this spec and no other.
        threads: CPU threads of all processes on this node.
        micro_batch: Sequences per forward pass and process; None chooses by the card's memory, on a
            CPU by length. When memory runs out less is taken (`smaller_passes`): one process does
            so by itself, of several the launcher starts all anew.
        halved: How many times that happened before.
        evaluation: Folders of the shards whose valid rows the loop's `evaluate_on` names.
        checkpoint_seconds: Least time between two checkpoints.
        tracking: Trackers to report to.
        fsdp: Whether processes share the model out; they do by themselves where it fits no GPU.

    Returns:
        Facts: history, verdict, answers (the first and the last), trainable_parameters,
        untrained_experts (numbers of fused experts that neither train nor have an adapter), steps,
        kept_step, train_rows, valid_rows, train_tokens, trained_tokens, arithmetic (the dtype that
        was computed in), mixture (what each dataset of one gave); and `execution`, which is for the
        manifest's: micro_batch, recomputed_every and attention (its kernels), of which nothing
        depends but last digits.

    Raises:
        TrainingError: If spec, model and shards do not fit, memory does not suffice, or the job
            was told to end.
    """
    torch.set_num_threads(threads_of_each(threads))
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    tuning.check(model, scratch)
    loop = tuning.loop
    per_process = loop.batch_size // world_size()
    check_batch(loop.batch_size, micro_batch or 1)
    if tuning.arithmetic != loop.dtype:
        say(f"this processor cannot compute in {loop.dtype}: {tuning.arithmetic} is used")
    folders = [shards] if isinstance(shards, Path) else shards
    data = load_splits(loop, model, folders, tuning.mixture, evaluation, scratch)
    _check_steps(loop, count_steps(loop, len(data.train)))
    sharded = is_sharded(fsdp, tuning.kept_bytes(model))
    less = partial(_smaller, per_process, data.longest)
    passes = passes_of(tuning, model, data.train, micro_batch, sharded=sharded)
    for _ in range(halved):
        passes = smaller_passes(
            passes, per_process, data.longest, compute_device(), "as in the starts before this one"
        )
    trainer, passes = until_it_fits(
        lambda passes: _fit(
            tuning,
            model,
            folders[0],
            data,
            scratch,
            passes,
            (checkpoint_seconds, tracking, sharded),
        ),
        passes,
        less,
    )
    facts = _write(tuning, trainer, model, folders[0], data, scratch, out)
    taken = {
        "micro_batch": passes.sequences,
        "recomputed_every": passes.recomputed,
        "attention": stated_attention(trainer.model),
    }
    return {**facts, "execution": taken}


def _smaller(per_process: int, tokens: int, now: Passes, cause: str) -> Passes:
    """Return what to try next and say so; see `smaller_passes`."""
    less = smaller_passes(now, per_process, tokens, compute_device(), cause)
    if world_size() > 1:
        end_all(now, cause)
    say(
        f"memory ran out; going on with {less.sequences} sequences per pass and"
        f" {per_process // less.sequences} passes per step{less.again} ({cause})"
    )
    return less


def _check_steps(loop: LoopSpec, steps: int) -> None:
    """Refuse an optimizer that is not there, and a course of the rate that does not fit.

    Raises:
        TrainingError: If it does not.
    """
    fault = next(optimization_faults(vars(loop), steps), None)
    if text := f"{fault.key} {fault.text}" if fault else missing_optimizer_package(loop.optim):
        raise TrainingError(f"{text}.")
    warmup = warmup_of(steps, loop.warmup_steps, loop.warmup_ratio)
    if warmup >= steps and loop.scheduler not in NO_WARMUP:
        say(f"the learning rate rises in all of the {steps} steps: it never gets to its highest")


def _fit(
    tuning: Tuning,
    model: Path,
    shards: Path,
    data: Splits,
    scratch: Path,
    passes: Passes,
    execution: tuple[float, Tracking, bool],
) -> Trainer:
    """Train from the last checkpoint, or from the start, to the end.

    Raises:
        TrainingError: If the job was told to end; a checkpoint is then in *scratch*. If the model
            cannot be trained so.
    """
    checkpoint_seconds, tracking, sharded = execution
    made = Made(
        processes=world_size(),
        micro_batch=passes.sequences,
        recomputed=passes.recomputed,
        sharded=sharded,
    )
    checkpoint = last_checkpoint(scratch, made)
    arguments_of = partial(
        training_arguments,
        tuning.loop,
        scratch,
        train_rows=len(data.train),
        evaluated=bool(data.valid),
        resumed=checkpoint is not None and not checkpoint.made.evaluation_due,
        autocast=tuning.autocast,
        sharded=sharded,
    )
    arguments = arguments_of(passes)
    stop = StopRequest()
    callbacks: list[TrainerCallback] = [Keeper(stop, checkpoint_seconds), Progress()]
    if keeps_best(vars(tuning.loop)) or tuning.loop.early_stopping_patience is not None:
        callbacks.append(BestKeeper(scratch, tuning, trained_weights if sharded else None))
    if PartialState().is_main_process:
        arguments.run_name = tracking.name or None
        callbacks += tracker_callbacks(tracking)
    if data.questions and sharded:
        say("the model is shared out among processes: it is asked no held-out rows")
    elif data.questions:
        callbacks.append(AnswerKeeper(data.questions, scratch, autocast=tuning.autocast))
    tokenizer = AutoTokenizer.from_pretrained(shards / "tokenizer")
    base = tuning.load(model)
    if sharded and getattr(base, "is_quantized", False):
        raise TrainingError(
            "a quantised base cannot be shared out among processes: leave out train_adapter:fsdp=1,"
            " or write quantization: null."
        )
    if not keeps_apart(base):
        arguments = arguments_of(_alone(tuning.loop, base, passes))
    if base.config._attn_implementation == SEGMENTS:
        arguments.padding_free = True  # it is told where conversations end, and not what is padding
    known = max(tokenizer.get_vocab().values()) + 1
    adapter = tuning.adapter(base, list(data.new_tokens.values()), known)
    trainer = Trainer(
        model=base,
        args=arguments,
        train_dataset=data.train,
        eval_dataset=data.valid or None,
        processing_class=tokenizer,
        peft_config=adapter,
        callbacks=callbacks,
    )
    trainer.remove_callback(PrinterCallback)
    tuning.begin(trainer.model, scratch, Batches(trainer, tuning.loop.batch_size))
    trainer.stop, trainer.made = stop, made
    if left := untrained_experts(trainer.model):
        say(f"{left:,} numbers of fused experts are not trained (lora.target_parameters: experts)")
    if checkpoint:
        say(f"going on from {checkpoint.folder.name}")
    ended = False
    with stop.listening():
        try:
            trainer.train(resume_from_checkpoint=str(checkpoint.folder) if checkpoint else None)
        except EvaluationEnded:
            ended = True
        except RuntimeError as error:
            if world_size() == 1 or not _OTHERS_GONE.search(str(error)):
                raise
            raise TrainingError(
                "another process of this training is gone, and this one cannot go on alone"
            ) from error
    trainer.optimizer.eval()  # some weigh weights otherwise than they train them
    step, steps = trainer.state.global_step, trainer.state.max_steps
    if ended or (stop.received and step < steps):
        kept = last_checkpoint(scratch, made)
        found = f"{kept.folder.name} is in {scratch}" if kept else "There is no checkpoint yet"
        then = "goes on from there" if kept else "begins anew"
        raise TrainingError(
            f"the job was told to end (SIGTERM) and stopped after step {step} of {steps}. {found};"
            f" the next start {then}."
        )
    return trainer


def _alone(loop: LoopSpec, model: PreTrainedModel, passes: Passes) -> Passes:
    """Return passes in which conversations lie alone, for models that mix them in a row.

    Raises:
        TrainingError: If they are to be packed.
    """
    family = model.config.model_type
    if loop.packing:
        raise TrainingError(
            "training.packing lays conversations end to end, and in this version of Transformers"
            f" those of {family} would see each other; write training.packing: false."
        )
    if compute_device() != "cpu":
        return passes  # rows are padded there, one conversation in each
    say(f"{family} would mix conversations in one row: each is trained in a pass of its own")
    return replace(passes, sequences=1)


def _write(
    tuning: Tuning,
    trainer: Trainer,
    model: Path,
    shards: Path,
    data: Splits,
    scratch: Path,
    out: Path,
) -> dict[str, Any]:
    """Write the files of the artifact and return its facts."""
    state = trainer.state
    kept_step = state.global_step
    trainable = trainer.model.num_parameters(only_trainable=True)
    result: PreTrainedModel | None = trainer.model
    gather = trained_weights if trainer.made.sharded else None
    if gather:
        weights = gather(trainer.model)
        first = trainer.is_world_process_zero()
        tokens, known = list(data.new_tokens.values()), trainer.processing_class.get_vocab()
        largest = max(known.values()) + 1
        shape = (trainer.model, weights, tokens, largest)
        result = whole_model(tuning, model, *shape) if first else None
    loop = vars(tuning.loop)
    if keeps_best(loop) and held_out(state, loss_key(loop["best_by"])):
        keeper = BestKeeper(scratch, tuning, gather)
        kept_step = keeper.best_step(state)
        if result is not None:
            keeper.restore(result, state)
    answers: list[Answer] = []
    if data.questions and not trainer.made.sharded:
        asked = AnswerKeeper(data.questions, scratch, autocast=tuning.autocast)
        answers = asked.finish(trainer.model, state, kept_step)
    saved: dict[str, Any] = {}
    if trainer.is_world_process_zero():
        copy_files(files_below(shards / "tokenizer"), out)
        saved = tuning.save(result, model, scratch, out, data.prompts)
    history = thin(state.log_history)
    # An early stop keeps an earlier model: what came after it says nothing about it.
    verdict = with_answers(
        assess_losses([event for event in history if event["step"] <= kept_step]),
        [answer for answer in answers if answer["step"] == kept_step],
    )
    verdict = with_break(verdict, kept_step, history)
    verdict["remedy"] = tuning.remedies.get(verdict["verdict"], verdict["remedy"])
    if trainer.is_world_process_zero():
        write_records(out, history, answers, verdict)
        say(f"verdict: {verdict['verdict']}. {verdict['evidence']} {verdict['remedy']}")
    return {
        "history": history,
        "verdict": verdict,
        "answers": first_and_last(answers),
        "trainable_parameters": trainable,
        "untrained_experts": untrained_experts(trainer.model),
        "steps": state.global_step,
        "kept_step": kept_step,
        "train_rows": data.facts.rows,
        "train_sequences": len(data.train),
        "valid_rows": len(data.valid.get(OWN_SET, ())),
        "train_tokens": data.facts.tokens,
        "trained_tokens": data.facts.trained_tokens,
        "arithmetic": tuning.arithmetic,
        **({"mixture": [*data.given]} if data.given else {}),
        **saved,
    }


def with_break(verdict: Reading, kept_step: int, history: Sequence[Event]) -> Reading:
    """Add to a verdict on kept weights that training ended later, at a loss that was no number."""
    later = assess_losses([event for event in history if event["step"] > kept_step])
    if later["verdict"] != "not_a_number":
        return verdict
    told = f"Training ended there, and the weights of step {kept_step} are kept."
    return {**verdict, "evidence": f"{verdict['evidence']} {later['evidence']} {told}"}
