"""Go on from an adapter that exists already, in its shape and from its weights."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftModel

from scripts.lib.adapters.faults import PEFT_NAMES, read_adapter_config, start_faults
from scripts.lib.errors import TrainingError
from scripts.lib.train.spec import LoraSpec, TrainSpec

ADAPTER = "default"
"""What PEFT calls the only adapter on a model."""


def with_shape_of(
    mapping: Mapping[str, Any], given: Mapping[str, Any], start: Path
) -> dict[str, Any]:
    """Return the JSON of a `TrainSpec` whose shape of the adapter is complete.

    Args:
        mapping: The spec; its `lora` holds a dropout, or nothing.
        given: What the run says itself of the shape.
        start: Folder of the adapter to go on from.

    Raises:
        TrainingError: If the two contradict each other, or no training can go on from it.
    """
    for words in start_faults(start, given):
        raise TrainingError(f"{words}.")
    config = read_adapter_config(start)
    # An older PEFT wrote down less; what it did is what the default is now.
    unsaid = {one.name: one.default for one in fields(LoraConfig) if one.default is not MISSING}
    config = {**unsaid, **config}
    names = [field.name for field in fields(LoraSpec)]
    own = {name: config[key] for name in names if (key := PEFT_NAMES.get(name, name)) in config}
    return {**mapping, "lora": {**own, **mapping["lora"], "init": True}}


def started_config(spec: TrainSpec, start: Path, tokens: Sequence[int]) -> LoraConfig:
    """Return the adapter's own config, to be trained with the dropout of *spec*.

    Args:
        spec: What to train.
        start: Folder of the adapter to go on from.
        tokens: Ids of tokens that are new to the base.

    Raises:
        TrainingError: If there are such tokens and the adapter has no rows for them.
    """
    config = LoraConfig.from_pretrained(str(start))
    held = config.trainable_token_indices or ()
    layers = held.values() if isinstance(held, dict) else [held]
    rows = {id_ for ids in layers for id_ in ids}
    if lacking := sorted(set(tokens) - rows):
        raise TrainingError(
            f"the template adds control tokens ({', '.join(map(str, lacking))}) for which the"
            f" adapter in {start} has no rows; train through the template that it was trained with"
        )
    config.lora_dropout = spec.lora.dropout
    config.inference_mode = False
    config.init_lora_weights = True  # what another start would give, the weights take the place of
    return config


def load_start(model: PeftModel, start: Path) -> None:
    """Give the adapter of *model* the weights of the one in *start*, trainable.

    Raises:
        TrainingError: If some have no place, or are missing.
    """
    found = model.load_adapter(
        str(start), ADAPTER, is_trainable=True, torch_device=str(model.device)
    )
    if odd := [*found.unexpected_keys, *found.missing_keys]:
        raise TrainingError(
            f"The adapter in {start} does not fit its base: {odd[0]} has no place or is missing"
            f" ({len(odd)} in all). Give the base that it was trained on."
        )
