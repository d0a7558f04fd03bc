"""Combine the LoRA adapters of several runs into one, by PEFT's methods.

    combine_adapters(CombineSpec(method="cat", weights=(0.7, 0.3)), model, [one, other], out)

PEFT's `add_weighted_adapter` does the sums. It wants a model to put the adapters on, but reads none
of its weights, so the model is built without memory for them: what is in memory is the adapters.

The methods are from LoRA's own authors and users (`linear`, `cat`, `svd`), TIES
(https://arxiv.org/abs/2306.01708), DARE (https://arxiv.org/abs/2311.03099), and pruning by size.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

from scripts.lib.adapters.lora import ADAPTER_CONFIG, ADAPTER_WEIGHTS, PROMPTS_FILE
from scripts.lib.errors import MergeError
from scripts.lib.files import copy_files
from scripts.lib.merge.adapter import tokenizer_files

MOST_PROMPTS = 8  # as many as training keeps for the proof of one adapter
NAME = "combined"
# Parts of an adapter that add_weighted_adapter leaves out, or refuses, and how they are told.
UNCOMBINED = {
    "use_dora": "DoRA magnitudes",
    "modules_to_save": "whole modules",
    "trainable_token_indices": "rows of the embedding (for control tokens that its template adds)",
    "target_parameters": "parameters instead of layers",
}


@dataclass(frozen=True, kw_only=True)
class CombineSpec:
    """How to combine; the adapters come in the order of the weights.

    Args:
        method: PEFT's `combination_type`.
        weights: Weight of each adapter.
        density: Share of the values that the pruning methods keep, 0-1, or None.
        rank: Rank of the result of the methods in `svd`; None is the largest.
        majority_sign: How `ties` elects signs: "total" or "frequency"; None is "total".
        seed: Seed of what `dare` drops; None where nothing is random.
    """

    method: str
    weights: tuple[float, ...]
    density: float | None
    rank: int | None
    majority_sign: str | None
    seed: int | None

    @classmethod
    def from_json(cls, mapping: Mapping[str, Any]) -> "CombineSpec":
        """Build the spec from parsed JSON, where tuples are lists."""
        return cls(**{**mapping, "weights": tuple(mapping["weights"])})


def combine_adapters(
    spec: CombineSpec, model: Path, adapters: Sequence[Path], out: Path
) -> dict[str, Any]:
    """Write the combination to *out*, as an ordinary adapter with its tokenizer and prompts.

    Args:
        spec: How to combine.
        model: Folder of the base model; only its config is read.
        adapters: Folders of the adapters.
        out: Empty folder.

    Returns:
        Facts: rank and tensors of the result.

    Raises:
        MergeError: If the adapters cannot be combined so, with the reason.
    """
    configs = [_read_config(folder) for folder in adapters]
    _check_tokenizers(adapters)
    tensors, rank, modules = _combined(spec, model, adapters)
    save_file(tensors, out / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    config = {
        **configs[0],
        # The sums already hold each adapter's scale, so that of the result is 1.
        **{"r": rank, "lora_alpha": rank, "use_rslora": False},
        **{"rank_pattern": {}, "alpha_pattern": {}, "target_modules": modules},
        **{"exclude_modules": None, "layers_to_transform": None, "layers_pattern": None},
        **{"lora_dropout": 0.0, "init_lora_weights": True, "eva_config": None},
    }
    (out / ADAPTER_CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    (out / PROMPTS_FILE).write_text(json.dumps(_prompts(adapters)) + "\n")
    copy_files(tokenizer_files(adapters[0]), out)
    return {"rank": rank, "tensors": len(tensors)}


def _read_config(folder: Path) -> dict[str, Any]:
    """Return an adapter's config, which must be of plain LoRA."""
    file = folder / ADAPTER_CONFIG
    config: dict[str, Any] = json.loads(file.read_text())
    if config["peft_type"] != "LORA":
        raise MergeError(f"{file}: {config['peft_type']} adapters cannot be combined, only LORA.")
    odd = [text for key, text in UNCOMBINED.items() if config.get(key)]
    if config.get("bias", "none") != "none":
        odd.append("biases")
    if odd:
        raise MergeError(
            f"{file}: the adapter trains {', '.join(odd)}, which no method combines. Take the run"
            " out of the combination, or train it without."
        )
    return config


