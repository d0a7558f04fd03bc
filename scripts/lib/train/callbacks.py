"""What watches a training: checkpoints by the clock, the best weights, progress, SIGTERM."""

import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list
from safetensors.torch import load_file, save_file
from transformers import (
    PreTrainedModel,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from scripts.lib.progress import note
from scripts.lib.train.optimization import OWN_SET, keeps_best
from scripts.lib.train.tuning import Tuning

Gather = Callable[[torch.nn.Module], dict[str, torch.Tensor]]
"""Collects from all processes what is trained."""

LOSSES = ("loss", "valid_loss")


def loss_key(name: str) -> str:
    """Return what the log calls the loss on a set of held-out rows."""
    return "valid_loss" if name == OWN_SET else f"valid_{name}_loss"


def is_loss(key: str) -> bool:
    """Tell whether *key* is a loss in the log, of training or of held-out rows."""
    return key in LOSSES or (key.startswith("valid_") and key.endswith("_loss"))


PROGRESS_SECONDS = 5.0  # a log file is read by people: one line now and then


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
    """Keeps what has the lowest held-out loss, and stops when patience is over."""

    def __init__(self, scratch: Path, tuning: Tuning, gather: Gather | None = None) -> None:
        """Take note of where and what to keep; *gather* collects a model that is shared out."""
        self._scratch = scratch
        self._tuning = tuning
        self._gather = gather
        self._key = loss_key(tuning.loop.best_by)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Let a run not go on whose patience was over when an earlier start ended."""
        self._heed_patience(state, control)

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Compare this evaluation with those before it; the history survives a resume."""
        points = held_out(state, self._key)
        if not points:
            return
        best = min(range(len(points)), key=lambda index: points[index][1])
        first = state.is_world_process_zero
        keeps = keeps_best(vars(self._tuning.loop))
        if keeps and best == len(points) - 1 and (self._gather or first):
            kept = (self._gather or self._tuning.kept)(kwargs["model"])
            if first:
                self._remove_needless(state)
                target = self._file(state.global_step)
                part = target.with_suffix(".part")
                save_file(kept, part)
                part.replace(target)
        self._heed_patience(state, control)

    def _heed_patience(self, state: TrainerState, control: TrainerControl) -> None:
        points, patience = held_out(state, self._key), self._tuning.loop.early_stopping_patience
        if patience is None or not points:
            return
        best = min(range(len(points)), key=lambda index: points[index][1])
        if len(points) - 1 - best >= patience:
            control.should_training_stop = True

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Remove what a checkpoint needed that is gone."""
        if state.is_world_process_zero:
            self._remove_needless(state)

    def _remove_needless(self, state: TrainerState) -> None:
        """Remove what was the best once, and is for no checkpoint that a start may go on from."""
        saved = self._scratch.rglob("trainer_state.json")
        states = [state, *(TrainerState.load_from_json(str(file)) for file in saved)]
        histories = [points for one in states if (points := held_out(one, self._key))]
        wanted = {self._file(min(points, key=lambda p: p[1])[0]) for points in histories}
        for older in set(self._scratch.glob("best-*.safetensors")) - wanted:
            older.unlink()

    def restore(self, model: PreTrainedModel, state: TrainerState) -> None:
        """Put the best weights back into *model*."""
        kept = load_file(self._file(self.best_step(state)))
        if self._gather:
            model.load_state_dict(kept, strict=False)
        else:
            self._tuning.put_back(model, kept)

    def best_step(self, state: TrainerState) -> int:
        """Return the step with the lowest loss."""
        return min(held_out(state, self._key), key=lambda point: point[1])[0]

    def _file(self, step: int) -> Path:
        return self._scratch / f"best-{step}.safetensors"


def held_out(state: TrainerState, key: str) -> list[tuple[int, float]]:
    """Return (step, loss) of the evaluations so far; the untrained step 0 is no candidate."""
    return [
        (entry["step"], entry[key])
        for entry in state.log_history
        if key in entry and entry["step"] > 0 and math.isfinite(entry[key])
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
        shown = [f"{k.replace('_', ' ')} {entry[k]:.4f}" for k in entry if is_loss(k)]
        last = state.global_step >= state.max_steps
        quiet = "loss" in entry and not last and now - self._printed < PROGRESS_SECONDS
        if not shown or quiet or not state.is_world_process_zero:
            return
        self._printed = now
        done = state.global_step - self._first_step
        left = (now - self._begun) / done * (state.max_steps - state.global_step) if done else None
        rest = "" if left is None else f", about {_duration(left)} left"
        text = f"step {state.global_step}/{state.max_steps}: {', '.join(shown)}{rest}"
        say(text)
        note(text, left_seconds=left, last=last)


def say(text: str) -> None:
    """Print one line to stderr, at once."""
    print(text, file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
