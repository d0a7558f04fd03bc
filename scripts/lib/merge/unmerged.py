"""Put a LoRA adapter on a loaded model without merging it."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from peft import PeftConfig, PeftModel, PeftModelForCausalLM
from transformers import PreTrainedModel

from scripts.lib.errors import ScoreError


def put_on(model: PreTrainedModel, adapter: Path) -> None:
    """Give the layers of *model* the updates of *adapter*, in place.

    The model stays what it is for its callers, a model of transformers, so that what works with
    those (shared prefixes, generation) works with it.

    Args:
        model: The base model, in any precision; the adapter is computed in float32.
        adapter: Folder of a LoRA adapter.

    Raises:
        ScoreError: The adapter does not fit the model.
    """
    try:
        _, odd = attach(model, adapter)
        if odd:
            raise ValueError(f"{odd[0]} has no place or is missing ({len(odd)} in all)")
    except (RuntimeError, ValueError) as error:
        raise ScoreError(
            f"The adapter in {adapter} does not fit its model: {error}. Train it again on this one."
        ) from error


def attach(model: PreTrainedModel, adapter: Path) -> tuple[PeftModel, list[str]]:
    """Put *adapter* on *model*; what does not fit is returned, which PEFT only warns of, if at all.

    Returns:
        PEFT's model, and the names of the adapter's tensors that have no place or are missing.

    Raises:
        RuntimeError, ValueError: PEFT cannot do it.
    """
    config = PeftConfig.from_pretrained(adapter)
    _grow(model, trained_rows(config.trainable_token_indices))
    with warnings.catch_warnings():
        # Tied embeddings and what is missing are for the callers to look at.
        warnings.filterwarnings("ignore", category=UserWarning, module="peft")
        tuned = PeftModelForCausalLM(model, config)
        found = tuned.load_adapter(str(adapter), "default", torch_device=str(model.device))
    return tuned, [*found.unexpected_keys, *found.missing_keys]


def trained_rows(indices: Sequence[int] | Mapping[str, Sequence[int]] | None) -> int:
    """Return how many rows an embedding must have for the tokens that an adapter trains, or 0.

    Args:
        indices: Its `trainable_token_indices`: token ids, or layer -> token ids.
    """
    layers = indices.values() if isinstance(indices, Mapping) else [indices or ()]
    return max((token + 1 for tokens in layers for token in tokens), default=0)


def _grow(model: PreTrainedModel, rows: int) -> None:
    """Give the embedding of *model* so many rows at least; what is new is zero.

    The adapter holds each of them as a whole.
    """
    before = model.get_input_embeddings().weight.shape[0]
    if rows <= before:
        return
    model.resize_token_embeddings(rows, mean_resizing=False)
    for layer in filter(None, (model.get_input_embeddings(), model.get_output_embeddings())):
        layer.weight.data[before:] = 0
