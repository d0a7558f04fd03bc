"""Read a LoRA adapter as PEFT saves it: what it does to each weight of its base."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scripts.lib.adapters.faults import UNREPEATABLE_INITS
from scripts.lib.adapters.lora import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    PROMPTS_FILE,
    REPEATABLE_INITS,
)
from scripts.lib.adapters.records import RECORDS
from scripts.lib.errors import MergeError
from scripts.lib.files import files_below
from scripts.lib.merge.safetensors_files import StoredTensor, read_weight_file
from scripts.lib.model_files import VOCABULARY_FILES

GENERATION_CONFIG = "generation_config.json"
# Everything else in an adapter's folder is the tokenizer, which the merged model carries on.
ADAPTER_FILES = frozenset({ADAPTER_CONFIG, ADAPTER_WEIGHTS, *RECORDS, PROMPTS_FILE, "README.md"})
# Options of LoRA that are merged here, and those that only matter in training. Any other that is
# switched on, today's or a later version's, is left to PEFT: to overlook one would be wrong.
MERGED_OPTIONS = frozenset(
    {
        *("peft_type", "r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora"),
        *("use_dora", "bias", "lora_bias", "modules_to_save", "trainable_token_indices"),
        *("fan_in_fan_out", "init_lora_weights", "ensure_weight_tying"),
    }
)
TRAINING_OPTIONS = frozenset(
    {
        *("auto_mapping", "base_model_name_or_path", "revision", "inference_mode", "task_type"),
        *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"),
        *("lora_dropout", "eva_config", "loftq_config", "corda_config", "lora_ga_config"),
        *("megatron_core", "qalora_group_size", "runtime_config", "peft_version"),
    }
)
# What the names of all starts begin with that take weights out of the base. PEFT can do again what
# REPEATABLE_INITS did; the others draw random numbers or look at data.
BASE_CHANGING_INITS = (*REPEATABLE_INITS, *UNREPEATABLE_INITS)
# Parameters that hold all experts of a layer, in the order of their module, and how many
# projections each holds; and the models that keep them as (experts, inputs, outputs).
FUSED = {"gate_up_proj": 2, "down_proj": 1}
TRANSPOSED_EXPERTS = frozenset({"gpt_oss"})
# Models whose linear layers store their weights as (inputs, outputs): Conv1D of transformers.
TRANSPOSED_MODELS = frozenset({"gpt2", "openai-gpt"})
_EXPERT = re.compile(
    r"(?P<module>.+\.experts)(?P<depth>(?:\.base_layer)*)\.(?P<part>lora_[AB])\.weight"
)
_PART = re.compile(
    r"(?P<module>.+)\.(?:(?P<part>lora_A|lora_B|lora_magnitude_vector)(?:\.weight)?"
    r"|(?P<other>lora_B\.bias|lora_embedding_A|lora_embedding_B|trainable_tokens_delta))"
)


@dataclass(frozen=True, kw_only=True)
class ExpertPart:
    """What of LoRA on fused experts a tensor gets.

    Attributes:
        count: How many experts the adapter's tensors hold.
        index: The expert that the tensor is of; None where it holds all of them.
        half: Which half of the outputs the tensor is, of gate and up; None where it is both.
    """

    count: int
    index: int | None = None
    half: int | None = None


@dataclass(frozen=True, kw_only=True)
class Update:
    """What an adapter does to one tensor of its base, in the order of the attributes.

    Attributes:
        whole: A trained tensor that takes the base's place.
        down: LoRA's A, (r, inputs); (r, vocabulary) for an embedding.
        up: LoRA's B, (outputs, r); (width, r) for an embedding.
        scale: alpha / r, or alpha / sqrt(r) with rsLoRA.
        magnitude: DoRA's length of each output's row, (outputs,).
        bias: What to add to a bias, times scale.
        tokens: Rows that trained values take the place of.
        token_values: Those values, (tokens, width).
        transposed: Whether the base stores (inputs, outputs): embeddings and Conv1D.
        expert: For LoRA on the fused experts of a mixture, what of it this tensor gets; `down` and
            `up` are (experts * r, inputs) and (outputs, r * experts) then.
    """

    whole: StoredTensor | None = None
    down: StoredTensor | None = None
    up: StoredTensor | None = None
    scale: float = 1.0
    magnitude: StoredTensor | None = None
    bias: StoredTensor | None = None
    tokens: tuple[int, ...] = ()
    token_values: StoredTensor | None = None
    transposed: bool = False
    expert: ExpertPart | None = None

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Shape of the tensor that LoRA or a bias fits; None where there is neither."""
        if self.bias:
            return self.bias.shape
        if not self.down or not self.up:
            return None
        outputs, inputs = self.up.shape[0], self.down.shape[1]
        if self.expert and self.expert.half is not None:
            outputs //= 2
        shape = (inputs, outputs) if self.transposed else (outputs, inputs)
        together = self.expert is not None and self.expert.index is None
        return (self.expert.count, *shape) if self.expert and together else shape


