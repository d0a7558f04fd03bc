"""TRL's trainer as Tunesmith drives it: exact losses, and checkpoints that are whole or none."""

import math
import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import broadcast_object_list, gather_object
from datasets import Dataset
from peft import PeftModel
from peft.optimizers import create_loraplus_optimizer
from torch.nn import functional
from transformers import TrainerCallback
from trl import SFTTrainer

from scripts.lib.errors import TrainingError
from scripts.lib.machine.out_of_memory import is_out_of_memory, until_it_fits
from scripts.lib.train.callbacks import StopRequest, loss_key, say
from scripts.lib.train.checkpoints import COMPLETE, Made, could_not_write, seal
from scripts.lib.train.head_loss import give_loss_head
from scripts.lib.train.shards import IGNORED


class EvaluationEnded(Exception):
    """The job was told to end while it evaluated."""


class Trainer(SFTTrainer):  # type: ignore[misc]  # TRL has no types
    """SFTTrainer with a loss that keeps no logits and a held-out loss that no batching changes.

    Attributes:
        stop: Whether the job was told to end.
        made: How checkpoints are made, for whoever goes on from them.
    """

    stop = StopRequest()
    made = Made(processes=1, micro_batch=1)

    optimizer: Any  # None until training begins

    def __init__(self, **options: Any) -> None:
        """Make the trainer, and the hook that puts noise on embeddings where that is wished."""
        super().__init__(**options)
        # Whatever a family's own loss divides by, ours is told the tokens of the whole step.
        self.model_accepts_loss_kwargs = True
        if self.args.smoothing and self.aux_loss_enabled:
            raise TrainingError(
                "label_smoothing_factor cannot be had with the loss of a mixture's router, which"
                " this model's config.json asks for (output_router_logits). Leave one of them out."
            )
        self._lengths: torch.Tensor | None = None
        self._eval_rows = self.args.per_device_eval_batch_size
        self._steps = WholeSteps()
        self.add_callback(self._steps)
        # Where processes share weights out, the output layer's are there inside a pass only.
        base = self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model
        with self.accelerator.autocast():  # as it is trained: kernels may know 16 bits only
            self._has_loss_head = not self.is_fsdp_enabled and give_loss_head(base)
        if self.args.noise_alpha is not None:
            self.model.get_input_embeddings().register_forward_hook(self._add_noise)

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        """Return the optimizer; with LoRA+, its groups of weights learn at rates of their own."""
        if self.optimizer is None and self.args.loraplus_lr_ratio is not None:
            kind, options = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            self.optimizer = create_loraplus_optimizer(
                model or self.model,
                kind,
                loraplus_lr_ratio=self.args.loraplus_lr_ratio,
                loraplus_lr_embedding=self.args.loraplus_lr_embedding,
                loraplus_weight_decay=self.args.weight_decay,
                **options,
            )
        made: torch.optim.Optimizer = super().create_optimizer(model)
        return made

    def _add_noise(
        self, module: torch.nn.Module, _: Any, embedded: torch.Tensor
    ) -> torch.Tensor | None:
        """Add noise to embeddings (rows, tokens, size) while training.

        It is uniform within alpha / sqrt(length x size), with the length of each conversation, as
        in the paper and its code. transformers takes the length of the row, so that packing and the
        micro batch would change how strong it is.

        Source: NEFTune, https://arxiv.org/abs/2310.05914
        """
        if self._lengths is None or not self.model.training:
            return None
        noise = torch.empty_like(embedded, dtype=torch.float32).uniform_(-1, 1)
        bound = self.args.noise_alpha / (self._lengths * embedded.shape[-1]).sqrt()
        return embedded + (noise * bound[..., None]).to(embedded.dtype)

    aux_loss_enabled: bool

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Return the loss of one micro batch, per trained token of the whole optimiser step.

        Only positions with a label meet the vocabulary, and the cross entropy is in float32. What
        the model's own head cannot do so (`head_loss`) goes to TRL's on a GPU, which is written for
        these: on a CPU it scores every position, and there one set of logits is made.
        """
        if self.args.noise_alpha is not None:
            self._lengths = conversation_lengths(inputs)
        smoothing = self.args.smoothing if self.model.training else 0.0
        own = self._has_loss_head or self.model.device.type == "cpu" or smoothing
        if not own or return_outputs or self.aux_loss_enabled:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        targets = inputs["labels"][:, 1:]
        count = (targets != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
        # The count is of all processes, whose gradients are averaged afterwards.
        times = 1 if num_items_in_batch is None else self.accelerator.num_processes
        rest = {name: value for name, value in inputs.items() if name != "labels"}
        if self._has_loss_head:
            scale = torch.tensor(float(times), device=targets.device) / count
            total = model(**rest, targets=targets, scale=scale, smoothing=smoothing)
        else:
            total = _loss_of_logits(model, rest, targets, smoothing)
        return total / count * times

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Return and log the mean loss per trained token of each set of held-out rows.

        Raises:
            EvaluationEnded: If the job is told to end meanwhile.
        """
        training, balancing = self.model.training, self.aux_loss_enabled
        self.model.eval()
        self.aux_loss_enabled = False  # how evenly a mixture's experts were chosen is no loss
        if self.optimizer is not None:  # some weigh weights otherwise than they train them
            self.optimizer.eval()
        sets = self.eval_dataset.items()
        try:
            metrics = {loss_key(name): self._mean_loss(rows) for name, rows in sets}
        finally:
            self.model.train(training)
            self.aux_loss_enabled = balancing
        self.log(metrics)
        # The handler changes the control in place.
        self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        # Schedules that follow the loss ask for it by this name.
        return {**metrics, "eval_loss": metrics.get("valid_loss", math.nan)}

    def _mean_loss(self, rows: Dataset) -> float:
        """Return the mean loss per trained token of some rows.

        Sums and counts are added up over all batches, so that neither the micro batch nor the
        number of processes changes the figure beyond rounding.
        """
        size = self.args.per_device_eval_batch_size
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        starts = list(range(0, len(rows), size))
        sums = torch.zeros(2, dtype=torch.float64, device=self.accelerator.device)
        for turn in range(math.ceil(len(starts) / world)):
            if broadcast_object_list([self.stop.received])[0]:
                raise EvaluationEnded
            # Each process takes part in each turn: sharded models wait for one another.
            index = turn * world + rank
            start = starts[min(index, len(starts) - 1)]
            batch = [rows[i] for i in range(start, min(start + size, len(rows)))]
            found = self._sums(batch)
            if index < len(starts):
                sums += found
        total, tokens = self.accelerator.reduce(sums, reduction="sum").tolist()
        return float(total / tokens)

    def _sums(self, batch: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        """Return summed loss and trained tokens of some rows, in float64.

        One process that lacks memory for them goes on with fewer at once.
        """

        def attempt(size: int) -> torch.Tensor:
            sums = torch.zeros(2, dtype=torch.float64, device=self.accelerator.device)
            for start in range(0, len(batch), size):
                inputs = self._prepare_inputs(self.data_collator(batch[start : start + size]))
                count = (inputs["labels"][:, 1:] != IGNORED).sum()
                with torch.no_grad():
                    mean = self.compute_loss(self.model, dict(inputs))
                sums += torch.stack([mean.double() * count, count.double()])
            return sums

        if self.accelerator.num_processes > 1:
            return attempt(len(batch))
        sums, self._eval_rows = until_it_fits(attempt, self._eval_rows, _fewer_rows)
        return sums

    def _evaluate(self, trial: Any, ignored: Any, skip_scheduler: bool = False) -> Any:
        """Evaluate; one at the start that an earlier start owed counts like any other."""
        skip = skip_scheduler and self.state.global_step == 0
        self._steps.evaluation_due = True
        found = super()._evaluate(trial, ignored, skip_scheduler=skip)
        self._steps.evaluation_due = False
        return found

    def _run_epoch(self, *arguments: Any, **named: Any) -> None:
        """Train an epoch, but not behind an evaluation of an earlier start that ended the run."""
        if not (self.control.should_training_stop and self.state.global_step):
            super()._run_epoch(*arguments, **named)

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Write none: checkpoints are not for people."""

    def _maybe_log_save_evaluate(self, *arguments: Any, **named: Any) -> None:
        """Do what is due after a step; an evaluation that was told to end is due again later."""
        try:
            super()._maybe_log_save_evaluate(*arguments, **named)
        except RuntimeError as error:
            if is_out_of_memory(error) and self._steps.evaluation_due:
                self.state.log_history = [
                    entry
                    for entry in self.state.log_history
                    if entry["step"] < self.state.global_step or "loss" in entry
                ]
            raise
        except EvaluationEnded:
            if self.state.global_step >= self.state.max_steps:
                raise  # transformers cannot go on from behind the last step
            self.made = replace(self.made, evaluation_due=True)
            self._save_checkpoint(self.model, None)
            self.control.should_evaluate = self.control.should_save = False
            self.control.should_training_stop = True

    def train(self, *arguments: Any, **named: Any) -> Any:
        """Train; where memory runs out, leave a checkpoint of the last whole step behind.

        Several processes cannot: those whose memory suffices wait within the step.
        """
        try:
            return super().train(*arguments, **named)
        except RuntimeError as error:
            if is_out_of_memory(error) and self.accelerator.num_processes == 1:
                self._save_last_step()
            raise

    def _save_last_step(self) -> None:
        step, folder = self._steps, Path(self.args.output_dir)
        if not step.whole or (folder / f"checkpoint-{self.state.global_step}" / COMPLETE).exists():
            return
        if step.evaluation_due:
            if self.state.global_step >= self.state.max_steps:
                return  # transformers cannot go on from behind the last step
            self.made = replace(self.made, evaluation_due=True)
        step.restore_generators()
        try:
            self._save_checkpoint(self.model, None)
        except Exception as error:  # the lack of memory is what is told
            say(f"the last step could not be saved ({error}); an earlier one is gone on from")

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        """Save a checkpoint, or say why there is none; older ones stay."""
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        error: BaseException | None = None
        try:
            # What passes have left in the allocator's hands is enough for a second try.
            until_it_fits(lambda _: super(Trainer, self)._save_checkpoint(model, trial), 2, _once)
        except Exception as caught:
            # Processes that share the model wait for one another while they save it.
            if self.made.sharded or not could_not_write(caught):
                raise
            error = caught
        if not any(gather_object([error is not None])) and self.is_world_process_zero():
            try:
                seal(folder, self.made)
            except OSError as caught:
                error = caught
        failed = any(gather_object([error is not None]))
        if self.is_world_process_zero():
            # Of a whole model each takes much of a disk, and one that is whole is enough.
            spare = [] if hasattr(self.model, "peft_config") else folder.parent.glob("checkpoint-*")
            for one in [folder] if failed else set(spare) - {folder}:
                shutil.rmtree(one, ignore_errors=True)
        if error is not None and self.stop.received:
            raise error  # nothing comes after it
        if error is not None:
            say(
                f"{folder.name} could not be written ({error}). Make room; training goes on, and"
                " tries again later. Older checkpoints are kept"
            )


def _fewer_rows(size: int, cause: str) -> int | None:
    if size == 1:
        return None
    say(f"memory ran out in an evaluation; it goes on with {size // 2} sequences at once ({cause})")
    return size // 2


def _once(tries: int, cause: str) -> int | None:
    return tries - 1 or None


class WholeSteps(TrainerCallback):  # type: ignore[misc]
    """Knows whether weights and optimizer are those of a whole step, and the generators after it.

    Attributes:
        whole: Whether they are, and the step is one of this start.
        evaluation_due: Whether an evaluation of that step has begun and has not ended.
    """

    def __init__(self) -> None:
        self.whole = self.evaluation_due = False
        self._generators: tuple[Any, ...] = ()

    def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
        """Take note that weights begin to change."""
        self.whole = False

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Take note that they have, and of what a checkpoint would hold of random generators."""
        self.whole = True
        gpu = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
        self._generators = random.getstate(), np.random.get_state(), torch.get_rng_state(), gpu

    def restore_generators(self) -> None:
        """Make random generators what they were at the step's end."""
        own, numbers, cpu, gpu = self._generators
        random.setstate(own)
        np.random.set_state(numbers)
        torch.set_rng_state(cpu)
        if gpu is not None:
            torch.cuda.set_rng_state(gpu)


def _loss_of_logits(
    model: torch.nn.Module, inputs: Mapping[str, Any], targets: torch.Tensor, smoothing: float
) -> torch.Tensor:
    """Return the summed loss of some rows, on a CPU one flat one, from all logits at once."""
    kept = (targets != IGNORED).any(0).nonzero().flatten()
    logits = model(**inputs, use_cache=False, logits_to_keep=kept).logits.flatten(0, 1)
    return functional.cross_entropy(
        logits.float(),
        targets[:, kept].flatten(),
        reduction="sum",
        ignore_index=IGNORED,
        label_smoothing=smoothing,
    )


def conversation_lengths(inputs: Mapping[str, Any]) -> torch.Tensor:
    """Return for each token of a batch the length of its conversation: (rows, tokens), float32.

    Args:
        inputs: A batch of the collator: with `attention_mask` padded rows of one conversation, else
            rows of several, whose positions begin anew with each.
    """
    if "attention_mask" in inputs:
        mask: torch.Tensor = inputs["attention_mask"]
        return mask.sum(1, keepdim=True).float().expand(mask.shape)
    positions: torch.Tensor = inputs["position_ids"]
    flat = (positions == 0).flatten().cumsum(0) - 1
    return flat.bincount()[flat].reshape(positions.shape).float()


class Batches(Sequence[Mapping[str, Any]]):
    """The training rows of a trainer in their own order, collated when they are asked for.

    How many are in a batch does not depend on the micro batch, which differs between machines.
    """

    def __init__(self, trainer: Trainer, size: int) -> None:
        """Take note of the trainer and of the rows in a batch."""
        self._trainer, self._size = trainer, size

    def __len__(self) -> int:
        return math.ceil(len(self._trainer.train_dataset) / self._size)

    def __getitem__(self, index: Any) -> Any:
        rows, start = self._trainer.train_dataset, index * self._size
        if not 0 <= start < len(rows):
            raise IndexError(index)
        batch = [rows[place] for place in range(start, min(start + self._size, len(rows)))]
        return self._trainer._prepare_inputs(self._trainer.data_collator(batch))