def _check_tokenizers(adapters: Sequence[Path]) -> None:
    """The result has one tokenizer and one chat template: those of all its parts."""
    first, *others = (
        {name: file.read_bytes() for name, file in tokenizer_files(adapter).items()}
        for adapter in adapters
    )
    for folder, files in zip(adapters[1:], others, strict=True):
        odd = sorted(name for name in first.keys() | files if first.get(name) != files.get(name))
        if odd:
            raise MergeError(
                f"{adapters[0]} and {folder} differ in {', '.join(odd)}: prompts that one was"
                " trained on are not those of the other. Combine runs of one model and template."
            )


def _combined(
    spec: CombineSpec, model: Path, adapters: Sequence[Path]
) -> tuple[dict[str, torch.Tensor], int, list[str]]:
    """Return the tensors of the combination as PEFT names them, its rank, and its modules."""
    base = _weightless(model)
    names = [f"part_{number}" for number in range(len(adapters))]
    try:
        peft = PeftModel.from_pretrained(
            base, adapters[0], adapter_name=names[0], torch_device="cpu"
        )
        for name, folder in zip(names[1:], adapters[1:], strict=True):
            peft.load_adapter(folder, adapter_name=name, torch_device="cpu")
        _name_modules(peft, names)
        torch.manual_seed(spec.seed or 0)
        peft.add_weighted_adapter(
            names,
            list(spec.weights),
            NAME,
            combination_type=spec.method,
            svd_rank=spec.rank,
            svd_full_matrices=False,  # the rest would be thrown away
            density=spec.density,
            majority_sign_method=spec.majority_sign or "total",
        )
    except (RuntimeError, ValueError) as error:
        raise MergeError(
            f"PEFT cannot combine {', '.join(map(str, adapters))} by {spec.method}: {error}"
        ) from error
    rank = peft.peft_config[NAME].r
    state = get_peft_model_state_dict(peft, adapter_name=NAME, save_embedding_layers=False)
    tensors = {name: state[name].detach().clone().contiguous() for name in sorted(state)}
    least = min(len(part) for name, part in tensors.items() if ".lora_A." in name)
    if least < rank:
        raise MergeError(f"Rank {rank} is more than a layer has; ask for {least} at most.")
    return tensors, rank, sorted(peft.peft_config[NAME].target_modules)


def _name_modules(peft: PeftModel, names: Sequence[str]) -> None:
    """Let each adapter's config list its modules one by one, if one says them otherwise.

    PEFT would put the result where the first adapter's regular expressions and exclusions allow,
    and leave out what the others have elsewhere.
    """
    configs = [peft.peft_config[name] for name in names]
    other = ("exclude_modules", "layers_to_transform", "layers_pattern")
    if not any(
        isinstance(c.target_modules, str) or any(getattr(c, k) for k in other) for c in configs
    ):
        return
    layers = {
        name: layer
        for name, layer in peft.get_base_model().named_modules()
        if isinstance(layer, LoraLayer)
    }
    for name, config in zip(names, configs, strict=True):
        config.target_modules = {
            place
            for place, layer in layers.items()
            if name in layer.lora_A or name in layer.lora_embedding_A
        }
        for key in other:
            setattr(config, key, None)


def _weightless(model: Path) -> torch.nn.Module:
    """Return the base model with weights of the right shapes that take no memory."""
    with torch.device("meta"):
        base: torch.nn.Module = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(model))
    for module in base.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            # One number, shown at every place.
            zeros = torch.zeros(()).expand(weight.shape)
            setattr(module, name, torch.nn.Parameter(zeros, requires_grad=False))
    return base


def _prompts(adapters: Sequence[Path]) -> list[list[int]]:
    """Return prompts of all adapters in turn, for the proof of the merge."""
    own = [json.loads((folder / PROMPTS_FILE).read_text()) for folder in adapters]
    turns = chain.from_iterable(zip_longest(*own))
    return list(islice((prompt for prompt in turns if prompt is not None), MOST_PROMPTS))
