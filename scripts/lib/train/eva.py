"""EVA: an adapter that starts where the inputs of its layers vary most, on the run's own rows.

Each layer's A starts as the first principal components of what the layer is given for trained
tokens, B as zero: the base stays as it is. What explains more of the variance gets more of the
ranks, so that layers differ in rank and their sum stays. PEFT does the sums.

Source: https://arxiv.org/abs/2410.07170
"""

from collections.abc import Mapping, Sequence
from typing import Any

from peft import PeftModel, initialize_lora_eva_weights

from scripts.lib.errors import TrainingError

MOST_PASSES = 1000
"""Batches until the components have to stand still; a few dozen are usual."""


def start_from_inputs(model: PeftModel, batches: Sequence[Mapping[str, Any]]) -> None:
    """Give the adapter of *model* its first weights and ranks, in place.

    Every process does the same sums on the same rows: nothing is shared, and nothing depends on how
    many there are.

    Args:
        model: The base with an adapter whose start is "eva".
        batches: Training rows as the trainer collates them, the same ones each time.

    Raises:
        TrainingError: If the rows have too few trained tokens to tell as many directions.
    """
    dtype = next(weight.dtype for name, weight in model.named_parameters() if ".lora_A." in name)
    passes = 0

    def forward(net: PeftModel, inputs: Mapping[str, Any]) -> None:
        nonlocal passes
        passes += 1
        if passes > MOST_PASSES:
            raise TrainingError(
                f"lora.init eva found no lasting directions in {MOST_PASSES} batches of"
                f" {len(batches)}: a batch needs more trained tokens than lora.r x lora.eva_rho."
                " Write a larger training.batch_size, a smaller r, or init: true."
            )
        rest = {name: value for name, value in inputs.items() if name != "labels"}
        net(**rest, use_cache=False, logits_to_keep=1)

    initialize_lora_eva_weights(
        model,
        batches,
        forward_fn=forward,
        gather_distributed_inputs=False,
        show_progress_bar=False,
    )
    # Layers of another rank than before were made anew, in the dtype of the base.
    for name, weight in model.named_parameters():
        if ".lora_" in name:
            weight.data = weight.data.to(dtype)
