"""What a fine-tune does to its base: which weights it trains, and what of them it keeps.

There are two: an adapter on frozen weights (`lora_tuning`), and all weights (`full_tuning`). The
flow of a training (`training`) knows neither, so that a change in one makes nothing of the other
anew.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from peft import LoraConfig
from transformers import PreTrainedModel

from scripts.lib.train.loop import LoopSpec
from scripts.lib.train.loss_verdict import LossVerdict
from scripts.lib.train.memory import Adapter
from scripts.lib.train.mixture import Portion
from scripts.lib.train.model_size import ModelSize


class Tuning(Protocol):
    """How a base is tuned."""

    @property
    def loop(self) -> LoopSpec:
        """How long, how fast and on what is trained."""
        ...

    @property
    def mixture(self) -> Sequence[Portion]:
        """What is taken of each dataset; empty where all of one is."""
        ...

    @property
    def arithmetic(self) -> str:
        """Dtype that is computed in on this device."""
        ...

    @property
    def autocast(self) -> bool:
        """Whether weights are cast to `arithmetic` pass by pass, and kept in float32."""
        ...

    def adapter_on(self, size: ModelSize) -> Adapter | None:
        """Return what is trained of a base of some size; None where all weights are."""
        ...

    @property
    def quantization(self) -> Literal["nf4"] | None:
        """Of the frozen base."""
        ...

    @property
    def remedies(self) -> Mapping[LossVerdict, str]:
        """What to do about a verdict, where it is not what is usual."""
        ...

    def check(self, model: Path, scratch: Path) -> None:
        """Refuse what cannot be trained on this machine.

        Args:
            model: Folder of the base.
            scratch: Folder for checkpoints.

        Raises:
            TrainingError: If there is something.
        """
        ...

    def kept_bytes(self, model: Path) -> int:
        """Return what a process that has the whole model keeps on its device, at least.

        Args:
            model: Folder of the base.

        Returns:
            0 where the model cannot be shared out among processes.
        """
        ...

    def load(self, model: Path) -> PreTrainedModel:
        """Load the base as it is trained."""
        ...

    def adapter(
        self, base: PreTrainedModel, tokens: Sequence[int], known: int
    ) -> LoraConfig | None:
        """Give new tokens their rows, and return the adapter that goes on the base, if one does.

        Args:
            base: The base, loaded.
            tokens: Ids of tokens that are new to it.
            known: Ids of the tokenizer; rows of the embedding behind them are spare.
        """
        ...

    def begin(
        self, model: PreTrainedModel, scratch: Path, batches: Sequence[Mapping[str, Any]]
    ) -> None:
        """Prepare the model that the trainer trains, before its first step.

        Args:
            model: The model.
            scratch: Where to leave what `save` needs.
            batches: The training rows, collated as they are asked for: the same in each process.
        """
        ...

    def kept(self, model: PreTrainedModel) -> dict[str, torch.Tensor]:
        """Return what an early stop keeps of the model as it is now, by name."""
        ...

    def put_back(self, model: PreTrainedModel, kept: Mapping[str, torch.Tensor]) -> None:
        """Make the model what it was when *kept* was taken."""
        ...

    def save(
        self, model: PreTrainedModel, base: Path, scratch: Path, out: Path, prompts: Sequence[Any]
    ) -> dict[str, Any]:
        """Write the result to *out*, where the tokenizer is already, and return facts of it.

        Args:
            model: The trained model.
            base: Folder of the base.
            scratch: Where `begin` left what it had to leave.
            out: Where to write.
            prompts: Rows of token ids that a proof may ask.
        """
        ...
