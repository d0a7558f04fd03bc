"""Reports of a training to experiment trackers, which never change it and never end it.

The callbacks are transformers'. Each is called behind a guard: what it raises is said once, and it
is not called again; what it draws from generators of random numbers is given back.
"""

import copy
import os
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations.integration_utils import get_reporting_integration_callbacks

from scripts.lib.train.callbacks import say

PLACES: Mapping[str, str] = {
    "TENSORBOARD_LOGGING_DIR": "{folder}/tensorboard/{name}",
    "WANDB_DIR": "{folder}",
    "WANDB_PROJECT": "{project}",
    "WANDB_SILENT": "true",
    "WANDB_CONSOLE": "off",
    "MLFLOW_TRACKING_URI": "file:{folder}/mlruns",
    "MLFLOW_EXPERIMENT_NAME": "{project}",
    "COMET_PROJECT_NAME": "{project}",
    "COMET_OFFLINE_DIRECTORY": "{folder}/comet",
    "CLEARML_PROJECT": "{project}",
    "CLEARML_TASK": "{name}",
    "NEPTUNE_PROJECT": "{project}",
    "SWANLAB_PROJECT": "{project}",
    "SWANLAB_LOG_DIR": "{folder}/swanlab",
    "TRACKIO_PROJECT_NAME": "{project}",
}
"""Variables by which trackers learn where to write and under which name. What is set stays."""

EVENTS = tuple(name for name in vars(TrainerCallback) if name.startswith("on_"))


@dataclass(frozen=True, kw_only=True)
class Tracking:
    """What a training reports to.

    Attributes:
        report_to: Trackers, by the names of transformers.
        project: What runs are sorted under.
        folder: Where trackers write that write files.
        name: Name of this run.
    """

    report_to: tuple[str, ...] = ()
    project: str = ""
    folder: Path = Path()
    name: str = ""

    @classmethod
    def from_execution(cls, execution: Mapping[str, Any], artifact: str) -> Self:
        """Read what a plan says of it; a run is named as in the config, with its artifact's key.

        Args:
            execution: How the work is to be done, as the plan has it.
            artifact: Name of the artifact's folder.
        """
        told = execution.get("tracking")
        if not told:
            return cls()
        return cls(
            report_to=tuple(told["report_to"]),
            project=told["project"],
            folder=Path(told["folder"]).resolve(),
            name=f"{told['run']}-{artifact.rpartition('-')[2][:8]}",
        )


NO_TRACKING = Tracking()


def tracker_callbacks(tracking: Tracking) -> list[TrainerCallback]:
    """Return a guarded callback for each tracker."""
    for variable, text in PLACES.items():
        value = text.format(folder=tracking.folder, project=tracking.project, name=tracking.name)
        if tracking.report_to:
            os.environ.setdefault(variable, value)
    return [Guarded(name) for name in tracking.report_to]


class Guarded(TrainerCallback):  # type: ignore[misc]
    """A tracker that cannot disturb: what it raises is said, and what it changes is put back."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._inner: Any = None
        self._attempt("its start", self._make)

    def _make(self) -> None:
        self._inner = get_reporting_integration_callbacks([self.name])[0]()

    def tell(
        self, event: str, args: TrainingArguments, state: TrainerState, named: dict[str, Any]
    ) -> None:
        """Pass an event on, with what the tracker may do with as it likes."""
        told = getattr(type(self._inner), event, None)
        if self._inner is None or told is getattr(TrainerCallback, event):
            return
        if logs := named.get("logs"):
            named = {**named, "logs": {_told_as(key): value for key, value in logs.items()}}
        self._attempt(
            event.removeprefix("on_").replace("_", " "),
            lambda: getattr(self._inner, event)(args, copy.copy(state), TrainerControl(), **named),
        )

        if self.name == "wandb" and event == "on_train_end" and self._inner:
            # transformers leaves it to the end of the process, where nothing guards it.
            self._attempt("its end", self._inner._wandb.finish)

    def _attempt(self, what: str, act: Callable[[], Any]) -> None:
        with _generators_kept():
            try:
                act()
            except (Exception, SystemExit) as error:
                self._inner = None
                first = next(iter(str(error).splitlines()), "")
                say(
                    f"the tracker {self.name} failed at {what} ({type(error).__name__}: {first}):"
                    " training goes on without it"
                )


def _forward(event: str) -> Callable[..., None]:
    def told(
        self: Guarded,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **named: Any,
    ) -> None:
        self.tell(event, args, state, named)

    return told


for _event in EVENTS:
    setattr(Guarded, _event, _forward(_event))


def _told_as(key: str) -> str:
    """Return a figure's name as trackers group it: transformers calls what is held out `eval`."""
    return f"eval_{key.removeprefix('valid_')}" if key.startswith("valid_") else key


@contextmanager
def _generators_kept() -> Iterator[None]:
    """Put all generators of random numbers back as they were."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)
