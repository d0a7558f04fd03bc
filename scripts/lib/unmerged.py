"""Put a LoRA adapter on a loaded model without merging it."""

from pathlib import Path

from peft import PeftModel
from transformers import PreTrainedModel

from scripts.lib.errors import ScoreError


def put_on(model: PreTrainedModel, adapter: Path) -> None:
    """Give the layers of *model* the updates of *adapter*, in place.

    The model stays what it is for its callers, a model of transformers, so that what works with
    those (shared beginnings, generation) works with it.

    Args:
        model: The base model, in any precision; the adapter is computed in float32.
        adapter: Folder of a LoRA adapter.

    Raises:
        ScoreError: The adapter does not fit the model.
    """
    try:
        PeftModel.from_pretrained(model, adapter, torch_device=str(model.device))
    except (RuntimeError, ValueError) as error:
        raise ScoreError(
            f"The adapter in {adapter} does not fit its model: {error}. Train it again on this one."
        ) from error