@dataclass(frozen=True, kw_only=True)
class StoredAdapter:
    """A LoRA adapter whose tensors are still on disk.

    Attributes:
        folder: Its folder.
        config: Its adapter_config.json.
        updates: What it does to each tensor, by the names that the model has in memory.
        left_to_peft: Why this project's own merge does not do it; empty when it does.
    """

    folder: Path
    config: Mapping[str, Any]
    updates: Mapping[str, Update]
    left_to_peft: tuple[str, ...]


def read_adapter(folder: Path, model_type: str) -> StoredAdapter:
    """Read the adapter in *folder*.

    Args:
        folder: What PEFT's save_pretrained wrote.
        model_type: The base's, from its config.json.

    Raises:
        MergeError: If the adapter is broken, lacks its tokenizer, or cannot be merged at all.
    """
    config = _read_config(folder)
    if not any((folder / name).is_file() for name in VOCABULARY_FILES):
        raise MergeError(
            f"{folder} has no tokenizer ({', '.join(VOCABULARY_FILES)}), which the merged model is"
            " to carry. Copy the one that the adapter was trained with into it."
        )
    reasons = _reasons_for_peft(config)
    stored = read_weight_file(folder / ADAPTER_WEIGHTS).tensors
    if reasons:
        return StoredAdapter(folder=folder, config=config, updates={}, left_to_peft=reasons)
    updates: dict[str, Update] = {}
    for tensor in stored:
        _add(updates, tensor, config, model_type)
    _check_complete(folder, config, updates)
    return StoredAdapter(folder=folder, config=config, updates=updates, left_to_peft=())


def _check_complete(folder: Path, config: Mapping[str, Any], updates: Mapping[str, Update]) -> None:
    """Refuse an adapter that lacks a tensor which its config promises."""
    lacking = [
        f"half of the update of {name}"
        for name, update in updates.items()
        if bool(update.down) != bool(update.up)
    ]
    lacking += [
        f"DoRA's lengths of {name}"
        for name, update in updates.items()
        if config.get("use_dora") and update.down and not update.magnitude
    ]
    whole = [f".{name.rpartition('.')[0]}." for name, update in updates.items() if update.whole]
    for module in config.get("modules_to_save") or ():
        if not any(f".{module}." in name for name in whole):
            lacking.append(f"the trained module {module}")
    if config.get("trainable_token_indices") and not any(u.token_values for u in updates.values()):
        lacking.append("the trained tokens")
    if lacking:
        raise MergeError(
            f"{folder / ADAPTER_WEIGHTS} lacks {lacking[0]}, which {ADAPTER_CONFIG} names. Train"
            " the adapter again."
        )


def _read_config(folder: Path) -> dict[str, Any]:
    file = folder / ADAPTER_CONFIG
    if not file.is_file():
        raise MergeError(f"{folder} has no {ADAPTER_CONFIG}: it is no adapter. Train it again.")
    config: dict[str, Any] = json.loads(file.read_text())
    if config.get("peft_type") != "LORA":
        raise MergeError(f"{file}: {config.get('peft_type')} adapters cannot be merged, only LORA.")
    if config.get("layer_replication"):
        raise MergeError(
            f"{file} uses layer_replication: layers that share one base weight and differ in their"
            " adapters, which no merged model can hold. Train without it."
        )
    init = config.get("init_lora_weights", True)
    if (
        isinstance(init, str)
        and init.lower().startswith(BASE_CHANGING_INITS)
        and init.lower() not in REPEATABLE_INITS
    ):
        raise MergeError(
            f"{file}: the start {init!r} changed the base's weights, so the adapter does not fit"
            " the base as published. Save it converted to plain LoRA."
        )
    return config


