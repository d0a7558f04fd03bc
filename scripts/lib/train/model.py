"""The base model as training loads it, and the adapter that is put on it.

On a CPU it attends within each of several conversations that lie end to end in one row. The stock
way masks a whole row against itself, so a row of 1,024 tokens costs 1,024 x 1,024 scores even where
it holds six short conversations; here the result is the same, without the mask and without the work
that it throws away.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, prepare_model_for_kbit_training
from torch.nn import functional
from transformers import (
    AttentionInterface,
    AutoConfig,
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    PretrainedConfig,
    PreTrainedModel,
)

from scripts.lib.device import compute_device, computes_bfloat16
from scripts.lib.train.spec import TrainSpec

SEGMENTS = "tunesmith_segments"

# Families whose attention needs nothing beyond q, k, v and a scale; each is compared with the
# stock attention by a test. Others (soft caps, sinks, chunks) take the stock way.
SEGMENT_FAMILIES = frozenset({"llama", "mistral", "qwen2", "qwen3", "smollm3"})


def load_base(spec: TrainSpec, model: Path) -> PreTrainedModel:
    """Load the base model; with nf4 its weights are quantised (bitsandbytes).

    Weights are rounded to the spec's dtype. Where that is bfloat16 and the device has no arithmetic
    for it, they are held and computed with in float32 all the same.

    The nf4 path follows the documentation of its libraries and has not been run, on a GPU or
    elsewhere. TRL keeps the adapter of a quantised model in bfloat16 while it trains.
    """
    config = AutoConfig.from_pretrained(model)
    dtype = getattr(torch, spec.training.dtype)
    options: dict[str, Any] = {
        "dtype": dtype,
        "attn_implementation": choose_attention(config, compute_device()),
    }
    if spec.quantization == "nf4":
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    base = AutoModelForCausalLM.from_pretrained(model, **options)
    if spec.quantization == "nf4":
        return prepare_model_for_kbit_training(
            base, use_gradient_checkpointing=compute_device() == "cuda"
        )
    return base.to(getattr(torch, arithmetic(spec)))


def arithmetic(spec: TrainSpec) -> str:
    """Return the dtype that the base model is computed in."""
    return spec.training.dtype if spec.quantization or computes_bfloat16() else "float32"


def lora_config(spec: TrainSpec, rows: Mapping[str, Sequence[int]]) -> LoraConfig:
    """Return the adapter of *spec* in PEFT's terms.

    Args:
        spec: Its shape.
        rows: Layer -> rows that are trained as they are.
    """
    lora = spec.lora
    modules = lora.target_modules
    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        bias=lora.bias,
        target_modules=modules if isinstance(modules, str) else list(modules),
        use_rslora=lora.use_rslora,
        use_dora=lora.use_dora,
        init_lora_weights=lora.init,
        trainable_token_indices={name: list(ids) for name, ids in rows.items()} or None,
        task_type="CAUSAL_LM",
    )


def choose_attention(config: PretrainedConfig, device: str) -> str:
    """Return the attention to load a model with: ours on a CPU where it is exact, else "sdpa".

    Args:
        config: The model's configuration.
        device: "cpu" or "cuda".
    """
    text = config.get_text_config()
    layers = set(getattr(text, "layer_types", None) or ["full_attention"])
    sliding = getattr(text, "sliding_window", None) and getattr(text, "use_sliding_window", True)
    exact = text.model_type in SEGMENT_FAMILIES and layers == {"full_attention"} and not sliding
    if device != "cpu" or not exact:
        return "sdpa"
    AttentionInterface.register(SEGMENTS, segment_attention)
    return SEGMENTS


def segment_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    cu_seq_lens_q: torch.Tensor,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attend causally within each segment of one row.

    Args:
        module: The attention layer; tells how many query heads share a key head.
        query: (1, heads, tokens, head_dim).
        key: (1, key_heads, tokens, head_dim).
        value: (1, key_heads, tokens, head_dim).
        attention_mask: Not used: the boundaries say everything.
        cu_seq_lens_q: Where segments begin, and the end: (segments + 1,), int32. It has no
            default, so that a batch without boundaries fails instead of leaking.
        scaling: Factor of the scores; None means 1 / sqrt(head_dim).
        dropout: Probability to drop a score.

    Returns:
        The attended values (1, tokens, heads, head_dim), and None in place of the scores.
    """
    groups = int(getattr(module, "num_key_value_groups", 1))
    if groups > 1:  # measured: faster on a CPU than letting the kernel share the heads
        key = key.repeat_interleave(groups, dim=1)
        value = value.repeat_interleave(groups, dim=1)
    lengths = cu_seq_lens_q.diff().tolist()
    parts = [
        functional.scaled_dot_product_attention(
            q, k, v, is_causal=True, scale=scaling, dropout_p=dropout
        )
        for q, k, v in zip(
            query.split(lengths, dim=2),
            key.split(lengths, dim=2),
            value.split(lengths, dim=2),
            strict=True,
        )
    ]
    return torch.cat(parts, dim=2).transpose(1, 2).contiguous(), None
