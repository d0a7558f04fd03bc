"""Read a LoRA adapter as PEFT saves it: what it does to each weight of its base."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from scripts.lib.errors import MergeError

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
# Everything else in an adapter's folder is the tokenizer, which the merged model carries on.
ADAPTER_FILES = frozenset(
    {ADAPTER_CONFIG, ADAPTER_WEIGHTS, "history.jsonl", "verdict.json", "prompts.json"}
)
# Features of LoRA that this merge does not know: to leave one out would be silently wrong.
UNKNOWN_FEATURES = (
    "target_parameters",
    "trainable_token_indices",
    "modules_to_save",
    "megatron_config",
    "use_qalora",
    "arrow_config",
    "layer_replication",
    "fan_in_fan_out",
    "lora_bias",
    "rank_pattern",
    "alpha_pattern",
)
MUTATING_INITS = ("pissa", "olora", "corda", "loftq", "lora_ga")
_LORA_KEY = re.compile(r"(?P<module>.+)\.(?P<part>lora_A|lora_B|lora_magnitude_vector)(\.weight)?")


@dataclass(frozen=True, kw_only=True)
class Update:
    """What an adapter adds to one weight, or puts in its place.

    Args:
        down: LoRA's A, (r, inputs), float32.
        up: LoRA's B, (outputs, r), float32.
        scale: alpha / r, or alpha / sqrt(r) with rsLoRA.
        magnitude: DoRA's length of each row, (outputs,), or None.
        replacement: A trained tensor (a bias) that takes the base's place; the others are None.
    """

    down: torch.Tensor | None = None
    up: torch.Tensor | None = None
    scale: float = 1.0
    magnitude: torch.Tensor | None = None
    replacement: torch.Tensor | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the weight that it fits."""
        if self.down is None or self.up is None:
            return tuple(self.replacement.shape) if self.replacement is not None else ()
        return (self.up.shape[0], self.down.shape[1])

    def apply(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the merged *weight*, in its own dtype."""
        if self.replacement is not None:
            return self.replacement.to(weight.dtype)
        assert self.down is not None and self.up is not None
        merged = weight.float() + (self.up @ self.down) * self.scale
        if self.magnitude is not None:
            merged *= (self.magnitude / merged.norm(dim=1))[:, None]
        return merged.to(weight.dtype)


def tokenizer_files(adapter: Path) -> list[Path]:
    """Return the files that a merged model takes from *adapter*: tokenizer and chat template."""
    return sorted(f for f in adapter.iterdir() if f.is_file() and f.name not in ADAPTER_FILES)


def read_updates(adapter: Path) -> dict[str, Update]:
    """Return what *adapter* does to each weight of its base, by the base's tensor names.

    Raises:
        MergeError: If the adapter is broken, or uses a feature that cannot be merged.
    """
    config = _read_adapter_config(adapter)
    rank, alpha = config["r"], config["lora_alpha"]
    scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    tensors, _ = read_tensors(adapter / ADAPTER_WEIGHTS)
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        name = key.removeprefix("base_model.model.").replace(".base_layer.", ".")
        if found := _LORA_KEY.fullmatch(name):
            parts.setdefault(found["module"] + ".weight", {})[found["part"]] = tensor.float()
        else:
            parts[name] = {"replacement": tensor}
    return {name: _update(part, scale, f"{adapter}: {name}") for name, part in parts.items()}


def _update(part: Mapping[str, torch.Tensor], scale: float, where: str) -> Update:
    if "replacement" in part:
        return Update(replacement=part["replacement"])
    if not {"lora_A", "lora_B"} <= part.keys():
        raise MergeError(f"{where} has only {sorted(part)} of an update. Train the adapter again.")
    return Update(
        down=part["lora_A"],
        up=part["lora_B"],
        scale=scale,
        magnitude=part.get("lora_magnitude_vector"),
    )


def _read_adapter_config(adapter: Path) -> dict[str, Any]:
    file = adapter / ADAPTER_CONFIG
    if not file.is_file():
        raise MergeError(f"{adapter} has no {ADAPTER_CONFIG}: it is no adapter. Train it again.")
    config: dict[str, Any] = json.loads(file.read_text())
    if config["peft_type"] != "LORA":
        raise MergeError(f"{file}: {config['peft_type']} adapters cannot be merged, only LORA.")
    if used := [name for name in UNKNOWN_FEATURES if config.get(name)]:
        raise MergeError(
            f"{file} uses {', '.join(used)}, which this merge does not know. Train without it, or"
            " merge with PEFT by hand and declare the result as a model."
        )
    init = config.get("init_lora_weights", True)
    if isinstance(init, str) and init.lower().startswith(MUTATING_INITS):
        raise MergeError(
            f"{file}: the start {init!r} changed the base's weights, so the adapter does not fit"
            " the base as published. Save it converted to plain LoRA."
        )
    return config


def read_tensors(file: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Return the tensors and the metadata of a safetensors file."""
    try:
        with safe_open(file, "pt") as handle:
            names = handle.keys()  # a method of the file, which is no dictionary
            return {name: handle.get_tensor(name) for name in names}, handle.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise MergeError(
            f"{file} cannot be read ({error}): it is missing, cut short or damaged. Make or fetch"
            " it again."
        ) from error


def largest_token_id(adapter: Path) -> int:
    """Return the largest id of the adapter's tokenizer; -1 where there is no tokenizer.json."""
    file = adapter / "tokenizer.json"
    if not file.is_file():
        return -1
    tokenizer = json.loads(file.read_text())
    vocabulary = tokenizer["model"]["vocab"]
    ids = list(vocabulary.values()) if isinstance(vocabulary, dict) else range(len(vocabulary))
    added = [token["id"] for token in tokenizer.get("added_tokens", [])]
    return max([*ids, *added], default=-1)
