"""The adapter that a fine-tune puts on its base, in PEFT's terms."""

import re
import warnings
from collections.abc import Collection, Mapping, Sequence

import torch
from peft import EvaConfig, LoraConfig
from peft.utils.transformers_weight_conversion import (
    _MODEL_TO_CONVERSION_PATTERN,
    _MOE_TARGET_MODULE_MAPPING,
)
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from scripts.lib.adapters.modules import Modules, module_faults, reached, reached_parameters
from scripts.lib.errors import TrainingError
from scripts.lib.train.experts import fused_experts
from scripts.lib.train.new_tokens import embedding_layers, start_rows
from scripts.lib.train.spec import LoraSpec, TrainSpec


def modules_of(model: PreTrainedModel) -> Modules:
    """Return the names in a model that LoRA has to do with."""
    head = model.get_output_embeddings()
    named = dict(model.named_modules(remove_duplicate=False))
    fit = [name for name, one in named.items() if isinstance(one, torch.nn.Linear | Conv1D)]
    embeddings = [name for name, one in named.items() if isinstance(one, torch.nn.Embedding)]
    output = [name for name in fit if named[name] is head]
    parameters = [
        name
        for name, weight in model.named_parameters()
        if weight.ndim in (2, 3) and name.removesuffix(".weight") not in (*fit, *embeddings)
    ]
    experts = fused_experts(model)
    return Modules(
        linear=[name for name in fit if name not in output],
        others=[*embeddings, *output],
        all=list(named),
        parameters=parameters,
        experts=list(experts),
        unreached=_taken_for_experts(model.config.model_type) if experts else (),
    )


def _taken_for_experts(model_type: str) -> Collection[str]:
    """Return the names of modules that PEFT takes for a mixture's experts and router.

    Before Transformers 5 they were modules of these names; PEFT turns them into parameters, in a
    new adapter and in one that it loads.
    """
    family = _MODEL_TO_CONVERSION_PATTERN.get(model_type, "")
    return tuple(_MOE_TARGET_MODULE_MAPPING.get(family, ()))


def check_modules(lora: LoraSpec, model: PreTrainedModel) -> None:
    """Refuse settings that name what *model* does not have.

    Raises:
        TrainingError: If there is one; it says what the model has.
    """
    if fault := next(module_faults(lora, modules_of(model)), None):
        raise TrainingError(f"{fault[0]} {fault[1]}.")


def lora_config(
    spec: TrainSpec, rows: Mapping[str, Sequence[int]], model: PreTrainedModel
) -> LoraConfig:
    """Return the adapter of *spec* in PEFT's terms.

    Args:
        spec: Its shape.
        rows: Layer -> rows that are trained as they are.
        model: The base, whose layers it is for.
    """
    lora = spec.lora
    modules, excluded = lora.target_modules, lora.exclude_modules
    names = modules_of(model)
    # PEFT takes numbers beside names only, and does not heed them where a name is whole; in a
    # mixture it takes expressions and all-linear apart, and aims at experts by itself.
    if lora.layers_to_transform or names.unreached:
        modules = reached(lora, names)
    parameters = reached_parameters(lora, names)
    if parameters:  # it is told so of patterns for parameters, which PEFT heeds all the same
        warnings.filterwarnings(
            "ignore", ".*keys did not match any targeted module", RuntimeWarning
        )
    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        rank_pattern=dict(lora.rank_pattern),
        alpha_pattern=dict(lora.alpha_pattern),
        lora_dropout=lora.dropout,
        bias=lora.bias,
        target_modules=modules if isinstance(modules, str) else list(modules),
        exclude_modules=excluded if isinstance(excluded, str | None) else list(excluded),
        target_parameters=parameters or None,
        modules_to_save=list(lora.modules_to_save) if lora.modules_to_save else None,
        use_rslora=lora.use_rslora,
        use_dora=lora.use_dora,
        init_lora_weights=lora.init,
        eva_config=EvaConfig(rho=lora.eva_rho) if lora.init == "eva" else None,
        trainable_token_indices={name: list(ids) for name, ids in rows.items()} or None,
        task_type="CAUSAL_LM",
    )


def give_rows(
    model: PreTrainedModel, spec: TrainSpec, tokens: Sequence[int], known: int
) -> dict[str, list[int]]:
    """Give tokens that a model was not trained with rows that are trained beside an adapter.

    Args:
        model: The base, loaded.
        spec: What is trained; its seed draws the noise.
        tokens: Ids of the new tokens.
        known: Ids of the tokenizer; rows behind them are spare.

    Returns:
        Layer -> ids, as PEFT's `trainable_token_indices` wants them; nothing without tokens.

    Raises:
        TrainingError: If rows of this model cannot be trained.
    """
    if not tokens:
        return {}
    _check_rows(model, spec, embedding_layers(model))
    return start_rows(model, spec.training.seed, tokens, known)


def _check_rows(
    model: PreTrainedModel, spec: TrainSpec, layers: Sequence[tuple[str, torch.nn.Module]]
) -> None:
    """Refuse what PEFT trains otherwise than it computes, or not at all."""
    template = "the template's control tokens need new rows of the embedding"
    embedding, targets = layers[0][0], spec.lora.target_modules
    if isinstance(targets, str):
        aimed = targets != "all-linear" and bool(re.fullmatch(targets, embedding))
    else:
        aimed = any(embedding == name or embedding.endswith(f".{name}") for name in targets)
    if aimed:
        raise TrainingError(
            f"lora.target_modules names {embedding}, and {template}, which cannot be trained beside"
            " LoRA on it; leave it out, or choose a template made for this vocabulary"
        )
    head = model.get_output_embeddings()
    names = [name for name, _ in layers] + ["lm_head"]
    for whole in spec.lora.modules_to_save or ():
        if any(name.endswith(whole) for name in names):
            raise TrainingError(
                f"lora.modules_to_save names {whole}, and {template}, which are trained one by one"
                " and not beside the whole; leave it out, or choose a template made for this"
                " vocabulary"
            )
    tied, stated = len(layers) == 1, bool(getattr(model.config, "tie_word_embeddings", False))
    if head is None or head.bias is not None or tied != stated:
        raise TrainingError(
            f"{template}, which PEFT cannot train for {model.config.model_type}: its output layer"
            " is missing, has a bias, or is tied otherwise than its config says; choose a template"
            " made for this vocabulary"
        )
