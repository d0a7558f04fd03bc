"""TRL's trainer as Tunesmith drives it: exact losses, checkpoints that resume, plain log lines."""

import math
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list
from peft import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch.nn import functional
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl import SFTTrainer

from scripts.lib.train.shards import IGNORED

COMPLETE = "complete"  # written last into a checkpoint; one without it was cut short
LOSSES = ("loss", "valid_loss")
PROGRESS_SECONDS = 5.0  # a log file is read by people: one line now and then


class Trainer(SFTTrainer):  # type: ignore[misc]  # TRL has no types
    """SFTTrainer with a cheaper loss on a CPU and a held-out loss that no batching changes."""

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Return the loss of one micro batch, per trained token of the whole optimiser step.

        TRL's fused head is written for GPUs: its fallback scores every position. On a CPU only
        the positions with a label meet the vocabulary, and the cross entropy is in float32.
        """
        if self.model.device.type != "cpu" or return_outputs or self.aux_loss_enabled:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        total, count = self._summed_loss(model, inputs)
        loss = total / (count if num_items_in_batch is None else num_items_in_batch)
        # The count is of all processes, whose gradients are averaged afterwards.
        return loss * (1 if num_items_in_batch is None else self.accelerator.num_processes)

    def _summed_loss(
        self, model: torch.nn.Module, inputs: Mapping[str, Any]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the summed negative log-likelihood of one flat row and its trained tokens."""
        targets = inputs["labels"][0, 1:]
        kept = (targets != IGNORED).nonzero().flatten()
        rest = {name: value for name, value in inputs.items() if name != "labels"}
        logits = model(**rest, use_cache=False, logits_to_keep=kept).logits[0]
        total = functional.cross_entropy(logits.float(), targets[kept], reduction="sum")
        return total, torch.tensor(len(kept))

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Return and log the mean loss per trained token of the held-out rows.

        Sums and counts are added up over all batches, so that neither the micro batch nor the
        number of processes changes the figure beyond rounding.
        """
        rows, size = self.eval_dataset, self.args.per_device_eval_batch_size
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        starts = list(range(0, len(rows), size))
        sums = torch.zeros(2, dtype=torch.float64, device=self.accelerator.device)
        training = self.model.training
        self.model.eval()
        for turn in range(math.ceil(len(starts) / world)):
            # Each process takes part in each turn: sharded models wait for one another.
            index = turn * world + rank
            start = starts[min(index, len(starts) - 1)]
            batch = [rows[i] for i in range(start, min(start + size, len(rows)))]
            inputs = self._prepare_inputs(self.data_collator(batch))
            count = (inputs["labels"][:, 1:] != IGNORED).sum()
            with torch.no_grad():
                mean = self.compute_loss(self.model, dict(inputs))
            if index < len(starts):
                sums += torch.stack([mean.double() * count, count.double()])
        total, tokens = self.accelerator.reduce(sums, reduction="sum").tolist()
        self.model.train(training)
        metrics = {"valid_loss": total / tokens}
        self.log(metrics)
        # The handler changes the control in place.
        self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Write none: checkpoints are not for people."""

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.is_world_process_zero():
            folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
            (folder / COMPLETE).touch()


def last_checkpoint(scratch: Path) -> Path | None:
    """Return the newest complete checkpoint in *scratch*; remove those that were cut short."""
    found: dict[int, Path] = {}
    for folder in scratch.glob("checkpoint-*"):
        if (folder / COMPLETE).is_file():
            found[int(folder.name.rpartition("-")[2])] = folder
        else:
            shutil.rmtree(folder, ignore_errors=True)  # another process may be at it
    return found[max(found)] if found else None


class StopRequest:
    """Whether the job was asked to end (SIGTERM): set by the handler, read between steps."""

    def __init__(self) -> None:
        self.received = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take SIGTERM as a request inside the block; only a main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, self._note)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def _note(self, *_: object) -> None:
        self.received = True


class Keeper(TrainerCallback):  # type: ignore[misc]
    """Saves checkpoints by the clock and on request, and stops a run whose loss is no number."""

    def __init__(self, stop: StopRequest, checkpoint_seconds: float) -> None:
        self._stop = stop
        self._seconds = checkpoint_seconds
        self._saved = time.monotonic()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Decide on the first process, for all: clocks and signals differ between them."""
        due = time.monotonic() - self._saved >= self._seconds
        save, stop = broadcast_object_list([due, self._stop.received])
        if save or stop:
            control.should_save = True
            self._saved = time.monotonic()
        if stop:
            control.should_training_stop = True

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Stop at a loss that is no number: further steps can only waste time."""
        if any(not math.isfinite(state.log_history[-1].get(k, 0.0)) for k in LOSSES):
            control.should_training_stop = True


class BestKeeper(TrainerCallback):  # type: ignore[misc]
    """Early stopping: keeps the adapter with the lowest valid loss, and stops without patience."""

    def __init__(self, scratch: Path, patience: int) -> None:
        self._scratch = scratch
        self._patience = patience

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Compare this evaluation with those before it; the history survives a resume."""
        points = held_out(state)
        if not points:
            return
        best = min(range(len(points)), key=lambda index: points[index][1])
        if best == len(points) - 1 and state.is_world_process_zero:
            target = self._file(state.global_step)
            part = target.with_suffix(".part")
            save_file(get_peft_model_state_dict(kwargs["model"], save_embedding_layers=False), part)
            part.replace(target)
        if len(points) - 1 - best >= self._patience:
            control.should_training_stop = True

    def restore(self, model: torch.nn.Module, state: TrainerState) -> int:
        """Put the best adapter back into *model* and return its step."""
        step = min(held_out(state), key=lambda point: point[1])[0]
        set_peft_model_state_dict(model, load_file(self._file(step)))
        return step

    def _file(self, step: int) -> Path:
        return self._scratch / f"best-{step}.safetensors"


def held_out(state: TrainerState) -> list[tuple[int, float]]:
    """Return (step, valid loss) of the evaluations so far; the untrained step 0 is no candidate."""
    return [
        (entry["step"], entry["valid_loss"])
        for entry in state.log_history
        if "valid_loss" in entry and entry["step"] > 0 and math.isfinite(entry["valid_loss"])
    ]


class Progress(TrainerCallback):  # type: ignore[misc]
    """Prints step, loss and the time that is left to stderr, a line at a time."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._first_step = 0
        self._printed = -math.inf

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Start the clock that the estimate rests on."""
        self._begun, self._first_step = time.monotonic(), state.global_step

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Print evaluations and the last step always, other steps every PROGRESS_SECONDS."""
        entry, now = state.log_history[-1], time.monotonic()
        shown = [f"{k.replace('_', ' ')} {entry[k]:.4f}" for k in LOSSES if k in entry]
        last = state.global_step >= state.max_steps
        quiet = "loss" in entry and not last and now - self._printed < PROGRESS_SECONDS
        if not shown or quiet or not state.is_world_process_zero:
            return
        self._printed = now
        done = state.global_step - self._first_step
        left = (now - self._begun) / done * (state.max_steps - state.global_step) if done else None
        rest = "" if left is None else f", about {_duration(left)} left"
        say(f"step {state.global_step}/{state.max_steps}: {', '.join(shown)}{rest}")


def say(text: str) -> None:
    """Print one line to stderr, at once."""
    print(text, file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