def _reasons_for_peft(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return why PEFT has to merge an adapter with *config*."""
    known = MERGED_OPTIONS | TRAINING_OPTIONS
    parameters = config.get("target_parameters") or ()
    if all(name.rpartition(".")[2] in FUSED for name in parameters):
        known |= {"target_parameters"}
    reasons = [f"it uses {name}" for name in sorted(config) if config[name] and name not in known]
    init = config.get("init_lora_weights", True)
    if isinstance(init, str) and init.lower() in REPEATABLE_INITS:
        reasons.append(f"the start {init!r} changed the base's weights")
    return tuple(reasons)


def _add(
    updates: dict[str, Update], tensor: StoredTensor, config: Mapping[str, Any], model_type: str
) -> None:
    """Add what *tensor* of an adapter does to the update of the base's tensor that it is for."""
    name = tensor.name.removeprefix("base_model.model.")
    expert = _EXPERT.fullmatch(name)
    if expert and config.get("target_parameters"):
        _add_experts(updates, tensor, expert, config, model_type)
        return
    name = name.replace(".base_layer.", ".").replace(".token_adapter.", ".")
    found = _PART.fullmatch(name)
    if not found:
        updates[name] = replace(updates.get(name, Update()), whole=tensor)
        return
    module, part = found["module"], found["part"] or found["other"]
    name = f"{module}.bias" if part == "lora_B.bias" else f"{module}.weight"
    update = updates.get(name, Update())
    if part == "trainable_tokens_delta":
        updates[name] = replace(update, token_values=tensor, tokens=_tokens(config, module))
        return
    parts: dict[str, dict[str, Any]] = {
        "lora_A": {"down": tensor},
        "lora_B": {"up": tensor},
        "lora_embedding_A": {"down": tensor, "transposed": True},
        "lora_embedding_B": {"up": tensor, "transposed": True},
        "lora_magnitude_vector": {"magnitude": tensor},
        "lora_B.bias": {"bias": tensor},
    }
    fields = parts[part]
    if part == "lora_A" and model_type in TRANSPOSED_MODELS and "lm_head" not in module:
        fields["transposed"] = True
    scale = _scale(config, module, tensor.shape[0] if part.endswith("_A") else None)
    updates[name] = replace(update, **fields, scale=scale)


def _add_experts(
    updates: dict[str, Update],
    tensor: StoredTensor,
    found: re.Match[str],
    config: Mapping[str, Any],
    model_type: str,
) -> None:
    """Add what *tensor* does to a parameter that holds all experts of a layer.

    PEFT wraps a module once for each of its targeted parameters, in the order of the module: what
    lies outside is for the last one.
    """
    names = [f"{found['module']}.{name}" for name in FUSED]
    wanted = config["target_parameters"]
    targeted = [name for name in names if any(f".{name}".endswith(f".{one}") for one in wanted)]
    depth = found["depth"].count(".")
    if depth >= len(targeted):
        raise MergeError(f"{tensor.name} is of no parameter that {ADAPTER_CONFIG} names.")
    name = targeted[-1 - depth]
    update = updates.get(name, Update(transposed=model_type in TRANSPOSED_EXPERTS))
    scale = _scale(config, name, None)
    if found["part"] == "lora_B":
        updates[name] = replace(update, up=tensor, scale=scale)
        return
    rank = _pattern(config.get("rank_pattern"), name, config["r"])
    if tensor.shape[0] % rank:
        raise MergeError(
            f"{name} has {tensor.shape[0]} rows in the adapter, no multiple of its rank {rank} by"
            f" {ADAPTER_CONFIG}. They are of different trainings: train the adapter again."
        )
    experts = ExpertPart(count=tensor.shape[0] // rank)
    updates[name] = replace(update, down=tensor, scale=scale, expert=experts)


def _tokens(config: Mapping[str, Any], module: str) -> tuple[int, ...]:
    """Return the trained token ids of *module*, whose last name is the key where there are keys."""
    indices = config["trainable_token_indices"]
    if isinstance(indices, dict):
        key = module.rpartition(".")[2]
        indices = indices.get(key) or indices.get(module) or ()
    return tuple(indices)


def _scale(config: Mapping[str, Any], module: str, stored_rank: int | None) -> float:
    """Return LoRA's factor for *module*, by PEFT's rules of patterns: the first that fits.

    Raises:
        MergeError: If *stored_rank*, of the tensor, is not what the config says.
    """
    rank = _pattern(config.get("rank_pattern"), module, config["r"])
    alpha = _pattern(config.get("alpha_pattern"), module, config["lora_alpha"])
    if stored_rank not in (None, rank):
        raise MergeError(
            f"{module} has rank {stored_rank} in the adapter, but {rank} by its {ADAPTER_CONFIG}."
            " They are of different trainings: train the adapter again."
        )
    return float(alpha / (math.sqrt(rank) if config.get("use_rslora") else rank))


def _pattern(patterns: Mapping[str, Any] | None, module: str, default: Any) -> Any:
    for pattern, value in (patterns or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return default


def tokenizer_files(adapter: Path) -> dict[str, Path]:
    """Return the files that a merged model takes from *adapter*: tokenizer and chat templates."""
    found = files_below(adapter)
    return {name: file for name, file in found.items() if name not in ADAPTER_FILES}


def carried_files(model: Path, adapter: Path) -> dict[str, Path]:
    """Return what a merged model takes over, by its path there.

    Tokenizer and chat template come from *adapter*; the generation config, too, where the run has
    one of its own, else from *model*.
    """
    files = tokenizer_files(adapter)
    if (model / GENERATION_CONFIG).is_file():
        files.setdefault(GENERATION_CONFIG, model / GENERATION_CONFIG)
    return files


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
